"""The virtual aid's memories, link and faults; its sound follows RAM."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace as struct_replace

from clients.device_driver import (
    AidBusy,
    AidError,
    AidRebooted,
    AidRefused,
    BatteryLow,
    CommitFailed,
    LinkLost,
    LinkUnavailable,
    VendorData,
)
from clients.meter import measure_gain_db
from clients.virtual_aid.aid import VENDOR_FORMAT, AidChange, VendorSlots, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import CHUNKS, after_chunk, factory_image, with_slots
from clients.virtual_aid.pair import VirtualPair
from fitting.digest import ear_digest
from tests.clients.offers import BANDS_HZ, at_once, make_aid, make_pair, slot_with


def gain_at_1_khz(aid: VirtualAid) -> float:
    return measure_gain_db(aid.process, 1_000, 65, aid.rate_hz).gain_db


def test_an_aid_from_the_factory_has_no_gain_and_a_safe_limit() -> None:
    aid = make_aid("left")
    image = aid.read_image("ram")
    assert image == aid.read_image("nvm") == factory_image("left", BANDS_HZ)
    assert [(slot.slot, slot.name) for slot in image.slots] == [(1, "Universal")]
    assert image.slots[0].program.mpo_ddb == (1_000,) * 10
    assert gain_at_1_khz(aid) == pytest.approx(0, abs=0.05)


async def test_what_is_written_is_read_back_and_heard() -> None:
    aid = make_aid("right")
    await aid.write_trial((slot_with(300),))
    wanted = with_slots(factory_image("right", BANDS_HZ), (slot_with(300),))
    assert aid.read_image("ram") == wanted
    assert aid.read_digest("ram") == ear_digest(wanted)
    assert aid.writes_completed == 1
    assert gain_at_1_khz(aid) == pytest.approx(28, abs=0.05)


async def test_a_trial_is_gone_after_a_restart_and_a_committed_one_is_not() -> None:
    aid = make_aid("right")
    await aid.write_trial((slot_with(300),))
    aid.reboot()
    await aid.connect()
    assert aid.read_image("ram") == factory_image("right", BANDS_HZ)
    assert gain_at_1_khz(aid) == pytest.approx(0, abs=0.05)
    await aid.write_trial((slot_with(300),))
    await aid.commit()
    aid.reboot()
    await aid.connect()
    assert aid.read_digest("ram") == aid.read_digest("nvm") != ear_digest(factory_image("right", BANDS_HZ))
    assert gain_at_1_khz(aid) == pytest.approx(28, abs=0.05)
    assert aid.commits_completed == 1


async def test_restore_puts_a_whole_image_back() -> None:
    aid = make_aid("right")
    before = aid.read_image("ram")
    await aid.write_trial((slot_with(300), slot_with(100, slot=3)))
    assert [slot.slot for slot in aid.read_image("ram").slots] == [1, 3]
    aid.select_slot(3)
    await aid.restore(before)
    assert aid.read_image("ram") == before
    assert gain_at_1_khz(aid) == pytest.approx(0, abs=0.05)


async def test_only_the_active_slot_is_heard() -> None:
    aid = make_aid("right")
    await aid.write_trial((slot_with(300, slot=2),))
    assert gain_at_1_khz(aid) == pytest.approx(0, abs=0.05)
    aid.select_slot(2)
    assert gain_at_1_khz(aid) == pytest.approx(28, abs=0.05)
    with pytest.raises(AidRefused, match="slot 4 is empty"):
        aid.select_slot(4)


async def test_a_write_takes_the_time_of_the_sheet_in_eight_parts() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    aid = VirtualAid("right", "R-1", sleep=sleep)
    await aid.write_trial((slot_with(300),))
    assert len(waits) == CHUNKS
    assert sum(waits) == pytest.approx(0.4)
    aid.faults = Faults(time_scale=0.5, slow_link=10)
    await aid.restore(factory_image("right", BANDS_HZ))
    assert sum(waits[CHUNKS:]) == pytest.approx(2.0)
    await aid.commit()
    assert len(waits) == 3 * CHUNKS
    assert sum(waits[2 * CHUNKS :]) == pytest.approx(0.75)


async def test_the_middle_of_a_write_is_a_mixture_that_can_be_heard() -> None:
    heard: list[float] = []
    held: list[str] = []

    async def sleep(_: float) -> None:
        heard.append(gain_at_1_khz(aid))
        held.append(aid.read_digest("ram"))

    aid = VirtualAid("right", "R-1", sleep=sleep)
    await aid.write_trial((slot_with(300),))
    # 1 kHz is the fourth of ten bands, and the 65 dB table the third of four: it arrives in chunk 5 of 8.
    assert [round(gain) for gain in heard] == [0, 0, 0, 0, 0, 28, 28, 28]
    assert len(set(held)) == CHUNKS
    assert aid.read_digest("ram") not in held


def test_a_lower_limit_arrives_before_a_higher_gain() -> None:
    before = factory_image("right", BANDS_HZ)
    target = with_slots(before, (slot_with(300, mpo_ddb=900),))
    for chunk in range(CHUNKS + 1):
        program = after_chunk(before, target, chunk).slots[0].program
        for band in range(10):
            louder = max(program.g50_ddb[band], program.g65_ddb[band], program.g80_ddb[band]) > 0
            assert not louder or program.mpo_ddb[band] == 900


@pytest.mark.parametrize("chunk", range(CHUNKS + 1))
async def test_a_lost_link_leaves_what_had_arrived_and_strikes_once(chunk: int) -> None:
    aid = make_aid("right", faults=Faults(drop_link_after_chunk=chunk))
    before = aid.read_image("ram")
    target = with_slots(before, (slot_with(300),))
    with pytest.raises(LinkLost):
        await aid.write_trial((slot_with(300),))
    assert not aid.connected
    with pytest.raises(LinkUnavailable):
        aid.read_image("ram")
    await aid.connect()
    assert aid.read_image("ram") == after_chunk(before, target, chunk)
    assert aid.writes_completed == (1 if chunk == CHUNKS else 0)
    await aid.write_trial((slot_with(300),))
    assert aid.read_image("ram") == target


async def test_an_aid_that_restarts_in_a_write_holds_what_was_committed() -> None:
    aid = make_aid("right", faults=Faults(reboot_after_chunk=4))
    with pytest.raises(AidRebooted):
        await aid.write_trial((slot_with(300),))
    await aid.connect()
    assert aid.read_image("ram") == factory_image("right", BANDS_HZ)


async def test_a_corrupt_write_reads_back_with_another_digest_once() -> None:
    aid = make_aid("right", faults=Faults(corrupt_digest=1))
    wanted = ear_digest(with_slots(aid.read_image("ram"), (slot_with(300),)))
    await aid.write_trial((slot_with(300),))
    assert aid.read_digest("ram") != wanted
    await aid.write_trial((slot_with(300),))
    assert aid.read_digest("ram") == wanted


async def test_a_commit_that_fails_leaves_nvm_as_it_was() -> None:
    aid = make_aid("right", faults=Faults(nvm_failures=1))
    await aid.write_trial((slot_with(300),))
    with pytest.raises(CommitFailed):
        await aid.commit()
    aid.faults = replace(aid.faults, battery_percent=19)
    with pytest.raises(BatteryLow):
        await aid.commit()
    assert aid.read_image("nvm") == factory_image("right", BANDS_HZ)
    assert aid.commits_completed == 0


async def test_an_aid_out_of_range_can_be_reached_later() -> None:
    aid = make_aid("right", faults=Faults(refuse_connects=1))
    aid.reboot()
    for operation in (aid.connect(), aid.write_trial((slot_with(100),)), aid.commit()):
        with pytest.raises(LinkUnavailable):
            await operation
    await aid.connect()
    assert (await aid.identify()).battery_percent == 80


async def test_a_wrong_serial_is_told_by_the_aid_itself() -> None:
    assert (await make_aid("right").identify()).serial == "R-1"
    assert (await make_aid("right", faults=Faults(wrong_serial=True)).identify()).serial != "R-1"


@pytest.mark.parametrize(
    "change",
    [
        {"g50_ddb": (610,) * 10},
        {"g80_ddb": (-10,) * 10},
        {"mpo_ddb": (1_250,) * 10},
        {"mpo_ddb": (790,) * 10},
        {"g65_ddb": (0,) * 6},
        {"g50_ddb": (0,) * 11, "g65_ddb": (0,) * 9},
    ],
)
async def test_values_outside_the_capability_sheet_are_refused_and_nothing_is_written(
    change: dict[str, tuple[int, ...]],
) -> None:
    aid = make_aid("right")
    slot = slot_with(100)
    bad = struct_replace(slot, program=struct_replace(slot.program, **change))
    before = aid.read_image("ram")
    with pytest.raises(AidRefused):
        await aid.write_trial((bad,))
    with pytest.raises(AidRefused):
        await aid.restore(with_slots(before, (bad,)))
    assert aid.read_image("ram") == before


def test_an_image_of_the_other_ear_is_refused() -> None:
    with pytest.raises(AidRefused, match="left ear"):
        make_aid("right", image=factory_image("left", BANDS_HZ))


async def test_an_aid_that_is_busy_takes_nothing_and_keeps_what_it_had() -> None:
    aid = make_aid("right", faults=Faults(busy=True))
    before = aid.read_image("ram")
    for operation in (aid.write_trial((slot_with(100),)), aid.restore(before), aid.commit()):
        with pytest.raises(AidBusy):
            await operation
    assert aid.read_image("ram") == before
    assert (await aid.identify()).busy


async def test_a_read_back_that_lies_leaves_the_memory_alone() -> None:
    aid = make_aid("right", faults=Faults(lie_readback=1))
    truth = aid.read_image("ram")
    assert await aid.read("ram") != truth
    assert await aid.read("ram") == truth == aid.read_image("ram")


@pytest.mark.parametrize(("chunk", "commits"), [(1, 0), (CHUNKS - 1, 0), (CHUNKS, 1)])
async def test_a_link_lost_in_a_commit_leaves_nvm_old_or_new_and_never_a_mixture(chunk: int, commits: int) -> None:
    aid = make_aid("right", faults=Faults(drop_link_in_commit=chunk))
    await aid.write_trial((slot_with(100),))
    with pytest.raises(LinkLost):
        await aid.commit()
    await aid.connect()
    wanted = aid.read_image("ram") if commits else factory_image("right", BANDS_HZ)
    assert aid.read_image("nvm") == wanted
    assert aid.commits_completed == commits


async def test_what_happens_to_an_aid_is_news_of_it() -> None:
    aid = make_aid("right")
    happenings: list[Callable[[], None]] = [
        lambda: aid.select_slot(1),
        lambda: aid.turn_volume(-50),
        aid.reboot,
        lambda: setattr(aid, "faults", Faults(busy=True)),
    ]
    for happens in happenings:
        waiting = asyncio.ensure_future(aid.changed())
        await asyncio.wait({waiting}, timeout=0)
        assert not waiting.done()
        happens()
        await asyncio.wait_for(waiting, timeout=1)
    assert aid.boots == 1


def test_volume_and_mute_are_heard_and_change_no_memory() -> None:
    aid = make_aid("right")
    before = aid.read_digest("ram")
    aid.turn_volume(60)
    assert gain_at_1_khz(aid) == pytest.approx(6, abs=0.05)
    aid.turn_volume(0, muted=True)
    assert not np.any(aid.process(np.ones(4_800)))
    with pytest.raises(AidRefused, match="volume"):
        aid.turn_volume(70)
    assert aid.read_digest("ram") == before


async def test_a_vendor_payload_is_what_is_written() -> None:
    payload = msgspec.json.encode(VendorSlots(right=(slot_with(120),)))
    aid = make_aid("right")
    await aid.write_trial((slot_with(100),), VendorData(VENDOR_FORMAT, payload))
    assert aid.read_image("ram").slots == (slot_with(120),)
    for bad in (VendorData("another/1", payload), VendorData(VENDOR_FORMAT, b"{")):
        with pytest.raises(AidRefused):
            await aid.write_trial((slot_with(130),), bad)
    assert aid.read_image("ram").slots == (slot_with(120),)


async def test_every_change_of_a_memory_is_told_when_it_has_happened() -> None:
    told: list[AidChange] = []
    aid = VirtualAid("right", "R-1", sleep=at_once, on_change=told.append)
    before = aid.read_image("ram")
    await aid.write_trial((slot_with(100),))
    await aid.commit()
    await aid.restore(before)
    aid.reboot()
    chunks = ["chunk"] * CHUNKS
    assert [change.what for change in told] == [*chunks, "written", "committed", *chunks, "restored", "rebooted"]
    assert told[CHUNKS].image == told[-1].image == aid._ram


def test_every_fault_has_a_code_of_its_own() -> None:
    codes = [error.code for error in AidError.__subclasses__()]
    assert sorted(codes) == sorted(set(codes))
    assert all(code.startswith("E_") for code in codes)


def test_a_pair_is_one_aid_or_one_for_each_ear_right_first() -> None:
    assert make_pair().ears == ("right", "left")
    assert make_pair(("left",)).ears == ("left",)
    assert make_pair(("left",)).get("right") is None
    for aids in ((), (make_aid("left"), make_aid("left"))):
        with pytest.raises(ValueError, match="a pair is"):
            VirtualPair(*aids)


async def test_an_aid_that_restarts_in_a_commit_keeps_what_it_kept() -> None:
    chunks = 0

    async def sleep(_: float) -> None:
        nonlocal chunks
        chunks += 1
        if chunks == 2 * CHUNKS:
            aid.reboot()

    aid = VirtualAid("left", "S-left", sleep=sleep)
    before = aid.read_image("nvm")
    await aid.write_trial((slot_with(300),))
    with pytest.raises(AidRebooted):
        await aid.commit()
    await aid.connect()
    assert aid.read_image("ram") == aid.read_image("nvm") == before
    assert aid.commits_completed == 0
