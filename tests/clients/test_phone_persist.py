"""Deliveries that are to last: tried on both aids, kept by both or by neither."""

from dataclasses import replace

import pytest
from msgspec import UNSET
from msgspec.structs import replace as replace_struct

from clients.device_driver import AidBusy
from clients.journal import MemoryJournal
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import CHUNKS, factory_image
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import Offer, Report, Settled
from tests.clients.offers import (
    BANDS_HZ,
    DEVICE,
    EPOCH,
    FIRMWARE,
    again,
    at_once,
    make_offer,
    make_pair,
    make_save,
    told,
)
from tests.clients.phone_bench import HAPPY, Clock, FragileJournal, Killed, Server, digests, expected, make_runner

KEPT = [*HAPPY, "right committing", "left committing", "right active", "left active"]
FACTORY = {ear: factory_image(ear, BANDS_HZ) for ear in EARS}


def persist(pair: VirtualPair) -> Offer:
    return make_offer(pair, kind="persist")


def server() -> Server:
    return Server(kind="persist")


def nvm(pair: VirtualPair) -> dict[Ear, str]:
    return {ear: pair.aid(ear).read_digest("nvm") for ear in pair.ears}


def targets(offer: Offer) -> dict[Ear, str]:
    return {ear: expected(offer, ear) for ear in EARS}


async def test_both_aids_hold_the_target_in_ram_before_either_keeps_it_and_both_have_it_before_that_is_told() -> None:
    pair, hub = make_pair(), server()
    offer = persist(pair)
    seen: list[tuple[str, list[int]]] = []

    async def report(sent: Report) -> None:
        seen.append((told([sent])[0], [pair.aid(ear).commits_completed for ear in EARS]))
        await hub.report(sent)

    await make_runner(pair).run_offer(offer, report)
    assert told(hub.facts()) == KEPT
    assert seen[5:] == [
        ("right committing", [0, 0]),
        ("left committing", [1, 0]),
        ("right active", [1, 1]),
        ("left active", [1, 1]),
    ]
    assert digests(pair) == nvm(pair) == targets(offer)
    active = hub.reports[-1]
    assert (active.source, active.digest, active.nvm) == ("nvm", expected(offer, "left"), UNSET)


async def test_one_aid_is_a_pair_too() -> None:
    pair, hub = make_pair(("left",)), server()
    offer = persist(pair)
    await make_runner(pair).run_offer(offer, hub.report)
    assert told(hub.reports) == ["received", "left writing", "left confirmed", "left committing", "left active"]
    assert nvm(pair) == {"left": expected(offer, "left")}


async def test_saving_what_ram_holds_writes_nothing_to_ram() -> None:
    pair, hub = make_pair(), server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), Server().report)
    runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=1))
    tried = digests(pair)
    await runner.run_offer(make_save(pair, seq=2), hub.report)
    assert told(hub.facts()) == ["received", "right confirmed", "left confirmed", *KEPT[5:]]
    assert digests(pair) == nvm(pair) == tried
    assert [pair.aid(ear).writes_completed for ear in EARS] == [1, 1]


@pytest.mark.parametrize("failures", [1, 2])
async def test_nvm_that_does_not_verify_is_written_twice_more(failures: int) -> None:
    pair, hub = make_pair(faults={"left": Faults(nvm_failures=failures)}), server()
    offer = persist(pair)
    await make_runner(pair).run_offer(offer, hub.report)
    assert told(hub.facts()) == KEPT
    assert nvm(pair) == targets(offer)


@pytest.mark.parametrize("ear", EARS)
async def test_nvm_that_never_verifies_gives_both_ears_back_what_they_had_in_both_memories(ear: Ear) -> None:
    pair, hub = make_pair(faults={ear: Faults(nvm_failures=3)}), server()
    offer = persist(pair)
    await make_runner(pair).run_offer(offer, hub.report)
    assert told(hub.facts())[-2:] == [
        f"right rolled_back {'E_NVM' if ear == 'right' else 'E_PARTIAL'}",
        f"left rolled_back {'E_NVM' if ear == 'left' else 'E_PARTIAL'}",
    ]
    for each in EARS:
        assert pair.aid(each).read_image("nvm") == pair.aid(each).read_image("ram") == FACTORY[each]
    assert [report.digest for report in hub.reports[-2:]] == [digests(pair)[each] for each in EARS]


