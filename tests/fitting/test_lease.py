"""One holder at a time, and a fence that only rises."""

from hypothesis import given
from hypothesis import strategies as st

from fitting.lease import Granted, Held, live, request
from fitting.log_values import LeaseState


def ask(
    lease: LeaseState | None, now_s: float, *, session: str = "s-1", holder: str = "ann", fence: int = 0
) -> Granted | Held:
    return request(lease, fence=fence, session=session, holder=holder, now_s=now_s, ttl_s=15.0)


def granted(outcome: Granted | Held) -> Granted:
    assert isinstance(outcome, Granted)
    return outcome


def test_a_free_device_is_granted_with_the_next_fence() -> None:
    outcome = ask(None, 100.0, fence=7)
    assert outcome == Granted(LeaseState("ann", "s-1", 8, 115.0), renewed=False)


def test_the_same_session_renews_with_the_same_fence() -> None:
    first = granted(ask(None, 100.0)).lease
    assert ask(first, 110.0, fence=1) == Granted(LeaseState("ann", "s-1", 1, 125.0), renewed=True)


def test_a_lease_ends_at_its_time_and_not_before() -> None:
    lease = granted(ask(None, 100.0)).lease
    assert live(lease, 114.999) is lease
    assert live(lease, 115.0) is None
    assert live(None, 0.0) is None


def test_another_session_waits_until_the_lease_has_ended() -> None:
    lease = granted(ask(None, 100.0)).lease
    assert ask(lease, 110.0, session="s-2", fence=1) == Held(5.0)
    assert granted(ask(lease, 115.0, session="s-2", fence=1)).lease.fence == 2


def test_the_session_of_another_holder_is_another_session() -> None:
    lease = granted(ask(None, 100.0)).lease
    assert ask(lease, 110.0, holder="bob", fence=1) == Held(5.0)


def test_a_session_that_comes_back_too_late_gets_a_new_fence() -> None:
    lease = granted(ask(None, 100.0)).lease
    assert granted(ask(lease, 115.0, fence=1)) == Granted(LeaseState("ann", "s-1", 2, 130.0), renewed=False)


@given(st.lists(st.tuples(st.sampled_from(["s-1", "s-2", "s-3"]), st.floats(0, 20))))
def test_a_fence_is_granted_to_one_session_only_and_never_falls(asks: list[tuple[str, float]]) -> None:
    lease: LeaseState | None = None
    fence, now_s = 0, 0.0
    owners: dict[int, str] = {}
    for session, later_s in asks:
        now_s += later_s
        outcome = ask(lease, now_s, session=session, fence=fence)
        if isinstance(outcome, Granted):
            lease = outcome.lease
            assert lease.fence >= fence
            fence = lease.fence
            assert owners.setdefault(fence, session) == session
