"""A run is its seed: the same plan every time, every fault in some plan, and every point within two seeds."""

import pytest

from tests.chaos.check_packages import ENDS
from tests.chaos.nemesis import FAULTS
from tests.chaos.plan import Plan, plan_of
from tests.chaos.plan_pods import LONG_FREEZE_S
from tests.chaos.profile import DATABASES, KILL_POINTS, MAX_FRAME, PHASES, PROFILES, WAITING


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("name", PROFILES)
def test_a_seed_gives_the_same_plan_and_another_seed_another_one(name: str, database: str) -> None:
    profile = PROFILES[name]
    assert plan_of(7, profile, database) == plan_of(7, profile, database)
    assert plan_of(7, profile, database) != plan_of(8, profile, database)


def test_every_fault_that_is_planned_can_be_done_and_every_one_that_can_be_done_is_planned() -> None:
    planned = {fault.kind for database in DATABASES for fault in plan_of(1, PROFILES["smoke"], database).faults}
    planned |= {fault.kind for fault in plan_of(1, PROFILES["smoke"], "postgres", 2).faults}
    assert planned == set(FAULTS)


@pytest.mark.parametrize("seed", range(5))
def test_two_small_runs_kill_the_server_at_every_point_and_a_phone_in_every_phase(seed: int) -> None:
    faults = [fault for each in (seed, seed + 1) for fault in plan_of(each, PROFILES["smoke"], "sqlite").faults]
    points = {fault.value.split(":")[0] for fault in faults if fault.kind == "server_kill_at"}
    phases = {fault.value.rpartition(":")[0] for fault in faults if fault.kind == "phone_kill_at"}
    assert (points, phases) == (set(KILL_POINTS), set(PHASES))


def test_a_standard_run_cuts_after_every_frame_on_both_sides_and_has_every_fault_three_times() -> None:
    plan = plan_of(1, PROFILES["standard"], "postgres")
    for side in ("phone", "fitter"):
        cuts = {fault.value for fault in plan.faults if fault.kind == f"{side}_cut_frame"}
        assert cuts == {str(frame) for frame in range(1, MAX_FRAME + 1)}
    kinds = [fault.kind for fault in plan.faults]
    assert min(kinds.count(kind) for kind in kinds) >= PROFILES["standard"].each


def test_a_standard_run_kills_phones_that_put_a_package_aside_and_asks_for_every_end_of_one() -> None:
    plan = plan_of(1, PROFILES["standard"], "sqlite")
    assert [fault.value.partition(":")[0] for fault in plan.faults].count(WAITING) == PROFILES["standard"].each
    assert plan.profile.ends == ENDS


def test_a_part_of_a_plan_asks_for_a_part_of_its_faults() -> None:
    plan = plan_of(1, PROFILES["smoke"], "sqlite")
    part = plan.only([0, 2])
    assert part.faults == (plan.faults[0], plan.faults[2])
    assert sum(part.required.values()) == 2


def test_of_several_pods_each_goes_down_and_each_is_cut_off_from_what_they_share() -> None:
    plan = plan_of(1, PROFILES["standard"], "postgres", 3)
    pods = {"pod-0", "pod-1", "pod-2"}
    for kind in ("server_kill", "server_terminate", "server_freeze", "server_kill_at"):
        assert {fault.lane for fault in plan.faults if fault.kind == kind} == pods
    for edge in ("bus", "database"):
        assert {fault.lane for fault in plan.faults if fault.value.partition(":")[0] == edge} <= pods
    assert max(fault.length_s for fault in plan.faults if fault.kind == "server_freeze") == LONG_FREEZE_S
    assert plan.fitters >= 6


def test_every_run_has_phones_of_both_protocols_unless_it_is_asked_for_one() -> None:
    for profile in PROFILES.values():
        assert set(plan_of(1, profile, "sqlite").transports.values()) == {"signalr", "socketio"}
        for client in ("signalr", "socketio"):
            assert set(plan_of(1, profile, "sqlite", client=client).transports.values()) == {client}


def struck(plan: Plan, transport: str) -> set[tuple[str, str]]:
    """What strikes the phones of one protocol: phases of kills and places of cuts one by one."""
    faults = [fault for fault in plan.faults if plan.transports.get(fault.lane) == transport]
    places = {"phone_kill_at", "phone_cut_frame"}
    return {
        (fault.kind, fault.value.removesuffix(":before").removesuffix(":after") if fault.kind in places else "")
        for fault in faults
    }


@pytest.mark.parametrize("pods", [1, 3])
@pytest.mark.parametrize("transport", ["signalr", "socketio"])
def test_all_that_a_phone_may_meet_meets_phones_of_either_protocol(pods: int, transport: str) -> None:
    plan = plan_of(1, PROFILES["standard"], "postgres", pods)
    everything = struck(plan, "signalr") | struck(plan, "socketio")
    assert {("phone_cut_frame", str(frame)) for frame in range(1, MAX_FRAME + 1)} < everything
    assert struck(plan, transport) == everything


def test_small_runs_strike_a_phone_on_socketio_too_each_with_other_faults() -> None:
    plans = [plan_of(seed, PROFILES["smoke"], "sqlite") for seed in range(3)]
    kinds = [{kind for kind, _ in struck(plan, "socketio")} for plan in plans]
    assert all(kinds)
    assert set.union(*kinds) == {
        kind for plan in plans for kind, _ in struck(plan, "signalr") | struck(plan, "socketio")
    }