async def test_a_save_that_fails_leaves_what_was_tried_in_ram_and_the_old_in_nvm() -> None:
    pair, hub = make_pair(), server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), Server().report)
    runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=1))
    tried, old = digests(pair), nvm(pair)
    pair.aid("left").faults = Faults(nvm_failures=3)
    await runner.run_offer(make_save(pair, seq=2), hub.report)
    assert told(hub.facts())[-2:] == ["right rolled_back E_PARTIAL", "left rolled_back E_NVM"]
    assert digests(pair) == tried
    assert nvm(pair) == old


@pytest.mark.parametrize("ear", EARS)
@pytest.mark.parametrize("chunk", [1, CHUNKS - 1, CHUNKS])
async def test_a_link_lost_in_a_commit_is_read_back_and_goes_on(ear: Ear, chunk: int) -> None:
    pair, hub = make_pair(faults={ear: Faults(drop_link_in_commit=chunk)}), server()
    offer = persist(pair)
    await make_runner(pair).run_offer(offer, hub.report)
    at = KEPT.index(f"{ear} committing") + 1
    assert told(hub.facts()) == [*KEPT[:at], f"{ear} indeterminate E_BLE_DURING", *KEPT[at:]]
    assert nvm(pair) == targets(offer)
    assert [pair.aid(each).commits_completed for each in EARS] == [1, 1]


@pytest.mark.parametrize(("ear", "other"), [("right", "left"), ("left", "right")])
async def test_an_aid_that_is_away_in_its_commit_is_waited_for_and_then_the_pair_goes_back(
    ear: Ear, other: Ear
) -> None:
    pair, hub, clock = make_pair(faults={ear: Faults(drop_link_in_commit=4, refuse_connects=3)}), server(), Clock()
    runner, offer = make_runner(pair, clock=clock, connect_tries=3, commit_retry_s=60.0), persist(pair)
    await runner.run_offer(offer, hub.report)
    assert told(hub.facts())[-1] == f"{ear} indeterminate E_BLE_DURING"
    assert runner.next_due_s() == 160.0
    out_of_reach = replace(pair.aid(ear).faults, refuse_connects=99)
    pair.aid(ear).faults = out_of_reach
    clock.now_s = 159.0
    await runner.work(hub.report)
    assert told(hub.facts())[-1] == f"{ear} indeterminate E_BLE_DURING"
    clock.now_s = 160.0
    await runner.work(hub.report)
    # The ear that can be reached has its old content back, in both memories; of the other nobody knows yet.
    assert told(hub.facts())[-1] == f"{other} rolled_back E_PARTIAL"
    assert pair.aid(other).read_image("nvm") == pair.aid(other).read_image("ram") == FACTORY[other]
    assert runner.record.in_flight is not None
    pair.aid(ear).faults = Faults()
    await runner.work(hub.report)
    assert told(hub.facts())[-1] == f"{ear} rolled_back E_BLE_DURING"
    assert nvm(pair) == digests(pair) == {each: pair.aid(each).read_digest("nvm") for each in EARS}
    assert pair.aid(ear).read_image("nvm") == FACTORY[ear]
    assert runner.record.in_flight is None


async def test_an_aid_that_comes_back_in_time_lets_the_pair_keep_it_with_no_word_from_the_server() -> None:
    pair, hub, clock = make_pair(faults={"left": Faults(drop_link_in_commit=4, refuse_connects=3)}), server(), Clock()
    runner, offer = make_runner(pair, clock=clock), persist(pair)
    await runner.run_offer(offer, hub.report)
    clock.now_s = 130.0
    await runner.work(hub.report)
    assert told(hub.facts())[-3:] == ["left indeterminate E_BLE_DURING", "right active", "left active"]
    assert nvm(pair) == targets(offer)


async def test_an_aid_that_restarts_before_its_commit_is_tried_again_and_then_keeps_it() -> None:
    pair, hub = make_pair(), server()
    offer = persist(pair)

    async def report(sent: Report) -> None:
        if told([sent]) == ["left committing"]:
            pair.aid("left").reboot()
        await hub.report(sent)

    await make_runner(pair).run_offer(offer, report)
    assert told(hub.facts())[-2:] == ["right active", "left active"]
    assert nvm(pair) == targets(offer)


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (Faults(corrupt_digest=2), "left failed E_READBACK"),
        (Faults(reboot_after_chunk=4), "left rolled_back E_REBOOT"),
        (Faults(wrong_serial=True), "left rejected E_DEVICE"),
    ],
)
async def test_what_fails_in_one_ear_before_the_commit_is_given_up_in_both(faults: Faults, code: str) -> None:
    pair, hub = make_pair(faults={"left": faults}), server()
    await make_runner(pair).run_offer(persist(pair), hub.report)
    assert code in told(hub.facts())
    assert told(hub.facts())[-1] in {"right rolled_back E_PARTIAL", "left rejected E_DEVICE"}
    for ear in EARS:
        await pair.aid(ear).connect()
        assert pair.aid(ear).read_image("nvm") == pair.aid(ear).read_image("ram") == FACTORY[ear]
        assert pair.aid(ear).commits_completed == 0


