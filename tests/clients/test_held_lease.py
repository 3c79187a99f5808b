"""Whether a lease is still held: every answer, at every time."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from clients.held_lease import LOST_CODES, HeldLease, renewed, restored
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import InAid, LeaseAnswer, PhoneView
from protocol.contract.sessions import LeaseLost, LeaseRenewed

LEASE = HeldLease("aids-1", "session-1", fence=7, asked_at_s=100.0, lease_for_s=15.0)
RENEWED = LeaseRenewed(fence=7, lease_for_ms=12_000, state="live")


def refused(code: str) -> Failure:
    return Failure(error=Refusal(code=code, message=f"it is {code}"))


def granted(fence: int) -> LeaseAnswer:
    phone = PhoneView(online=True)
    return LeaseAnswer(fence=fence, lease_for_ms=15_000, mode="standard", in_aid=InAid(), phone=phone)


def test_a_renewal_counts_from_when_it_was_asked_for() -> None:
    outcome = renewed(LEASE, RENEWED, asked_at_s=105.0, now_s=109.0)
    assert outcome == replace(LEASE, asked_at_s=105.0, lease_for_s=12.0)
    assert not outcome.has_run_out(116.9)
    assert outcome.has_run_out(117.0)


@pytest.mark.parametrize("code", sorted(LOST_CODES))
@pytest.mark.parametrize("judge", [renewed, restored])
def test_a_refusal_of_the_lease_loses_it(code: str, judge: Callable[..., HeldLease | LeaseLost]) -> None:
    lost = judge(LEASE, refused(code), asked_at_s=105.0, now_s=105.0)
    assert lost == LeaseLost(device="aids-1", reason="expired", detail=f"it is {code}")


@pytest.mark.parametrize("answer", [None, refused("overloaded"), refused("unavailable")])
def test_without_a_word_it_is_held_until_its_time_is_over(answer: Failure | None) -> None:
    assert renewed(LEASE, answer, asked_at_s=110.0, now_s=114.9) is LEASE
    assert restored(LEASE, answer, asked_at_s=110.0, now_s=114.9) is LEASE
    assert isinstance(renewed(LEASE, answer, asked_at_s=110.0, now_s=115.0), LeaseLost)
    assert isinstance(restored(LEASE, answer, asked_at_s=110.0, now_s=115.0), LeaseLost)


def test_a_new_link_that_gets_the_same_fence_holds_the_same_lease_however_late_it_is() -> None:
    assert restored(LEASE, granted(7), asked_at_s=130.0, now_s=131.0) == replace(LEASE, asked_at_s=130.0)


def test_a_new_link_that_gets_another_fence_has_lost_the_session() -> None:
    lost = restored(LEASE, granted(8), asked_at_s=101.0, now_s=101.0)
    assert isinstance(lost, LeaseLost)
    assert lost.reason == "expired"
