"""Digests are over pinned bytes, the same on every end."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from fitting.digest import (
    body_hash,
    canonical,
    canonical_of,
    content_digests,
    ear_digest,
    pair_digest,
    request_hash,
)
from fitting.model import ear_image, offer_body
from protocol.contract.devices import EarImage, SlotImage
from protocol.contract.fitting import Base, EarProgram, Patch, PatchOp, Submit
from protocol.errors import BadArgument
from tests.fitting.contents import content, flat

IMAGE = EarImage(
    ear="right",
    bands_hz=(500, 1000),
    slots=(
        SlotImage(
            slot=1,
            name="Löwe",
            category="universal",
            program=EarProgram(
                g50_ddb=(200, 205),
                g65_ddb=(150, 150),
                g80_ddb=(-10, 0),
                mpo_ddb=(1_000, 1_000),
            ),
        ),
    ),
)
IMAGE_BYTES = (
    '{"bandsHz":[500,1000],"ear":"right",'
    '"refs":{"gainRef":"REIG","levelRef":"narrowband","mpoRef":"coupler_2cc"},'
    '"slots":[{"category":"universal","name":"Löwe","program":{"g50Ddb":[200,205],"g65Ddb":[150,150],'
    '"g80Ddb":[-10,0],"mic":"omni","mpoDdb":[1000,1000],"nrDdb":0},"slot":1}]}'
).encode()


def test_the_digest_of_an_ear_is_over_these_bytes_for_ever() -> None:
    assert canonical(msgspec.to_builtins(IMAGE)) == IMAGE_BYTES
    pinned = "sha256:" + hashlib.sha256(IMAGE_BYTES).hexdigest()
    assert ear_digest(IMAGE) == pinned
    assert pinned == "sha256:6962729557c922fd61084f8f277f07c06291ed4c28fb49311bdb96247614ee1d"


def test_a_field_that_is_absent_is_in_no_digest_and_one_that_is_there_is() -> None:
    program = msgspec.structs.replace(IMAGE.slots[0].program, max_stable_gain_ddb=(400, 410))
    measured = msgspec.structs.replace(IMAGE, slots=(msgspec.structs.replace(IMAGE.slots[0], program=program),))
    whole = IMAGE_BYTES.replace(b'"mic":"omni"', b'"maxStableGainDdb":[400,410],"mic":"omni"')
    assert canonical(msgspec.to_builtins(measured)) == whole
    assert ear_digest(measured) != ear_digest(IMAGE)
    assert msgspec.json.decode(whole, type=EarImage) == measured


def test_the_digest_of_a_pair_follows_from_the_digests_of_its_ears() -> None:
    whole = content()
    digests = content_digests(whole)
    right, left = (ear_digest(ear_image(whole, ear)) for ear in ("right", "left"))
    literal = f'{{"left":"{left}","right":"{right}"}}'.encode()
    assert digests.pair == "sha256:" + hashlib.sha256(literal).hexdigest()
    assert (digests.right, digests.left) == (right, left)
    assert content_digests(content(right=flat())).left is UNSET
    assert pair_digest({"right": right, "left": left}) == digests.pair


def test_keys_are_sorted_by_utf16_code_units_as_in_rfc_8785() -> None:
    # The example of RFC 8785 section 3.2.3: the emoji is a surrogate pair and sorts before U+FB33.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    order = list(json.loads(canonical(dict.fromkeys(keys, 0))))
    assert order == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_strings_are_escaped_as_in_rfc_8785() -> None:
    text = '\u20ac$\u000f\nA\'B"\\\\"/\u2028\x7f'
    assert canonical(text) == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u2028\x7f"'.encode()


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), 2**53, -(2**53), {1: 2}, "\ud800", {"\udfff": 1}, b"x", {1, 2}, UNSET]
)
def test_what_has_no_canonical_form_is_a_bad_argument(value: Any) -> None:
    with pytest.raises(BadArgument):
        canonical([value])


def test_deep_nesting_is_refused_not_followed() -> None:
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    with pytest.raises(BadArgument, match="nested deeper"):
        canonical(value)
    while value:
        value = value[0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_the_canonical_form_means_the_same_and_is_canonical_itself(value: Any) -> None:
    again = json.loads(canonical(value))
    assert again == value
    assert canonical(again) == canonical(value)


def test_requests_and_bodies_that_differ_have_other_hashes() -> None:
    after = content(right=flat(g65_ddb=160), left=flat())
    bodies = {body_hash(offer_body(content(), x, content_digests(x))) for x in (after, content())}
    ops = [PatchOp(op="set", ear="right", path="g65Ddb", band=0, value=value) for value in (1, 2)]
    requests = {
        request_hash(
            Submit(
                device="d-1",
                kind="volatile",
                mode="advanced",
                base=Base(revision="r-1"),
                reason="softer",
                idempotency_key="k-1",
                patch=Patch(slot=1, ops=(op,)),
            )
        )
        for op in ops
    }
    assert len(bodies) == len(requests) == 2


def outcome(of: Callable[[], bytes]) -> bytes | str:
    try:
        return of()
    except BadArgument as error:
        return error.public_message


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**60), max_value=2**60),
    st.integers(min_value=-999, max_value=999),
    st.floats(),
    st.text(),
    st.text(alphabet='aé"\\\u0000\u001f\u007f\ud800e.1nul', max_size=6),
)


@given(
    name=st.one_of(st.text(), leaves),
    values=st.lists(st.one_of(leaves, st.lists(leaves, max_size=2)), max_size=4),
    depth=st.one_of(st.just(0), st.integers(min_value=25, max_value=40)),
    more=st.dictionaries(st.text(), leaves, max_size=2),
)
def test_the_quick_way_to_the_bytes_is_the_slow_one(name: Any, values: Any, depth: int, more: Any) -> None:
    """Whatever may be in a payload that nobody has checked: the same bytes, or refused for the same reason."""
    nested: Any = more
    for _ in range(depth):
        nested = [nested]
    program = EarProgram(g50_ddb=tuple(values), g65_ddb=(1,), g80_ddb=(2,), mpo_ddb=(3,), mic=name)
    image = EarImage(
        ear="left", bands_hz=nested, slots=(SlotImage(slot=1, name="Music", category="music", program=program),)
    )
    quick = outcome(lambda: canonical_of(image))
    assert quick == outcome(lambda: canonical(msgspec.to_builtins(image)))


def test_the_quick_way_is_taken_by_ordinary_payloads() -> None:
    """Otherwise the test above would prove nothing."""
    image = ear_image(content(right=flat()), "right")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitting.digest.canonical", None)
        assert ear_digest(image).startswith("sha256:")