async def test_too_little_charge_is_waited_for_before_anything_is_written() -> None:
    pair, hub = make_pair(faults={"left": Faults(battery_percent=19)}), server()
    runner, offer = make_runner(pair), persist(pair)
    await runner.run_offer(offer, hub.report)
    await runner.work(hub.report)
    assert told(hub.facts()) == ["received", "received E_BATTERY"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    pair.aid("left").faults = Faults(battery_percent=20)
    await runner.work(hub.report)
    assert told(hub.facts())[2:] == KEPT[1:]


async def test_charge_that_is_gone_by_the_commit_is_waited_for_too() -> None:
    pair, hub = make_pair(), server()
    runner, offer = make_runner(pair), persist(pair)

    async def report(sent: Report) -> None:
        if told([sent]) == ["left writing"]:
            pair.aid("left").faults = Faults(battery_percent=10)
        await hub.report(sent)

    await runner.run_offer(offer, report)
    assert told(hub.facts()) == [*HAPPY, "left received E_BATTERY"]
    assert [pair.aid(ear).commits_completed for ear in EARS] == [0, 0]
    pair.aid("left").faults = Faults()
    await runner.work(hub.report)
    assert told(hub.facts())[-4:] == KEPT[5:]


@pytest.mark.parametrize("call", range(len(KEPT) + 1))
async def test_a_server_that_goes_away_at_any_report_gets_each_of_them_once_it_offers_again(call: int) -> None:
    pair, hub = make_pair(), Server(kind="persist", fails_at=call)
    runner, offer = make_runner(pair), persist(pair)
    await runner.run_offer(offer, hub.report)
    assert nvm(pair) == targets(offer)
    hub.heal()
    await runner.run_offer(again(offer), hub.report)
    await runner.run_offer(again(offer), hub.report)
    assert told(hub.facts()) == KEPT
    assert [pair.aid(ear).commits_completed for ear in EARS] == [1, 1]


async def test_an_aid_that_becomes_busy_in_its_commit_is_waited_for() -> None:
    pair, hub, clock = make_pair(), server(), Clock()
    runner, offer = make_runner(pair, clock=clock), persist(pair)

    async def report(sent: Report) -> None:
        if told([sent]) == ["left committing"]:
            pair.aid("left").faults = Faults(busy=True)
        await hub.report(sent)

    await runner.run_offer(offer, report)
    assert told(hub.facts())[-1] == f"left received {AidBusy.code}"
    pair.aid("left").faults = Faults()
    await runner.work(hub.report)
    assert told(hub.facts())[-2:] == ["right active", "left active"]


async def test_a_package_of_the_standard_mode_waits_until_its_wearer_installs_it() -> None:
    pair, hub = make_pair(), server()
    runner, offer = make_runner(pair), make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(offer, hub.report)
    assert told(hub.facts()) == ["received", "right awaiting_install", "left awaiting_install"]
    assert [other.seq for other in runner.offers_to_install] == [1]
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert told(hub.facts())[3:] == KEPT[1:]
    assert nvm(pair) == targets(offer)
    await runner.answer_install(offer, accepted=True, report=hub.report)
    assert runner.offers_to_install == ()


async def test_a_package_that_its_wearer_declines_is_never_written() -> None:
    pair, hub = make_pair(), server()
    runner, offer = make_runner(pair), make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(offer, hub.report)
    await runner.answer_install(offer, accepted=False, report=hub.report)
    assert told(hub.facts())[3:] == ["right declined E_DECLINED", "left declined E_DECLINED"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    await runner.run_offer(again(offer), hub.report)
    assert told(hub.reports[5:]) == told(hub.reports[:5])


async def test_a_package_that_waits_holds_no_live_change_back_and_is_looked_at_anew_when_it_is_installed() -> None:
    pair, hub, live = make_pair(), server(), Server()
    runner, package = make_runner(pair), make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(package, hub.report)
    await runner.run_offer(replace_struct(make_offer(pair, seq=2, gain_ddb=120), after=0), live.report)
    assert told(live.reports) == HAPPY
    runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=2))
    await runner.run_offer(again(package), hub.report)
    assert told(hub.facts()) == ["received", "right awaiting_install", "left awaiting_install"]
    # The aids hold something else now than the package was made for.
    await runner.answer_install(package, accepted=True, report=hub.report)
    assert told(hub.facts())[3:] == ["right rejected E_BASE", "left rejected E_BASE"]


