"""Patching, taking apart, putting together and comparing configurations."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from fitting.digest import content_digests
from fitting.model import (
    apply_patch,
    changed_ears,
    content_from_images,
    ear_image,
    ears_of,
    offer_body,
    validate_shape,
)
from protocol.contract.fitting import Content, Patch, PatchOp, Program
from protocol.errors import BadArgument
from tests.fitting.contents import OTC6, REF10, content, flat, with_band


def patch(*ops: dict[str, Any], slot: int = 1) -> Patch:
    made = tuple(PatchOp(**({"op": "set", "ear": "right", "path": "g65Ddb"} | op)) for op in ops)
    return Patch(slot=slot, ops=made)


def test_set_and_add_become_absolute_values_in_their_order() -> None:
    after = apply_patch(
        content(),
        patch(
            {"op": "set", "path": "g50Ddb", "band": 3, "value": 230},
            {"op": "add", "path": "g50Ddb", "band": 3, "value": -10},
            {"op": "add", "ear": "left", "path": "mpoDdb", "band": 0, "value": 20},
            {"path": "nrDdb", "value": 60},
            {"op": "add", "path": "nrDdb", "value": -20},
            {"path": "mic", "value": "pinna"},
        ),
    )
    right = with_band(flat(), 3, g50_ddb=220)
    right = msgspec.structs.replace(right, nr_ddb=40, mic="pinna")
    assert after == content(right=right, left=with_band(flat(), 0, mpo_ddb=1_020))


def test_a_patch_leaves_the_content_that_it_was_given_alone() -> None:
    before = content()
    apply_patch(before, patch({"band": 0, "value": 0}))
    assert before == content()


@pytest.mark.parametrize(
    ("op", "said"),
    [
        ({"band": 10, "value": 1}, "ops[0]: band 10 is not one of 0 to 9"),
        ({"band": -1, "value": 1}, "ops[0]: band -1 is not one of 0 to 9"),
        ({"value": 1}, "ops[0]: g65Ddb needs a band"),
        ({"path": "nrDdb", "band": 1, "value": 1}, "ops[0]: nrDdb has no bands"),
        ({"path": "mic", "band": 1, "value": "omni"}, "ops[0]: mic has no bands"),
        ({"band": 0, "value": "15"}, "ops[0]: g65Ddb needs an integer, tenths of a decibel"),
        ({"band": 0, "value": True}, "ops[0]: g65Ddb needs an integer, tenths of a decibel"),
        ({"band": 0, "value": 1.5}, "ops[0]: g65Ddb needs an integer, tenths of a decibel"),
        ({"path": "nrDdb", "value": "6"}, "ops[0]: nrDdb needs an integer, tenths of a decibel"),
        ({"path": "mic", "value": 3}, "ops[0]: mic can only be set, to one of"),
        ({"path": "mic", "value": "loud"}, "ops[0]: mic can only be set, to one of"),
        ({"op": "add", "path": "mic", "value": "omni"}, "ops[0]: mic can only be set, to one of"),
    ],
)
def test_an_operation_that_does_not_fit_is_a_bad_argument(op: dict[str, Any], said: str) -> None:
    with pytest.raises(BadArgument) as caught:
        apply_patch(content(), patch(op))
    assert caught.value.public_message.startswith(said)


def test_a_patch_of_a_slot_or_an_ear_that_is_not_there_is_a_bad_argument() -> None:
    with pytest.raises(BadArgument, match="no program in slot 2"):
        apply_patch(content(), patch({"band": 0, "value": 1}, slot=2))
    with pytest.raises(BadArgument, match=r"ops\[0\]: slot 1 has no left ear"):
        apply_patch(content(right=flat()), patch({"ear": "left", "band": 0, "value": 1}))


def test_images_of_both_ears_make_the_content_that_they_came_from() -> None:
    whole = content(right=flat(), left=flat(g50_ddb=210))
    assert content_from_images({ear: ear_image(whole, ear) for ear in ears_of(whole)}) == whole
    assert ears_of(whole) == ("right", "left")


def test_one_image_makes_a_content_of_one_ear() -> None:
    left = content(left=flat())
    assert content_from_images({"left": ear_image(left, "left")}) == left
    assert ears_of(left) == ("left",)
    with pytest.raises(BadArgument, match="no right ear"):
        ear_image(left, "right")


def test_images_that_do_not_fit_together_are_a_bad_argument() -> None:
    right = ear_image(content(), "right")
    left = ear_image(content(), "left")
    renamed = msgspec.structs.replace(left, slots=(msgspec.structs.replace(left.slots[0], name="Music"),))
    with pytest.raises(BadArgument, match="at least one ear"):
        content_from_images({})
    with pytest.raises(BadArgument, match="is of the left ear"):
        content_from_images({"right": left})
    with pytest.raises(BadArgument, match="different bands"):
        content_from_images({"right": right, "left": ear_image(content(OTC6), "left")})
    with pytest.raises(BadArgument, match="different program slots, names"):
        content_from_images({"right": right, "left": renamed})


def two_programs(**second: Any) -> Content:
    first = content().programs[0]
    other = Program(slot=2, name="Music", category="music", **second)
    return Content(bands_hz=REF10.bands_hz, programs=(first, other))


def test_the_shape_of_a_content_is_checked() -> None:
    validate_shape(two_programs(right=flat(), left=flat()))
    first = content().programs[0]
    short = msgspec.structs.replace(flat(), g80_ddb=(100,))
    for wrong, said in (
        (msgspec.structs.replace(content(), programs=(first, first)), "slots of the programs must rise"),
        (msgspec.structs.replace(content(), bands_hz=(500,) * 10), "frequencies of bandsHz must rise"),
        (content(right=short), "slot 1 right g80Ddb must have 10 values, one per band, but has 1"),
        (two_programs(right=flat()), "slot 2 has no left ear"),
        (msgspec.structs.replace(content(), programs=()), "has no ear"),
    ):
        with pytest.raises(BadArgument, match=said):
            validate_shape(wrong)


def test_the_ears_that_change_are_named_right_first() -> None:
    before = content()
    louder = flat(g65_ddb=160)
    assert changed_ears(before, before) == ()
    assert changed_ears(None, before) == ("right", "left")
    assert changed_ears(before, content(right=flat(), left=louder)) == ("left",)
    assert changed_ears(content(right=flat()), content(right=louder, left=flat())) == ("right", "left")


def test_an_offer_holds_whole_slots_of_the_ears_that_change_and_nothing_else() -> None:
    before = two_programs(right=flat(), left=flat())
    after = two_programs(right=flat(g65_ddb=160), left=flat())
    body = offer_body(before, after, content_digests(after))
    assert body.right == (ear_image(after, "right").slots[1],)
    assert body.left == ()
    assert body.expect == content_digests(after)
    fresh = offer_body(content(right=flat()), content(), content_digests(content()))
    assert (fresh.right, fresh.left) == ((), ear_image(content(), "left").slots)


def test_an_offer_cannot_take_away_slots_ears_or_bands() -> None:
    whole, digests = two_programs(right=flat(), left=flat()), content_digests(content())
    for before, after in ((whole, content()), (content(), content(right=flat())), (content(), content(OTC6))):
        with pytest.raises(BadArgument, match="cannot take away"):
            offer_body(before, after, digests)


def test_an_ear_that_is_absent_stays_absent_on_the_wire() -> None:
    assert content(right=flat()).programs[0].left is UNSET
