"""When a package's phone is woken again, walked over every state and every outcome of a push."""

import pytest
from msgspec.structs import replace

from fitting.delivery import TRANSITIONS, is_end
from fitting.log_values import Delivery
from fitting.packages import AfterPush, PushTimes, after_push, judge_push
from fitting.push import Gone, Later, PushOutcome, Refused, Sent
from protocol.contract.devices import DeliveryState
from tests.fitting.test_delivery import delivery

TIMES = PushTimes(schedule_s=(0.0, 100.0, 1_000.0), online_s=30.0, refused_s=500.0)


def package(state: DeliveryState) -> Delivery:
    return replace(delivery(right="accepted"), kind="persist", mode="standard", state=state)


@pytest.mark.parametrize("state", TRANSITIONS["persist"])
@pytest.mark.parametrize("is_online", [False, True])
def test_only_what_no_phone_has_taken_wakes_one(state: DeliveryState, *, is_online: bool) -> None:
    judged = judge_push(package(state), is_online=is_online)
    if state in ("accepted", "offered"):
        assert judged == ("wait" if is_online else "push")
    else:
        assert judged == "drop"
        assert is_end("persist", state) or state not in ("accepted", "offered")


def test_what_is_asked_back_or_gone_wakes_nobody() -> None:
    asked = replace(package("offered"), withdrawn="superseded")
    assert judge_push(asked, is_online=False) == "drop"
    assert judge_push(None, is_online=False) == "drop"


@pytest.mark.parametrize(
    ("outcome", "tries", "expected"),
    [
        (Sent(), 0, AfterPush(10_100.0)),
        (Sent(), 1, AfterPush(11_000.0)),
        (Sent(), 2, AfterPush(None)),
        (Gone(), 0, AfterPush(None)),
        (Later(60.0), 0, AfterPush(10_110.0, tried=False)),
        (Later(0.0), 2, AfterPush(10_051.0, tried=False)),
        (Refused("push_hub_unknown"), 0, AfterPush(10_550.0)),
        (Refused("push_hub_unknown"), 1, AfterPush(11_000.0)),
        (Refused("push_hub_unknown"), 2, AfterPush(None)),
    ],
)
def test_what_follows_a_push(outcome: PushOutcome, tries: int, expected: AfterPush) -> None:
    assert after_push(outcome, accepted_at_s=10_000.0, tries=tries, now_s=10_050.0, times=TIMES) == expected


def test_one_that_comes_late_is_not_made_up_for_at_once_twice() -> None:
    late = after_push(Sent(), accepted_at_s=10_000.0, tries=0, now_s=10_500.0, times=TIMES)
    assert late == AfterPush(10_500.0)
