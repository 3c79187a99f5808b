"""The state table of a delivery, walked whole, and what a report makes of a delivery."""

from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from fitting.delivery import ENDS, TRANSITIONS, Judged, is_end, judge, move, pair_state, step
from fitting.digest import content_digests
from fitting.log_values import Delivery, Revision
from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import DELIVERY_STATES, DeliveryState, Report
from protocol.contract.fitting import DeliveryKind, SafetySummary
from tests.fitting.contents import content, flat

KINDS: tuple[DeliveryKind, ...] = get_args(DeliveryKind)

# state: the events that it allows; "event=state" where the event does not lead to the state of its name.
VOLATILE = """
accepted:      offered superseded expired cancelled
offered:       offered received writing confirmed rejected declined rolled_back failed indeterminate \
               superseded expired cancelled
received:      offered=received received writing confirmed rejected declined rolled_back failed indeterminate \
               superseded expired cancelled
writing:       offered=writing received=writing confirmed rolled_back failed indeterminate
indeterminate: offered=indeterminate received=indeterminate writing=indeterminate \
               confirmed rolled_back failed
"""
PERSIST = """
accepted:         offered superseded expired cancelled
offered:          offered received awaiting_install writing confirmed committing active rejected declined \
                  rolled_back failed indeterminate superseded expired cancelled
received:         offered=received received awaiting_install writing confirmed committing active rejected \
                  declined rolled_back failed indeterminate superseded expired cancelled
awaiting_install: offered=awaiting_install received=awaiting_install writing confirmed committing active \
                  rejected declined rolled_back failed indeterminate superseded expired cancelled
writing:          offered=writing received=writing confirmed committing active rolled_back failed \
                  indeterminate
confirmed:        offered=confirmed received=confirmed committing active rolled_back failed indeterminate
committing:       offered=committing received=committing active rolled_back failed indeterminate
indeterminate:    offered=indeterminate received=indeterminate writing=indeterminate confirmed active \
                  rolled_back failed
"""


def allowed(text: str) -> dict[tuple[str, str], str]:
    table = {}
    for line in text.strip().splitlines():
        state, _, events = line.partition(":")
        for event in events.split():
            name, _, target = event.partition("=")
            table[state, name] = target or name
    return table


