"""The codes that a phone answers with, those that no other test is about; and that the page for developers has all."""

import asyncio
import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace as struct_replace

from clients.device_driver import AidIdentity
from clients.journal import JournalRecord, MemoryJournal
from clients.phone_core import AidFacts, Refused, examine
from clients.virtual_aid.aid import VENDOR_FORMAT, VendorSlots, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image, with_slots
from clients.virtual_aid.pair import VirtualPair
from fitting.capability import SHEETS
from fitting.digest import body_hash, ear_digest
from protocol.contract.base import EARS
from protocol.contract.devices import Offer, Report
from protocol.contract.fitting import DeliveryKind, VendorPayload
from tests.clients.offers import BANDS_HZ, EPOCH, FIRMWARE, SERIALS, again, make_offer, make_pair, slot_with, told
from tests.clients.phone_bench import HAPPY, Clock, Killed, Server, digests, make_runner

ROOT = Path(__file__).parents[2]


def facts(pair: VirtualPair, **given: object) -> dict[object, AidFacts]:
    known = {
        ear: AidFacts(SERIALS[ear], FIRMWARE, SHEETS["ref10"], pair.aid(ear).read_image("ram")) for ear in pair.ears
    }
    return {ear: replace(aid, **given) for ear, aid in known.items()}  # type: ignore[arg-type]  # a test's own keywords


def test_no_sheet_lets_more_through_than_the_law() -> None:
    """The phone's own copy of rule K2, should a sheet be wrong."""
    pair = make_pair(("right",))
    offer = make_offer(pair, mpo_ddb=1_330)
    sheet = replace(SHEETS["ref10"], mpo_max_ddb=1_400)
    assert examine(offer, JournalRecord(epoch=EPOCH), facts(pair, sheet=sheet)).refusals[0].code == "E_RANGE"  # type: ignore[arg-type]  # as above
    allowed = make_offer(pair, mpo_ddb=1_320)
    assert examine(allowed, JournalRecord(epoch=EPOCH), facts(pair, sheet=sheet)).plans  # type: ignore[arg-type]  # as above


async def test_an_aid_that_holds_something_else_is_shown_to_the_server() -> None:
    pair, server = make_pair(), Server()
    runner, offer = make_runner(pair), make_offer(pair)
    pair.aid("left").write_by_another_app((slot_with(70),))
    await runner.run_offer(offer, server.report)
    assert told(server.reports) == ["right rejected E_PARTIAL", "left rejected E_BASE"]
    assert [notice.cause for notice in runner.record.notices] == ["read_back"]
    shown = await runner.device_report("read_back")
    assert shown.left
    assert shown.left.image == pair.aid("left").read_image("ram")
    assert server.reports[1].digest == shown.left.ram


async def test_a_program_that_the_aid_has_not_got_any_more_is_refused() -> None:
    pair, server = make_pair(), Server()
    for ear in EARS:
        await pair.aid(ear).write_trial((slot_with(100, slot=2),))
    offer = make_offer(pair)
    body = struct_replace(offer.body, right=(slot_with(150, slot=2),), left=())
    gone = struct_replace(offer, body=body, body_hash=body_hash(body))
    await pair.aid("right").restore(factory_image("right", BANDS_HZ))
    await make_runner(pair).run_offer(gone, server.report)
    assert told(server.reports) == ["right rejected E_PROGRAM"]


async def test_a_program_that_its_wearer_has_just_left_is_not_changed_before_the_server_knows() -> None:
    pair, server = make_pair(), Server()
    for ear in EARS:
        await pair.aid(ear).write_trial((slot_with(100, slot=2),))
    runner = make_runner(pair)
    await runner.look()
    pair.aid("right").select_slot(2)
    await runner.look()
    await runner.run_offer(make_offer(pair), server.report)
    assert told(server.reports) == ["right rejected E_PROGRAM", "left rejected E_PARTIAL"]
    (notice,) = runner.record.notices
    assert notice.cause == "user_state"
    assert (await runner.device_report("user_state")).slot == 2
    runner.told(notice)
    server.reports.clear()
    await runner.run_offer(struct_replace(make_offer(pair, seq=2), after=0), server.report)
    assert told(server.reports) == HAPPY


