"""Taking the mask off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.websocket.masking import Unmask, unmask
from signaling.transports import aiohttp_seam

from .client import masked

both = pytest.mark.parametrize("take_off", [unmask, aiohttp_seam.unmask], ids=["python", "c"])
masks = st.binary(min_size=4, max_size=4)


@both
@given(payload=st.binary(max_size=1_200), mask=masks)
def test_unmasking_is_the_loop_of_the_rfc(take_off: Unmask, payload: bytes, mask: bytes) -> None:
    assert take_off(masked(payload, mask), mask) == payload


@both
@pytest.mark.parametrize("size", [*range(10), 510, 511, 512, 513, 514, 515, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x80\x00\x00\x00"])
def test_every_size_and_mask_is_right_where_the_methods_change(take_off: Unmask, size: int, mask: bytes) -> None:
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert take_off(masked(payload, mask), mask) == payload


def test_without_aiohttps_c_part_python_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert aiohttp_seam.unmask is not unmask
    monkeypatch.setattr(aiohttp_seam, "_C_MASK", "aiohttp._websocket.there_is_none")
    assert aiohttp_seam.find_unmask() is unmask
