"""A run that did not do what it was to do is invalid, whatever did not go wrong in it."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.coverage import Met, uncovered
from tests.chaos.plan import Plan, plan_of
from tests.chaos.profile import PROFILES

PLAN = plan_of(1, PROFILES["standard"], "sqlite")


def all_of(plan: Plan) -> Met:
    spoken = Counter[str](plan.transports[fault.lane] for fault in plan.faults if fault.lane in plan.transports)
    kills = sum(fault.kind == "phone_kill_at" for fault in plan.faults)
    return Met(plan.required, plan.required, spoken, kills, Counter(plan.profile.ends))


def test_a_run_that_did_everything_proves_something() -> None:
    assert uncovered(PLAN, all_of(PLAN)) == {}


@pytest.mark.parametrize("client", ["mixed", "socketio"])
def test_a_run_in_which_no_fault_has_hit_a_phone_on_socketio_is_invalid(client: str) -> None:
    plan = plan_of(1, PROFILES["standard"], "sqlite", client=client)
    # As if the phones had spoken something else than they were told to.
    met = replace(all_of(plan), spoken=Counter(signalr=99, socketio=0))
    assert uncovered(plan, met) == {"faults of phones on socketio": 1}


def test_a_run_that_is_not_to_have_such_phones_is_not_asked_for_them() -> None:
    plan = plan_of(1, PROFILES["standard"], "sqlite", client="signalr")
    assert uncovered(plan, all_of(plan)) == {}


def test_a_fault_that_did_not_land_and_work_that_came_to_too_little_are_told() -> None:
    met = all_of(PLAN)
    missed = replace(met, landed=met.landed - Counter(phone_mirror=2))
    assert uncovered(PLAN, missed) == {"phone_mirror": 2}
    short = replace(met, open_kills=14, packages=met.packages - Counter(["undone"]))
    assert uncovered(PLAN, short) == {"kills with an open journal": 1, "packages: undone": 1}


def test_of_a_run_that_was_cut_short_only_so_much_is_asked() -> None:
    met = all_of(PLAN)
    begun = Counter(phone_reset=1, phone_kill=1)
    short = replace(met, begun=begun, landed=begun, open_kills=0, packages=Counter())
    assert uncovered(PLAN, short) == {}
    part = PLAN.only([0])
    assert uncovered(part, replace(short, begun=part.required, landed=part.required, spoken=Counter())) == {}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("seed", range(4))
def test_all_kills_of_a_plan_are_more_than_enough_with_an_open_journal(name: str, seed: int) -> None:
    """A phone has nothing in its journal before it takes a delivery, and after the end of one; else it has."""
    faults = plan_of(seed, PROFILES[name], "sqlite").faults
    kills = [fault.value for fault in faults if fault.kind == "phone_kill_at"]
    closed = sum(kill in {"received:before", "ended:after"} for kill in kills)
    assert len(kills) - closed >= PROFILES[name].min_open_kills