async def test_an_aid_that_becomes_busy_between_two_looks_is_waited_for() -> None:
    pair, server = make_pair(), Server()
    runner, offer = make_runner(pair), make_offer(pair)

    async def report(sent: object) -> None:
        await server.report(sent)  # type: ignore[arg-type]  # the reports of this test
        if told(server.reports)[-1:] == ["left writing"]:
            pair.aid("left").faults = Faults(busy=True)

    await runner.run_offer(offer, report)
    assert told(server.facts()) == [*HAPPY[:3], "left received E_BUSY"]
    await runner.work(server.report)
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[4:] == ["right confirmed", "left confirmed"]
    assert pair.aid("left").writes_completed == 1


async def test_an_aid_that_is_busy_for_ever_is_not_waited_for_for_ever() -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner = make_runner(pair, max_holds=3)
    await runner.run_offer(make_offer(pair), server.report)
    for _ in range(5):
        await runner.work(server.report)
    assert told(server.facts()) == ["received", "received E_BUSY", "right rejected E_BUSY", "left rejected E_BUSY"]
    assert runner.record.in_flight is None


async def test_an_aid_that_does_not_answer_in_time_is_in_doubt_until_it_is_read() -> None:
    """The fourth part of the write takes for ever."""
    parts = 0

    async def sleep(_: float) -> None:
        nonlocal parts
        parts += 1
        if parts == 4:
            await asyncio.Event().wait()

    pair, server = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS)), Server()
    offer, before = make_offer(pair), digests(pair)
    await make_runner(pair, operation_s=0.02).run_offer(offer, server.report)
    assert told(server.facts())[:4] == [
        *("received", "right writing", "right indeterminate E_TIMEOUT", "right rolled_back E_TIMEOUT"),
    ]
    assert digests(pair)["right"] == before["right"]


class Deaf(VirtualAid):
    """Has a link, and does not answer."""

    async def identify(self) -> AidIdentity:
        await asyncio.Event().wait()
        raise AssertionError


async def test_an_aid_that_cannot_be_read_in_time_counts_as_away() -> None:
    pair, server = VirtualPair(Deaf("right", "R-1"), VirtualAid("left", "L-1")), Server()
    await make_runner(pair, operation_s=0.01).run_offer(make_offer(pair), server.report)
    assert told(server.reports) == ["right failed E_BLE_BEFORE", "left rejected E_PARTIAL"]


def vendor_offer(pair: VirtualPair, payload: bytes, **given: str) -> Offer:
    """An offer with a maker's payload beside its projection."""
    offer = make_offer(pair)
    digest = f"sha256:{hashlib.sha256(payload).hexdigest()}"
    fields = {"format": VENDOR_FORMAT, "digest": digest, "data": base64.b64encode(payload).decode()} | given
    body = struct_replace(offer.body, vendor=VendorPayload(**fields))
    return struct_replace(offer, body=body, body_hash=body_hash(body))


def payload_of(gain_ddb: int) -> bytes:
    slots = (slot_with(gain_ddb),)
    return msgspec.json.encode(VendorSlots(left=slots, right=slots))


async def test_a_makers_payload_is_written_and_its_projection_is_read_back() -> None:
    pair, server = make_pair(), Server()
    offer = vendor_offer(pair, payload_of(200))
    await make_runner(pair).run_offer(offer, server.report)
    assert told(server.facts()) == HAPPY
    for ear in EARS:
        wanted = with_slots(factory_image(ear, BANDS_HZ), (slot_with(200),))
        assert server.reports[-1].digest == ear_digest(with_slots(factory_image("left", BANDS_HZ), (slot_with(200),)))
        assert pair.aid(ear).read_image("ram") == wanted


