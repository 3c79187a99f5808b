"""Candidates wait for the description that they belong to, and nobody sends too much."""

from protocol.contract.calls import SendSignal
from signaling.calls.signals import SignalLimits, Signals


def candidate(to: int, number: int = 0) -> SendSignal:
    return SendSignal(visit="v", call_id="c", to=to, kind="candidate", candidate=f"candidate:{number}")


def signals(reached: list[str], **limits: float) -> Signals:
    given = {"max_candidates": 3, "max_signals": 2, "signal_every_s": 0.5, **limits}
    return Signals(SignalLimits(**given), reached.append, 0.0)  # type: ignore[arg-type]  # a test's own numbers


def test_a_candidate_waits_for_a_description_and_later_ones_do_not() -> None:
    one = signals([])
    assert one.hold(candidate(1, 1)) is True
    assert one.hold(candidate(2, 7)) is True
    assert one.hold(candidate(1, 2)) is True
    assert [held.candidate for held in one.described(1)] == ["candidate:1", "candidate:2"]
    assert one.described(1) == []
    assert one.hold(candidate(1, 3)) is False
    # The other peer still has none.
    assert one.hold(candidate(2, 8)) is True


def test_a_peer_with_another_connection_knows_nothing() -> None:
    one = signals([])
    one.described(1)
    one.anew(1)
    assert one.hold(candidate(1)) is True


def test_only_so_many_candidates_belong_to_one_description() -> None:
    reached: list[str] = []
    one = signals(reached)
    assert [one.hold(candidate(1, n)) for n in range(4)] == [True, True, True, None]
    assert len(one.described(1)) == 3
    assert one.hold(candidate(1)) is None
    one.described(1)
    assert one.hold(candidate(1)) is False
    assert reached == ["max_candidates"] * 2


def test_only_so_many_at_once_and_one_more_every_while() -> None:
    reached: list[str] = []
    one = signals(reached)
    assert [one.admits(0) for _ in range(3)] == [True, True, False]
    assert one.admits(0.4) is False
    assert one.admits(0.6) is True
    assert [one.admits(100) for _ in range(3)] == [True, True, False]
    assert reached == ["max_signals"] * 3
