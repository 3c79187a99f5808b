"""What was on the path of a client, and when it was broken, by a history of a few lines."""

from itertools import count
from typing import Any

import pytest

from tests.chaos.check_order import one_stream
from tests.chaos.check_pods import calls_succeed, presence_is_true
from tests.chaos.check_resume import nothing_is_lost_on_the_way
from tests.chaos.history import Event, EventType
from tests.chaos.paths import Paths
from tests.chaos.story import stories

S_NS = 1_000_000_000


def history(*lines: tuple[str, EventType, str, str, dict[str, Any]]) -> list[Event]:
    times = count(S_NS, S_NS)
    return [Event(next(times), p, kind, f, dev, v) for p, kind, f, dev, v in lines]


def fact(f: str, p: str = "runner", /, **values: Any) -> tuple[str, EventType, str, str, dict[str, Any]]:
    return (p, "ok", f, "", values)


def call(outcome: EventType, **values: Any) -> list[tuple[str, EventType, str, str, dict[str, Any]]]:
    return [("fitter-0", "invoke", "renew", "d", {}), ("fitter-0", outcome, "renew", "d", values)]


def fault(
    lane: str, kind: str = "server_kill", value: str = ""
) -> list[tuple[str, EventType, str, str, dict[str, Any]]]:
    return [fact(f, fault=kind, lane=lane, value=value) for f in ("start", "stop")]


ROUTE = fact("route", lane="fitter-0", pod="pod-1")


@pytest.mark.parametrize(
    ("broken", "is_excused"),
    [
        (fault("fitter-0", "fitter_reset"), True),
        (fault("pod-1"), True),
        (fault("database", "database_kill"), True),
        (fault("pod-1", "edge_reset", "database"), True),
        (fault("pod-0"), False),
        (fault("fitter-1", "fitter_reset"), False),
        (fault("bus", "bus_kill"), False),
        (fault("pod-1", "edge_reset", "bus"), False),
        ([], False),
    ],
)
@pytest.mark.parametrize("lost", [call("info"), call("fail", code="unavailable"), call("fail", code="not_sent")])
def test_a_lost_call_is_excused_by_what_was_broken_on_its_own_path(
    broken: list[Any], is_excused: bool, lost: list[Any]
) -> None:
    told = history(ROUTE, *call("ok"), *broken, *lost)
    assert [one.invariant for one in calls_succeed(stories(told), Paths(told))] == ([] if is_excused else ["I12"])


def test_what_was_broken_before_a_call_that_succeeded_excuses_nothing() -> None:
    told = history(ROUTE, *fault("pod-1"), *call("ok"), *call("info"))
    assert len(list(calls_succeed(stories(told), Paths(told)))) == 1


@pytest.mark.parametrize(("broken", "is_excused"), [("pod-0", True), ("pod-1", True), ("pod-2", False)])
def test_the_pod_that_has_the_connection_is_on_the_path_beside_the_one_that_hands_it_on(
    broken: str, is_excused: bool
) -> None:
    homes = [fact("homes", pod="pod-0", connections=["a", "b"]), fact("homes", pod="pod-2", connections=["old"])]
    linked = [fact("linked", "fitter-0", connection=each) for each in ("old", "a")]
    told = history(ROUTE, *linked, *call("ok"), *fault(broken), *call("info"), *homes)
    assert bool(list(calls_succeed(stories(told), Paths(told)))) == (not is_excused)


def test_an_answer_that_was_under_way_when_something_broke_does_not_prove_that_it_is_whole_again() -> None:
    asked, answered = call("ok")
    told = history(ROUTE, asked, *fault("pod-1"), answered, *call("info"))
    assert not list(calls_succeed(stories(told), Paths(told)))


def test_a_refusal_of_the_domain_and_a_machine_that_stands_still_are_no_fault_of_the_server() -> None:
    told = history(ROUTE, *call("ok"), *call("fail", code="lease_lost"), *call("info"), fact("lag", worst_ms=900))
    assert not list(calls_succeed(stories(told), Paths(told)))


def resumed(*lines: tuple[str, dict[str, Any]]) -> list[tuple[str, EventType, str, str, dict[str, Any]]]:
    return [fact(f"resume_{what}", "resumer-0", **values) for what, values in lines]


HEARD = [("open", {}), *((what, {"number": 1}) for what in ("said", "heard", "answered"))]


@pytest.mark.parametrize(
    ("lines", "broken"),
    [
        ([("end", {"why": "done"})], 0),
        ([("said", {"number": 2}), ("end", {"why": "done"})], 1),
        ([("heard", {"number": 1})], 1),
        ([("answered", {"number": 3})], 1),
        ([("lost", {}), ("end", {"why": "gone"})], 1),
        ([("lost", {}), ("back", {}), ("said", {"number": 2}), ("heard", {"number": 2})], 0),
        ([("end", {"why": "closed"}), *HEARD], 0),
    ],
)
def test_a_connection_that_is_resumed_says_everything_once(lines: list[Any], broken: int) -> None:
    told = history(*resumed(*HEARD, *lines))
    assert len(list(nothing_is_lost_on_the_way(told, Paths(told)))) == broken


