"""One table per surface: nothing is callable without a rule, and unknown looks like forbidden."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from protocol.errors import NotAllowed, NotFound
from signaling.auth import ROLES, Principal, Role
from signaling.hub import Caller, Hub, endpoints_of, hub_method
from signaling.hubs.care_hub import CARE_POLICY
from signaling.policy import ANYONE, IncompletePolicy, Relation, Rule, authorize


class Everything:
    """Grants in which one relation holds to one object."""

    def __init__(self, relation: Relation) -> None:
        self.relation = relation

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        return relation is self.relation and object_id == "d1"


def who(role: str) -> Principal:
    return Principal("u", "c1", frozenset({role}), 0.0)


def test_a_method_without_a_rule_keeps_the_server_from_starting() -> None:
    class Forgetful(Hub):
        path = "/forgetful"
        name = "forgetful"
        policy: ClassVar[Mapping[str, Rule]] = {}

        @hub_method("Leak")
        def leak(self, _: Caller) -> None:
            pass

    with pytest.raises(IncompletePolicy, match="forgetful: no rule for Leak"):
        endpoints_of(Forgetful())


def test_a_rule_without_a_method_is_a_mistake_too() -> None:
    class Stale(Hub):
        path = "/stale"
        name = "stale"
        policy: ClassVar[Mapping[str, Rule]] = {"Gone": ANYONE}

    with pytest.raises(IncompletePolicy, match="unknown methods Gone"):
        endpoints_of(Stale())


def test_a_rule_with_a_relation_must_name_the_object() -> None:
    with pytest.raises(IncompletePolicy):
        Rule({"clinician": Relation.ASSIGNED})
    with pytest.raises(IncompletePolicy):
        Rule({"clinician": Relation.ANY}, "device")


# Who may call what on the care hub, each cell written out: a change of the policy must change this table.
FITTER: Mapping[str, Relation] = {"clinician": Relation.ASSIGNED}
QUIETER: Mapping[str, Relation] = {
    "clinician": Relation.ASSIGNED,
    "patient": Relation.OWN,
    "device": Relation.OWN,
    "representative": Relation.PARTICIPANT,
    "guest": Relation.PARTICIPANT,
}
IN_VISIT: Mapping[str, Relation] = dict.fromkeys(
    ("clinician", "assistant", "patient", "representative", "guest"), Relation.PARTICIPANT
)
READER: Mapping[str, Relation] = {
    "clinician": Relation.ASSIGNED,
    "assistant": Relation.ASSIGNED,
    "patient": Relation.OWN,
    "device": Relation.OWN,
}
ALLOWED: Mapping[str, Mapping[str, Relation]] = {
    "RenewLease": FITTER,
    "ReleaseLease": FITTER,
    "StealLease": FITTER,
    "SetMode": FITTER,
    "Save": FITTER,
    "Cancel": FITTER,
    "ReadBack": FITTER,
    "Revert": FITTER,
    "Undo": QUIETER,
    "Stop": QUIETER,
    "ReportDevice": {"device": Relation.OWN},
    "AnswerConsent": {"patient": Relation.OWN},
    "RegisterPush": {"device": Relation.OWN},
    "AnswerKeep": {"patient": Relation.OWN, "device": Relation.OWN},
    **dict.fromkeys(("GetHistory", "GetRevision", "CompareRevisions", "WatchDevice"), READER),
    "Heartbeat": dict.fromkeys(ROLES, Relation.ANY),
    "AcquireLease": {"clinician": Relation.ASSIGNED},
    "Check": {"clinician": Relation.ASSIGNED},
    "Submit": {"clinician": Relation.ASSIGNED},
    "GetDevice": {
        "clinician": Relation.ASSIGNED,
        "assistant": Relation.ASSIGNED,
        "patient": Relation.OWN,
        "device": Relation.OWN,
    },
    "GetDelivery": {
        "clinician": Relation.ASSIGNED,
        "assistant": Relation.ASSIGNED,
        "patient": Relation.OWN,
        "device": Relation.OWN,
    },
    "AttachDevice": {"device": Relation.OWN},
    "Report": {"device": Relation.OWN},
    "Hello": dict.fromkeys(ROLES, Relation.ANY),
    "Reauthenticate": dict.fromkeys(ROLES, Relation.ANY),
    "WhoAmI": dict.fromkeys(ROLES, Relation.ANY),
    **dict.fromkeys(("JoinVisit", "LeaveVisit", "SendMessage", "MarkRead"), IN_VISIT),
    **dict.fromkeys(("StartCall", "AnswerCall", "DeclineCall", "EndCall", "SetCallMedia", "SendSignal"), IN_VISIT),
    "ReportQuality": IN_VISIT,
    **dict.fromkeys(("RefreshCallToken", "FallBackCall"), IN_VISIT),
    **dict.fromkeys(("AskRecording", "AnswerRecording"), IN_VISIT),
    **dict.fromkeys(("StartDeviceCheck", "EndDeviceCheck"), dict.fromkeys(ROLES, Relation.ANY)),
    # Asked of the seats that connections have, which are in memory.
    **dict.fromkeys(("SetTyping", "SendText"), dict.fromkeys(IN_VISIT, Relation.ANY)),
    "AdmitToVisit": dict.fromkeys(("clinician", "assistant"), Relation.PARTICIPANT),
}


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("role", sorted(ROLES))
@pytest.mark.parametrize("method", sorted(CARE_POLICY))
async def test_every_cell_of_the_care_hubs_table(method: str, role: Role, relation: Relation) -> None:
    needed = ALLOWED[method].get(role)
    call = authorize(CARE_POLICY[method], who(role), "d1", Everything(relation))
    if needed is None:
        with pytest.raises(NotAllowed):
            await call
    elif needed in (Relation.ANY, relation):
        await call
    else:
        with pytest.raises(NotFound):
            await call


async def test_an_unknown_object_looks_like_a_forbidden_one() -> None:
    rule, principal = CARE_POLICY["Submit"], who("clinician")
    answers = []
    for object_id, relation in (("d1", Relation.OWN), ("nothing", Relation.ASSIGNED), ("*", Relation.ASSIGNED)):
        with pytest.raises(NotFound) as refused:
            await authorize(rule, principal, object_id, Everything(relation))
        answers.append((refused.value.code, refused.value.public_message))
    assert set(answers) == {("not_found", "no such device")}
