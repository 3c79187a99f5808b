"""Work in flight when live work ends: the table's rule for every event that ends it, and what the log makes of it."""

from collections.abc import Awaitable, Callable, Mapping
from itertools import count

import pytest
from msgspec.structs import replace

from fitting.in_flight import Fate, Stage, Work, stage_of
from fitting.log_memory import MemoryDeviceLog
from fitting.log_values import Accepted, Delivery, SessionEnded
from fitting.mode import ENDS, TABLE, TOLD_BY_PHONE, Event, reason_of, step
from protocol.contract.base import EARS
from protocol.contract.devices import DeliveryState
from protocol.contract.fitting import DeliveryKind
from protocol.contract.sessions import ReportDevice, SessionState
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FRESH, Bench, Clock, digest, images, registered

TO_BASE: Mapping[Stage, Fate] = {
    "waiting": "cancelled",
    "offered": "withdrawn",
    "in_ram": "restored",
    "committing": "finishes",
}
# Written out, so that a change of the table is a change of this too.
RULES: dict[Event, Mapping[Stage, Fate]] = {
    **dict.fromkeys(ENDS, TO_BASE),
    Event.STOP: {**TO_BASE, "committing": "taken_back"},
    Event.LEFT: {**TO_BASE, "in_ram": "discarded"},
    Event.RELEASED: {**TO_BASE, "in_ram": "discarded"},
}
STILL: Mapping[Stage, Fate] = dict.fromkeys(TO_BASE, "goes_on")
ends = pytest.mark.parametrize("event", ENDS)


def rule(work: Work) -> Mapping[Stage, Fate]:
    fates: Mapping[Stage, Fate] = {
        "waiting": work.waiting,
        "offered": work.offered,
        "in_ram": work.in_ram,
        "committing": work.committing,
    }
    return fates


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", TABLE)
def test_every_cell_has_its_rule(state: SessionState, event: Event) -> None:
    if event not in TABLE[state]:
        return
    work = step(state, event).work
    if event is Event.FREEZE:
        assert (rule(work), work.rises_only) == ({**STILL, "waiting": "cancelled", "offered": "withdrawn"}, True)
    else:
        is_end = event in ENDS and state in ("live", "frozen")
        assert (rule(work), work.rises_only) == (RULES[event] if is_end else STILL, False)


# What the log makes of it


@pytest.fixture
async def bench() -> Bench:
    clock, numbers = Clock(), count(1)
    log = MemoryDeviceLog(clock=clock, monotonic=clock, new_id=lambda: f"id-{next(numbers)}")
    assert await log.create(DEVICE, registered()) is None
    bench = Bench(log, clock)
    await bench.fitted()
    return bench


async def bring_about(bench: Bench, event: Event) -> SessionEnded:
    """End live work by that event, through the call of the log that does so."""
    log, cause = bench.log, next((cause for cause, told in TOLD_BY_PHONE.items() if told is event), None)
    calls: dict[Event, Callable[[], Awaitable[object]]] = {
        Event.RELEASED: lambda: log.release(DEVICE, session="s-1", holder="ann", fence=bench.fence, discard=True),
        Event.STOLEN: lambda: log.steal(DEVICE, session="s-2", holder="bob", reason="the patient waits"),
        Event.LEASE_LOST: log.lapsed,
    }
    if event is Event.LEASE_LOST:
        bench.clock.pass_s(15)
    if event is Event.DEAD_MAN and cause is not None:
        outcome: object = await log.report_device(ReportDevice(device=DEVICE, cause=cause))
    elif event in calls:
        outcome = await calls[event]()
    else:
        outcome = await log.end_session(DEVICE, cause=reason_of(event), actor="server", fence=bench.fence)
    if isinstance(outcome, tuple):
        [(_, outcome)] = outcome
    ended = outcome if isinstance(outcome, SessionEnded) else getattr(outcome, "session", None)
    assert isinstance(ended, SessionEnded), outcome
    assert (ended.cause, (await bench.head()).live) == (event, None)
    notes = [one.state for one in await log.changed_since(DEVICE, 0) if one.kind == "session"]
    assert notes == ["live", event]
    return ended


async def saving(bench: Bench) -> Delivery:
    """Something was tried, and is to be kept: offered, not begun."""
    tried = await bench.apply(BOTH_LOUDER)
    expect = {ear: digest(BOTH_LOUDER, ear) for ear in EARS}
    save = await bench.proposal(BOTH_LOUDER, kind="persist", origin="save", ears=EARS, expect=expect)
    accepted = await bench.log.append(save)
    assert isinstance(accepted, Accepted)
    assert accepted.seq == tried.seq + 1
    return await bench.offer()


@ends
async def test_what_was_never_offered_is_cancelled_and_what_was_not_begun_is_asked_back(
    bench: Bench, event: Event
) -> None:
    await bench.submit()
    await bench.submit()
    offered = await bench.offer()
    ended = await bring_about(bench, event)
    [gone] = ended.ended
    assert (gone.delivery.seq, gone.delivery.state, gone.delivery.code) == (2, "cancelled", "E_USER_STOP")
    assert [(one.seq, one.withdrawn) for one in ended.withdraw] == [(offered.seq, "cancelled")]
    assert ended.restore
    assert ended.draft is None


