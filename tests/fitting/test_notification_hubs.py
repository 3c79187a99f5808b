"""The address, the signature and the answers of Azure Notification Hubs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.notification_hubs import Answer, HubAddress, hub_address, outcome_of, retry_after_s, sas_token
from fitting.push import Gone, Later, PushOutcome, Refused, Sent

NOW_S = 1_800_000_000.0
KEY = "pAsSw0rd+/AAAA="
ADDRESS = HubAddress("https://clinic.servicebus.windows.net", "phones", "sender", KEY)
WHOLE = f"Endpoint=sb://clinic.servicebus.windows.net/;SharedAccessKeyName=sender;SharedAccessKey={KEY}"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE + ";",
        WHOLE.replace("sb://", "https://"),
        WHOLE.replace("clinic.", "Clinic."),
        f" SharedAccessKey={KEY} ; SharedAccessKeyName = sender;Endpoint=sb://clinic.servicebus.windows.net;EntityPath=x",
        WHOLE.replace("Endpoint", "endpoint"),
    ],
)
def test_a_connection_string_is_read_in_any_order_and_its_key_whole(text: str) -> None:
    assert hub_address(text, "phones") == ADDRESS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Endpoint is missing"),
        (WHOLE.partition(";")[0], "SharedAccessKeyName is missing"),
        (WHOLE.rpartition("SharedAccessKey=")[0], "SharedAccessKey is missing"),
        (WHOLE.rpartition(KEY)[0], "SharedAccessKey is missing"),
        (WHOLE + ";SharedAccessKey=other", "must be like"),
        (WHOLE + ";secret", "must be like"),
        (WHOLE.replace("sb://", "http://"), "Endpoint must be"),
        (WHOLE.replace("sb://", "sb://user@"), "Endpoint must be"),
        (WHOLE.replace(".net/", ".net/path/"), "Endpoint must be"),
        (WHOLE.replace("sb://clinic.servicebus.windows.net/", "sb:///"), "Endpoint must be"),
    ],
)
def test_a_connection_string_that_is_none_is_refused_without_being_quoted(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        hub_address(text, "phones")
    assert KEY not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("hub", ["", "a/b", "a?b", "-a", "a" * 261, "a\n"])
def test_a_hub_has_a_plain_name(hub: str) -> None:
    with pytest.raises(ValueError, match="name of the hub"):
        hub_address(WHOLE, hub)


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(ADDRESS)


def test_where_a_direct_send_goes() -> None:
    assert ADDRESS.send_url == f"{ADDRESS.endpoint}/phones/messages/?direct&api-version=2015-04"


def test_the_signature_is_the_one_that_openssl_makes() -> None:
    """``printf 'https%%3a%%2f%%2fclinic.servicebus.windows.net%%2fphones\\n1800003600' |
    openssl dgst -sha256 -hmac 'pAsSw0rd+/AAAA=' -binary | base64``, then percent-encoded."""
    assert sas_token(ADDRESS, expires_at_s=1_800_003_600) == (
        "SharedAccessSignature sr=https%3a%2f%2fclinic.servicebus.windows.net%2fphones"
        "&sig=tEvjvhlBVtgc0yFflabBC4O%2FbMWDl5E9CCrX0ZoKVDo%3D&se=1800003600&skn=sender"
    )


def test_a_hub_is_signed_in_lower_case_and_a_name_is_escaped() -> None:
    token = sas_token(replace(ADDRESS, hub="Phones", key_name="a b"), expires_at_s=1_800_003_600)
    assert token == sas_token(ADDRESS, expires_at_s=1_800_003_600).replace("skn=sender", "skn=a%20b")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(201), Sent()),
        (Answer(200), Sent()),
        (Answer(410), Gone()),
        (Answer(400, None, '{"reason":"BadDeviceToken"}'), Gone()),
        (Answer(404, None, "<Detail>UNREGISTERED</Detail>"), Gone()),
        (Answer(400, None, "<Detail>ExpiredChannel: x</Detail>"), Gone()),
        # A hub that is not there must not take everybody's token for dead.
        (Answer(404, None, "<Detail>No message branch at the URI</Detail>"), Refused("push_hub_unknown")),
        (Answer(401, None, "BadDeviceToken"), Refused("push_unauthorized")),
        (Answer(400, None, "NotRegisteredHere"), Refused("push_malformed")),
        (Answer(400, None, "NoBadChannel"), Refused("push_malformed")),
        (Answer(413), Refused("push_too_large")),
        (Answer(405), Refused("push_refused")),
        (Answer(429, "17"), Later(17.0)),
        (Answer(429), Later(30.0)),
        (Answer(403), Later(300.0)),
        (Answer(403, "60"), Later(60.0)),
        (Answer(408), Later(30.0)),
        (Answer(500), Later(30.0)),
        (Answer(503, "Fri, 15 Jan 2027 08:02:00 GMT"), Later(120.0)),
        (Answer(302), Later(30.0)),
    ],
    ids=lambda value: f"{value.status}-{value.detail or value.retry_after}" if isinstance(value, Answer) else None,
)
def test_what_an_answer_means(answer: Answer, outcome: PushOutcome) -> None:
    assert outcome_of(answer, now_s=NOW_S) == outcome


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 1.0),
        (" 12 ", 12.0),
        ("3601", 3_600.0),
        ("9" * 5_000, 3_600.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 1.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 09:00:30 +0100", 30.0),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        ("Fri, 15 Jan 2099 08:00:00 GMT", 3_600.0),
    ],
)
def test_how_long_to_wait_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now_s=NOW_S) == seconds


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Za-z]{3} \d{1,6} [\d:]{1,12} ?[A-Z+-]?\d{0,6}"))
def test_no_header_breaks_it(header: str) -> None:
    seconds = retry_after_s(header, now_s=NOW_S)
    assert seconds is None or 1.0 <= seconds <= 3_600.0
