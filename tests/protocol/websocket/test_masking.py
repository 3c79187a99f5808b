"""Taking the mask off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.websocket.masking import unmask

from .client import masked

masks = st.binary(min_size=4, max_size=4)


@given(payload=st.binary(max_size=1_200), mask=masks)
def test_unmasking_is_the_loop_of_the_rfc(payload: bytes, mask: bytes) -> None:
    assert unmask(masked(payload, mask), mask) == payload


@pytest.mark.parametrize("size", [*range(10), 510, 511, 512, 513, 514, 515, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x80\x00\x00\x00"])
def test_every_size_and_mask_is_right_where_the_methods_change(size: int, mask: bytes) -> None:
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert unmask(bytearray(masked(payload, mask)), bytearray(mask)) == payload