@pytest.mark.parametrize(
    ("pod", "kind", "broken"),
    [
        ("pod-1", "server_gone", 0),
        ("pod-1", "server_freeze", 0),
        ("pod-2", "server_gone", 1),
        ("pod-2", "server_freeze", 0),
        ("pod-0", "server_gone", 1),
        ("pod-0", "server_freeze", 1),
    ],
)
def test_a_pod_that_died_may_forget_what_it_had_and_not_what_others_have(pod: str, kind: str, broken: int) -> None:
    begun = [fact("route", lane="resumer-0", pod="pod-1"), *resumed(*HEARD)]
    elsewhere = [*resumed(("lost", {})), fact("route", lane="resumer-0", pod="pod-2"), *resumed(("back", {}))]
    gone = [*resumed(("lost", {})), *fault(pod, kind), *resumed(("end", {"why": "gone"}))]
    told = history(*begun, *elsewhere, *gone)
    assert len(list(nothing_is_lost_on_the_way(told, Paths(told)))) == broken


@pytest.mark.parametrize(("pod", "broken"), [("pod-0", 0), ("pod-1", 1)])
def test_who_has_a_connection_from_its_beginning_is_known_by_the_connection(pod: str, broken: int) -> None:
    route = fact("route", lane="resumer-0", pod="pod-1")
    begun = [route, *resumed(("open", {"connection": "a"}), *HEARD[1:], ("lost", {}))]
    homes = fact("homes", pod="pod-0", connections=["a"])
    told = history(*begun, *fault(pod, "server_gone"), *resumed(("end", {"why": "gone"})), homes)
    assert len(list(nothing_is_lost_on_the_way(told, Paths(told)))) == broken


HERE = [fact("route", lane="phone-0", pod="pod-1"), ("phone-0", "ok", "welcome", "d", {"gen": 1})]
HEARS = [("phone-0", "ok", "offer_in", "d", {"epoch": "e", "seq": 1})]


def said_away(between: list[Any], **values: Any) -> list[Event]:
    """A pod is asked of a phone that came, and then something was, and calls it away; it is there."""
    said = ("runner", "ok", "presence", "d", {"pod": "pod-0", "online": False, **values})
    return history(*HERE, *[fact("lag", worst_ms=1)] * 6, *between, said, *HEARS)  # type: ignore[arg-type]  # lines


@pytest.mark.parametrize(
    ("late", "broken"),
    [([], 1), ([fact("late", pod="pod-1", ms=900)], 0), ([fact("late", pod="pod-0", ms=900)], 1)],
)
def test_a_pod_that_was_silent_is_not_believed_to_have_a_phone(late: list[Any], broken: int) -> None:
    told = said_away(late)
    assert len(list(presence_is_true(stories(told)["d"], Paths(told)))) == broken


@pytest.mark.parametrize(("ms", "broken"), [(900, 1), (3_000, 0)])
def test_a_pod_that_was_silent_for_long_is_known_to_have_been_when_it_speaks(ms: int, broken: int) -> None:
    told = [*said_away([])[:-1], *history(*[fact("lag", worst_ms=1)] * 13, fact("late", pod="pod-1", ms=ms))[-1:]]
    told.append(Event(told[-1].t + S_NS, "phone-0", "ok", "offer_in", "d", {"epoch": "e", "seq": 1}))
    assert len(list(presence_is_true(stories(told)["d"], Paths(told)))) == broken


@pytest.mark.parametrize(
    ("lane", "kind", "broken"),
    [
        ("bus", "bus_kill", 0),
        ("resumer-0", "resume_bus_kill", 0),
        ("resumer-0", "resume_cut", 1),
        ("fitter-0", "fitter_reset", 1),
    ],
)
def test_without_the_bus_a_pod_may_not_hear_of_a_phone_whoever_it_was_taken_from(
    lane: str, kind: str, broken: int
) -> None:
    told = said_away(fault(lane, kind))
    assert len(list(presence_is_true(stories(told)["d"], Paths(told)))) == broken


@pytest.mark.parametrize(("took_ms", "broken"), [(1_000, 1), (3_000, 0)])
def test_what_a_pod_says_was_so_when_it_was_asked_at_the_earliest(took_ms: int, broken: int) -> None:
    told = said_away([], took_ms=took_ms)
    assert len(list(presence_is_true(stories(told)["d"], Paths(told)))) == broken


@pytest.mark.parametrize(("later", "is_excused"), [(0, True), (1, False)])
def test_a_pod_is_known_to_be_gone_to_its_clients_before_it_is_buried(later: int, is_excused: bool) -> None:
    between = [fact("lag", worst_ms=1)] * later
    told = history(ROUTE, *call("ok"), *call("info"), *between, *fault("pod-1", "server_gone"))
    assert bool(list(calls_succeed(stories(told), Paths(told)))) == (not is_excused)


@pytest.mark.parametrize(("worst_ms", "is_excused"), [(1_500, True), (200, False)])
def test_a_machine_that_stood_still_says_so_when_it_goes_on(worst_ms: int, is_excused: bool) -> None:
    # Two seconds after the call was lost.
    told = history(ROUTE, *call("ok"), *call("info"), fact("late", pod="pod-1", ms=900), fact("lag", worst_ms=worst_ms))
    assert bool(list(calls_succeed(stories(told), Paths(told)))) == (not is_excused)


@pytest.mark.parametrize(("worst_ms", "broken"), [(100, 1), (600, 0)])
def test_a_machine_that_is_late_brings_late_what_was_in_flight(worst_ms: int, broken: int) -> None:
    attached = [("phone-0", "ok", "welcome", "d", {"gen": gen}) for gen in (1, 2)]
    offer = ("phone-0", "ok", "offer_in", "d", {"epoch": "e", "seq": 1, "gen": 1})
    told = history(*attached, fact("lag", worst_ms=worst_ms), offer)  # type: ignore[arg-type]  # lines of a history
    assert len(list(one_stream(stories(told)["d"], Paths(told)))) == broken