EXPECTED = {"volatile": allowed(VOLATILE), "persist": allowed(PERSIST)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_answers_every_event_as_the_table_says(kind: DeliveryKind) -> None:
    walked = 0
    for state, event in product(DELIVERY_STATES, DELIVERY_STATES):
        assert step(kind, state, event) == EXPECTED[kind].get((state, event)), (state, event)
        walked += 1
    assert walked == 256


def test_the_ends_are_the_states_that_nothing_leaves() -> None:
    common = {"rejected", "declined", "superseded", "expired", "cancelled", "rolled_back", "failed"}
    assert ENDS["volatile"] == common | {"confirmed"}
    assert ENDS["persist"] == common | {"active"}
    assert not any(is_end(kind, "indeterminate") for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_from_every_state_an_end_can_be_reached(kind: DeliveryKind) -> None:
    reached: set[DeliveryState] = {"accepted"}
    while grown := {target for s in reached for target in TRANSITIONS[kind][s].values()} - reached:
        reached |= grown
    for state in reached - ENDS[kind]:
        onward: set[DeliveryState] = {state}
        while grown := {t for s in onward for t in TRANSITIONS[kind][s].values()} - onward:
            onward |= grown
        assert onward & ENDS[kind], state


def test_a_pair_is_where_its_least_advanced_ear_is() -> None:
    assert pair_state("volatile", ["confirmed", "writing"]) == "writing"
    assert pair_state("volatile", ["indeterminate", "confirmed"]) == "indeterminate"
    assert pair_state("volatile", ["failed", "received"]) == "received"
    assert pair_state("volatile", ["confirmed", "failed"]) == "failed"
    assert pair_state("volatile", ["confirmed", "confirmed"]) == "confirmed"
    assert pair_state("persist", ["failed", "confirmed"]) == "confirmed"
    assert pair_state("persist", ["active", "rolled_back"]) == "rolled_back"


@given(st.lists(st.sampled_from(DELIVERY_STATES), min_size=1, max_size=2))
def test_a_pair_has_an_end_only_when_each_ear_has(states: list[DeliveryState]) -> None:
    for kind in KINDS:
        ended = all(is_end(kind, state) for state in states)
        assert is_end(kind, pair_state(kind, states)) is ended


# What a report makes of a delivery

AFTER = content(right=flat(g65_ddb=160), left=flat(g65_ddb=160))
DIGESTS = content_digests(AFTER)


def revision(name: str) -> Revision:
    return Revision(
        revision_id=name,
        parent="",
        origin="fitting",
        author="ann",
        reason="softer",
        content=AFTER,
        digests=DIGESTS,
        safety=SafetySummary(rules=()),
        at_s=0.0,
    )


def delivery(**ears: DeliveryState) -> Delivery:
    states: dict[Ear, DeliveryState] = {ear: ears[ear] for ear in EARS if ear in ears}
    return Delivery(
        device="d-1",
        epoch="e-1",
        seq=1,
        revision=revision("r-2"),
        base=revision("r-1"),
        kind="volatile",
        mode="advanced",
        fence=1,
        state=pair_state("volatile", states.values()),
        ears=states,
        attempt=1,
        after=0,
        offered_at_s=0.0,
        expires_at_s=60.0,
    )


def report(state: Any, ear: Any = UNSET, **more: Any) -> Report:
    return Report(device="d-1", epoch="e-1", seq=1, attempt=1, n=1, state=state, ear=ear, **more)


def judged(outcome: Judged | Refusal) -> Judged:
    assert isinstance(outcome, Judged), outcome
    return outcome


def code(outcome: Judged | Refusal) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.code


def test_received_is_true_of_every_ear_without_an_end() -> None:
    after = judged(judge(delivery(right="confirmed", left="offered"), report("received"))).delivery
    assert (after.ears, after.state) == ({"right": "confirmed", "left": "received"}, "received")


def test_a_report_of_one_ear_moves_that_ear() -> None:
    outcome = judged(judge(delivery(right="received", left="received"), report("writing", "right")))
    assert outcome.delivery.ears == {"right": "writing", "left": "received"}
    assert outcome.delivery.state == "received"


def test_confirmed_needs_the_digest_that_was_expected() -> None:
    before = delivery(right="writing")
    good = judged(judge(before, report("confirmed", "right", digest=DIGESTS.right)))
    assert (good.delivery.state, good.code) == ("confirmed", None)
    other = "sha256:" + "0" * 64
    for wrong in (
        report("confirmed", "right", digest=other),
        report("confirmed", "right", digest=DIGESTS.pair),
        report("confirmed", "right"),
    ):
        bad = judged(judge(before, wrong))
        assert (bad.delivery.state, bad.event, bad.code) == ("failed", "failed", "E_READBACK")
        assert bad.delivery.code == "E_READBACK"


def test_active_needs_the_digest_that_was_expected_from_nvm() -> None:
    before = msgspec.structs.replace(delivery(right="committing"), kind="persist")
    good = judged(judge(before, report("active", "right", source="nvm", digest=DIGESTS.right)))
    assert (good.delivery.state, good.code) == ("active", None)
    for wrong in (
        report("active", "right", source="nvm", digest="sha256:" + "0" * 64),
        report("active", "right", source="ram", digest=DIGESTS.right),
        report("active", "right", digest=DIGESTS.right),
        report("active", "right", source="nvm"),
        report("active", "right"),
    ):
        bad = judged(judge(before, wrong))
        assert (bad.delivery.state, bad.event, bad.delivery.code) == ("failed", "failed", "E_NVM")
    assert code(judge(delivery(right="writing"), report("active", "right"))) == "illegal_report"


def test_an_ear_that_the_delivery_does_not_change_is_refused() -> None:
    assert code(judge(delivery(right="offered"), report("writing", "left"))) == "wrong_ear"


@pytest.mark.parametrize("state", ["writing", "confirmed", "rolled_back", "indeterminate"])
def test_what_is_true_of_one_ear_only_needs_the_ear(state: str) -> None:
    assert code(judge(delivery(right="writing"), report(state))) == "wrong_ear"


def test_a_rejection_before_the_write_wrote_nothing_and_one_after_its_begin_is_a_failure() -> None:
    outcome = judged(judge(delivery(right="received", left="received"), report("rejected", code="E_FENCE")))
    assert (outcome.delivery.state, outcome.delivery.code) == ("rejected", "E_FENCE")
    begun = judged(judge(delivery(right="writing", left="received"), report("rejected", code="E_BASE")))
    assert (begun.delivery.ears["right"], begun.delivery.ears["left"]) == ("failed", "rejected")
    refused = judge(delivery(right="confirmed", left="writing"), report("rejected", "right"))
    assert code(refused) == "illegal_report"
    assert isinstance(refused, Refusal)
    assert refused.message == "rejected cannot follow confirmed in a volatile delivery"


def test_nothing_leaves_an_end() -> None:
    for state in ("failed", "rolled_back", "indeterminate", "writing"):
        assert code(judge(delivery(right="confirmed"), report(state, "right"))) == "illegal_report"


def test_what_is_known_already_leaves_the_very_same_delivery() -> None:
    for before, again in (
        (delivery(right="confirmed"), report("confirmed", "right", digest=DIGESTS.right)),
        (delivery(right="writing"), report("writing", "right")),
        (delivery(right="writing"), report("received")),
        (delivery(right="rejected", left="rejected"), report("rejected")),
    ):
        assert judged(judge(before, again)).delivery is before


def test_an_earlier_code_stays_when_a_later_report_has_none() -> None:
    first = judged(judge(delivery(right="writing", left="offered"), report("failed", "right", code="E_NVM")))
    second = judged(judge(first.delivery, report("writing", "left")))
    assert second.delivery.code == "E_NVM"


def test_the_servers_events_leave_ended_ears_alone() -> None:
    assert move(delivery(right="confirmed", left="received"), "offered").ears == {
        "right": "confirmed",
        "left": "received",
    }
    assert move(delivery(right="accepted", left="accepted"), "expired").state == "expired"