async def test_a_makers_payload_that_does_something_else_than_its_projection_says_is_undone() -> None:
    pair, server = make_pair(), Server()
    offer, before = vendor_offer(pair, payload_of(230)), digests(pair)
    await make_runner(pair).run_offer(offer, server.report)
    assert "right failed E_READBACK" in told(server.facts())
    assert digests(pair) == before


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({"format": "another/1"}, ["right rejected E_CAPABILITY", "left rejected E_CAPABILITY"]),
        ({"digest": "sha256:" + "0" * 64}, ["rejected E_RANGE"]),
        ({"data": "!!"}, ["rejected E_RANGE"]),
    ],
)
async def test_a_makers_payload_that_is_damaged_or_not_understood_is_refused(
    given: dict[str, str], codes: list[str]
) -> None:
    pair, server = make_pair(), Server()
    await make_runner(pair).run_offer(vendor_offer(pair, payload_of(200), **given), server.report)
    assert told(server.reports) == codes
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_a_makers_payload_that_the_aid_cannot_read_leaves_it_as_it_was() -> None:
    pair, server = make_pair(), Server()
    offer, before = vendor_offer(pair, b"nonsense"), digests(pair)
    await make_runner(pair).run_offer(offer, server.report)
    assert "right rolled_back E_CAPABILITY" in told(server.facts())
    assert digests(pair) == before


def test_an_aid_that_knows_no_makers_format_refuses_the_offer() -> None:
    pair = make_pair()
    offer = vendor_offer(pair, payload_of(200))
    known = facts(pair, vendor_formats=frozenset())
    assert examine(offer, JournalRecord(epoch=EPOCH), known).refusals[0] == Refused("E_CAPABILITY", "right")  # type: ignore[arg-type]  # as above


def test_the_page_for_phone_developers_has_every_code_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "clients").rglob("*.py"))
    produced = set(re.findall(r'"(E_[A-Z_]+)"', sources))
    documented = set(re.findall(r"`(E_[A-Z_]+)`", (ROOT / "docs" / "phone.md").read_text()))
    assert produced == documented


@pytest.mark.parametrize("kind", ["volatile", "persist"])
async def test_a_phone_that_sleeps_between_the_word_and_the_first_byte_does_not_begin_too_late(
    kind: DeliveryKind,
) -> None:
    pair, hub, clock = make_pair(), Server(kind=kind), Clock()
    runner, offer = make_runner(pair, clock=clock), make_offer(pair, kind=kind)

    async def report(sent: Report) -> None:
        await hub.report(sent)
        if told([sent]) == ["right writing"]:
            clock.now_s += offer.expires_in_s

    await runner.run_offer(offer, report)
    assert told(hub.facts())[1:] == ["right writing", "right rolled_back E_EXPIRED", "left rejected E_PARTIAL"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_a_phone_that_died_between_the_word_and_the_first_byte_does_not_begin_too_late_either() -> None:
    pair, hub, clock, journal = make_pair(), Server(kind="persist"), Clock(), MemoryJournal()
    offer = make_offer(pair, kind="persist", mode="standard")

    async def report(sent: Report) -> None:
        await hub.report(sent)
        if told([sent]) == ["right writing"]:
            raise Killed

    runner = make_runner(pair, journal, clock=clock)
    await runner.run_offer(offer, report)
    with pytest.raises(Killed):
        await runner.answer_install(offer, accepted=True, report=report)
    clock.now_s += offer.expires_in_s
    runner = make_runner(pair, journal, clock=clock)
    await runner.recover()
    await runner.run_offer(again(offer), hub.report)
    assert told(hub.facts())[3:] == ["right writing", "right rolled_back E_EXPIRED", "left rejected E_PARTIAL"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_what_has_begun_in_time_is_brought_to_its_end() -> None:
    pair, hub, clock = make_pair(), Server(), Clock()
    runner, offer = make_runner(pair, clock=clock), make_offer(pair)

    async def report(sent: Report) -> None:
        await hub.report(sent)
        if told([sent]) == ["left writing"]:
            clock.now_s += offer.expires_in_s

    await runner.run_offer(offer, report)
    assert told(hub.facts()) == HAPPY