@pytest.mark.parametrize("bound", [1, 2])
async def test_only_so_many_packages_wait_at_once(bound: int) -> None:
    pair, hub = make_pair(), server()
    runner = make_runner(pair, max_awaiting=bound)
    for seq in range(1, bound + 2):
        hub.reports.clear()
        package = make_offer(pair, seq=seq, kind="persist", mode="standard")
        await runner.run_offer(replace_struct(package, after=0), hub.report)
    assert told(hub.reports) == ["received", "right rejected E_BUSY", "left rejected E_BUSY"]
    assert len(runner.offers_to_install) == bound


async def test_nothing_is_copied_in_another_aid_that_is_worn_in_place_of_the_second_ear() -> None:
    """The first ear takes its time to keep it; what the second was read to be is old by then."""
    pair, hub = make_pair(), server()
    runner = make_runner(pair)
    pair.aid("right").faults = Faults(drop_link_in_commit=3, refuse_connects=4)
    await runner.run_offer(persist(pair), hub.report)
    assert told(hub.facts())[-1] == "right indeterminate E_BLE_DURING"
    left = pair.aid("left")
    left.faults = Faults(wrong_serial=True)
    pair.aid("right").faults = Faults()
    await runner.work(hub.report)
    assert told(hub.facts())[-2:] == ["left committing", "left indeterminate"]
    assert left.commits_completed == 0
    assert left.read_image("nvm") == FACTORY["left"]


async def test_a_phone_that_died_between_the_ears_copies_nothing_in_another_aid() -> None:
    deaths = 0
    for dies_at in range(30):
        pair, journal, hub = make_pair(), FragileJournal(dies_at, kept=True), server()
        try:
            await make_runner(pair, journal).run_offer(persist(pair), hub.report)
        except Killed:
            entry = journal.load().in_flight
            if entry is None or entry.phase != "active:right":
                continue
            deaths += 1
            other = VirtualAid("left", "L-2", firmware=FIRMWARE, sleep=at_once)
            worn = VirtualPair(pair.aid("right"), other)
            await make_runner(worn, journal).recover()
            assert other.commits_completed == 0
            assert other.read_image("nvm") == FACTORY["left"]
    assert deaths == 1


async def test_ram_that_is_lost_while_the_first_ear_keeps_it_is_written_again_before_it_is_copied() -> None:
    pair, hub = make_pair(), server()
    offer = persist(pair)

    async def report(sent: Report) -> None:
        await hub.report(sent)
        if told([sent]) == ["left committing"]:
            pair.aid("left").reboot()
            await pair.aid("left").connect()

    await make_runner(pair).run_offer(offer, report)
    assert told(hub.facts()) == KEPT
    assert pair.aid("left").commits_completed == 1
    assert nvm(pair) == digests(pair) == targets(offer)


async def test_an_aid_in_doubt_that_is_busy_and_lost_again_is_in_the_same_doubt() -> None:
    pair, hub = make_pair(), server()
    runner = make_runner(pair)
    right = pair.aid("right")
    right.faults = Faults(drop_link_in_commit=3, refuse_connects=4)
    await runner.run_offer(persist(pair), hub.report)
    right.faults = Faults(busy=True)
    await runner.work(hub.report)
    right.faults = Faults(drop_link_in_commit=3, refuse_connects=4)
    await runner.work(hub.report)
    waits = ["right indeterminate E_BLE_DURING", "right received E_BUSY"]
    assert told(hub.facts())[-2:] == waits
    right.faults = Faults()
    await runner.work(hub.report)
    assert told(hub.facts())[-5:] == [*waits, *KEPT[-3:]]


@pytest.mark.parametrize("clock_goes_on", [True, False])
async def test_the_time_in_which_the_ears_may_differ_runs_over_restarts(clock_goes_on: bool) -> None:
    pair, journal, hub, clock = make_pair(), MemoryJournal(), server(), Clock()
    pair.aid("left").faults = Faults(drop_link_in_commit=3, refuse_connects=1_000)
    await make_runner(pair, journal, clock=clock).run_offer(persist(pair), hub.report)
    assert pair.aid("right").read_image("nvm") != FACTORY["right"]
    for passed_s in (50.0, 11.0):
        clock.now_s += passed_s
        runner = make_runner(pair, journal, clock=clock if clock_goes_on else Clock(1.0))
        await runner.recover()
        is_over = not clock_goes_on or passed_s == 11.0
        assert (pair.aid("right").read_image("nvm") == FACTORY["right"]) == is_over