@ends
async def test_a_save_that_was_not_begun_is_asked_back_too(bench: Bench, event: Event) -> None:
    save = await saving(bench)
    ended = await bring_about(bench, event)
    assert [(one.seq, one.withdrawn) for one in ended.withdraw] == [(save.seq, "cancelled")]


@ends
async def test_what_has_begun_is_the_phones_to_end(bench: Bench, event: Event) -> None:
    await bench.submit()
    offered = await bench.offer()
    await bench.report(offered.seq, "writing", "right")
    ended = await bring_about(bench, event)
    assert (ended.ended, ended.withdraw, ended.restore) == ((), (), True)
    [waiting] = await bench.log.pending(DEVICE)
    assert (waiting.state, waiting.withdrawn) == ("writing", None)


@ends
async def test_what_is_in_ram_is_restored_and_the_fitter_has_a_draft_of_it_unless_he_gave_it_up(
    bench: Bench, event: Event
) -> None:
    tried = await bench.apply(BOTH_LOUDER)
    ended = await bring_about(bench, event)
    assert (ended.restore, ended.live.base.content) == (True, FRESH)
    assert ended.draft == (None if RULES[event]["in_ram"] == "discarded" else tried.revision_id)
    kept = await bench.log.revision(DEVICE, tried.revision_id)
    assert kept is not None
    assert kept.content == BOTH_LOUDER
    assert await bench.log.pending(DEVICE) == ()


@ends
@pytest.mark.parametrize("end", ["active", "rolled_back"])
async def test_a_copy_that_has_begun_ends_as_the_phone_tells(bench: Bench, event: Event, end: DeliveryState) -> None:
    save = await saving(bench)
    for ear in EARS:
        await bench.report(save.seq, "confirmed", ear, source="ram", digest=digest(BOTH_LOUDER, ear))
        await bench.report(save.seq, "committing", ear)
    ended = await bring_about(bench, event)
    assert (ended.ended, ended.withdraw) == ((), ())
    for ear in EARS:
        held = digest(BOTH_LOUDER if end == "active" else FRESH, ear)
        done = await bench.report(save.seq, end, ear, source="nvm" if end == "active" else "ram", digest=held, nvm=held)
    assert (done.ended, done.delivery.state) == (True, end)


# The draft


async def test_nothing_is_lost_of_what_was_saved_or_of_what_was_taken_back(bench: Bench) -> None:
    save = await saving(bench)
    for ear in EARS:
        await bench.report(save.seq, "confirmed", ear, source="ram", digest=digest(BOTH_LOUDER, ear))
        await bench.report(save.seq, "active", ear, source="nvm", digest=digest(BOTH_LOUDER, ear))
    await bench.apply()
    left, right = images(BOTH_LOUDER, "left"), images(BOTH_LOUDER, "right")
    await bench.log.report_device(ReportDevice(device=DEVICE, cause="undo", left=left, right=right))
    ended = await bring_about(bench, Event.LINK_SLOW)
    assert (ended.restore, ended.draft) == (False, None)


async def test_of_several_that_were_heard_the_newest_is_the_draft_and_one_on_its_way_is_not(bench: Bench) -> None:
    await bench.apply()
    newest = await bench.apply()
    await bench.submit()
    await bench.offer()
    assert (await bring_about(bench, Event.TOKEN_EXPIRED)).draft == newest.revision_id


@ends
async def test_a_package_of_standard_mode_is_no_part_of_live_work(bench: Bench, event: Event) -> None:
    await bench.submit()
    [delivery] = await bench.log.pending(DEVICE)
    assert ENDS[event].work.fate(delivery) == "cancelled"
    assert ENDS[event].work.fate(replace(delivery, mode="standard")) == "goes_on"


@pytest.mark.parametrize(
    ("kind", "states", "attempt", "stage"),
    [
        ("volatile", ("accepted", "accepted"), 0, "waiting"),
        ("volatile", ("offered", "received"), 1, "offered"),
        ("persist", ("awaiting_install", "received"), 1, "offered"),
        ("volatile", ("received", "writing"), 1, "in_ram"),
        ("volatile", ("confirmed", "indeterminate"), 2, "in_ram"),
        ("persist", ("confirmed", "confirmed"), 1, "in_ram"),
        ("persist", ("committing", "confirmed"), 1, "committing"),
        ("persist", ("active", "committing"), 1, "committing"),
    ],
)
async def test_how_far_work_has_come_is_seen_at_its_most_advanced_ear(
    bench: Bench, kind: DeliveryKind, states: tuple[DeliveryState, DeliveryState], attempt: int, stage: Stage
) -> None:
    await bench.submit()
    [delivery] = await bench.log.pending(DEVICE)
    moved = replace(delivery, kind=kind, ears=dict(zip(EARS, states, strict=True)), attempt=attempt)
    assert stage_of(moved) == stage
