"""What is asked of ACS, and what their answers mean."""

import pytest

from media.acs import (
    FROM_ACS,
    MAX_RETRY_S,
    AcsAddress,
    AcsPlan,
    ClinicPlan,
    Reason,
    display_name,
    person_of,
    read_address,
    read_plan,
    room_role,
    scopes_for,
    split_text,
    trouble_of,
    wanted_in_chat,
)
from media.acs_quota import Slots
from media.visit import Participant
from tests.media.visits import visit_of

KEY = "c2VjcmV0"


def person(role: str, **changes: object) -> Participant:
    return Participant("p9", role, admission="admitted", **changes)  # type: ignore[arg-type]  # a test's own words


@pytest.mark.parametrize(
    ("role", "plan", "scopes"),
    [
        ("professional", ClinicPlan(), ("voip.join", "chat.join.limited")),
        ("trainee", ClinicPlan(), ("voip.join",)),
        ("interpreter", ClinicPlan(rooms=False), ("voip.join", "chat.join.limited")),
        ("patient", ClinicPlan(rooms=False, chat=False), ("voip",)),
        ("patient", ClinicPlan(calls=False), ("chat.join.limited",)),
    ],
)
def test_a_token_is_good_for_what_a_role_needs(role: str, plan: ClinicPlan, scopes: tuple[str, ...]) -> None:
    assert scopes_for(person(role), plan) == scopes


def test_who_was_not_let_in_begins_nothing() -> None:
    assert scopes_for(Participant("p2", "patient", user="pat"), ClinicPlan(rooms=False)) == ("voip.join",)


def test_nobody_is_called_by_his_name() -> None:
    roles = ("professional", "patient", "caregiver", "interpreter", "trainee")
    assert len({display_name(role) for role in roles}) == 5  # type: ignore[arg-type]  # the roles, as text
    assert [room_role(role) for role in roles] == [  # type: ignore[arg-type]  # the same
        "Presenter",
        "Attendee",
        "Attendee",
        "Attendee",
        "Consumer",
    ]


def test_guests_are_persons_of_one_visit() -> None:
    visit = visit_of(person("caregiver", name="Mia"), state="live")
    assert person_of(visit, visit.participants[0]) == "user:ann"
    assert person_of(visit, visit.participants[2]) == "guest:v1:p9"


def test_in_a_thread_are_those_who_were_let_in_and_write() -> None:
    visit = visit_of(person("caregiver"), Participant("p10", "trainee", admission="admitted"), state="live")
    assert set(wanted_in_chat(visit)) == {"p1", "p9"}
    assert wanted_in_chat(visit_of(state="ended")) == {}


def test_a_long_text_is_several_messages_and_no_nul_is_kept() -> None:
    assert split_text("abcdefg", 3) == ("abc", "def", "g")
    assert split_text("\0", 3) == ()
    assert not FROM_ACS[0].isalnum(), "no client may give such a name"


@pytest.mark.parametrize(
    ("status", "after", "reason", "wait_s"),
    [
        (429, "7", Reason.THROTTLED, 7.0),
        (429, None, Reason.THROTTLED, 5.0),
        (429, "soon", Reason.THROTTLED, 5.0),
        (429, "1e9", Reason.THROTTLED, MAX_RETRY_S),
        (503, "-1", Reason.AWAY, 5.0),
        (500, "3", Reason.AWAY, 3.0),
        (401, None, Reason.REFUSED, 0.0),
        (403, None, Reason.REFUSED, 0.0),
        (404, None, Reason.UNKNOWN, 0.0),
        (400, None, Reason.MISTAKE, 0.0),
    ],
)
def test_what_an_answer_means(status: int, after: str | None, reason: Reason, wait_s: float) -> None:
    trouble = trouble_of(status, after)
    assert (trouble.reason, trouble.retry_after_s) == (reason, wait_s)


def test_where_the_resource_is() -> None:
    assert read_address("", "") is None
    found = read_address(f"endpoint=https://clinic.communication.azure.com/;accesskey={KEY}==", "")
    assert (found.endpoint, found.key) == ("https://clinic.communication.azure.com", f"{KEY}==")  # type: ignore[union-attr]  # there is one
    entra = read_address("", "https://clinic.communication.azure.com")
    assert entra == AcsAddress("https://clinic.communication.azure.com")
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (f"endpoint=http://clinic/;accesskey={KEY}", ""),
        (f"accesskey={KEY}", ""),
        ("endpoint=https://clinic/", ""),
        ("", "clinic"),
        ("", "https://user@clinic"),
        ("", "https://clinic/path"),
    ],
)
def test_what_is_no_address(text: str, endpoint: str) -> None:
    with pytest.raises(ValueError, match="must be") as raised:
        read_address(text, endpoint)
    assert KEY not in str(raised.value)


def test_a_plan_is_by_clinic() -> None:
    plan = read_plan(b'{"clinics": {"c1": {"rooms": false, "fallBack": "chat"}}, "default": {"calls": false}}')
    assert plan.of("c1") == ClinicPlan(rooms=False, fall_back="chat")
    assert plan.of("c2") == ClinicPlan(calls=False)
    assert not plan.uses_rooms
    assert AcsPlan(default=ClinicPlan()).uses_rooms
    assert AcsPlan().of("c1") is None
    for wrong in (b"{", b'{"clinic": {}}', b'{"clinics": {"c1": {"fallBack": "phone"}}}'):
        with pytest.raises(ValueError):  # noqa: PT011  # the words are the decoder's own
            read_plan(wrong)


def test_so_many_in_a_window_and_the_others_in_their_order() -> None:
    slots = Slots(2, 10.0)
    assert [slots.reserve(now_s) for now_s in (0.0, 1.0, 2.0, 2.0, 2.0)] == [0.0, 1.0, 10.0, 11.0, 20.0]


def test_to_ask_when_takes_nothing() -> None:
    slots = Slots(1, 10.0)
    assert [slots.when(0.0) for _ in range(3)] == [0.0] * 3
    slots.reserve(0.0)
    assert [slots.when(5.0) for _ in range(3)] == [10.0] * 3


def test_after_a_refusal_the_next_ones_are_spread_out() -> None:
    slots = Slots(10, 10.0)
    slots.hold(0.0, 5.0)
    assert slots.is_held(4.9)
    assert not slots.is_held(5.0)
    assert [slots.reserve(0.0) for _ in range(3)] == [5.0, 6.0, 7.0]
    assert slots.reserve(20.0) == 20.0
    assert slots.reserve(20.0) == 20.0
