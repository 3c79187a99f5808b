"""What travels through Google and Apple: the fixed data, a text that is the same for everybody, and nothing else."""

import json
from typing import Any

import pytest

from fitting.push import Platform, PushNote
from fitting.push_messages import MAX_PUSH_BYTES, MAX_TEXT_CHARS, NativePush, native

NOW_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z
TEXT = "You have a message."
PACKAGE = PushNote("package", "dl_7Q2w", "n0nce", 3_600)
QUESTION = PushNote("question", "dl_7Q2w", "n0nce", 3_600)


def push(platform: Platform, note: PushNote, text: str = TEXT, now_s: float = NOW_S) -> NativePush:
    return native(platform, note, text=text, now_s=now_s)


def body(platform: Platform, note: PushNote) -> Any:
    return json.loads(push(platform, note).body)


def test_the_whole_message_for_fcm() -> None:
    assert push("fcm", PACKAGE).format == "FcmV1"
    assert push("fcm", PACKAGE).headers == {}
    assert body("fcm", PACKAGE) == {
        "message": {
            "notification": {"body": "You have a message."},
            "android": {
                "collapse_key": "package",
                "priority": "HIGH",
                "ttl": "3600s",
                "notification": {"tag": "n0nce"},
                "data": {"a": "fit", "d": "dl_7Q2w", "k": "n0nce"},
            },
        }
    }


def test_the_whole_message_for_apns() -> None:
    sent = push("apns", PACKAGE)
    assert sent.format == "apple"
    assert json.loads(sent.body) == {
        "aps": {"alert": "You have a message.", "sound": "default", "content-available": 1},
        "a": "fit",
        "d": "dl_7Q2w",
        "k": "n0nce",
    }
    assert sent.headers == {
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-collapse-id": "n0nce",
        "ServiceBusNotification-Apns-Expiry": "2027-01-15T09:00+00:00",
    }


def test_a_question_may_wait_until_the_phone_is_awake_anyway() -> None:
    assert body("fcm", QUESTION)["message"]["android"]["priority"] == "NORMAL"
    assert push("apns", QUESTION).headers["apns-priority"] == "5"


@pytest.mark.parametrize("platform", ["fcm", "apns"])
def test_the_longest_push_is_below_the_limit_of_both_platforms(platform: Platform) -> None:
    note = PushNote("question", "p" * 128, "n" * 64, 10**9)
    for character in ("𝄞", '"', "\\", "é"):
        assert len(push(platform, note, text=character * MAX_TEXT_CHARS).body) < MAX_PUSH_BYTES


def test_a_duplicate_shows_once_and_another_matter_beside_it() -> None:
    again, other = PushNote("package", "dl_7Q2w", "n0nce", 60), PushNote("package", "dl_8", "other", 60)

    def shown_as(note: PushNote) -> tuple[str, str]:
        tag = body("fcm", note)["message"]["android"]["notification"]["tag"]
        return tag, push("apns", note, now_s=NOW_S + 999).headers["apns-collapse-id"]

    assert shown_as(PACKAGE) == shown_as(again)
    assert not set(shown_as(PACKAGE)) & set(shown_as(other))


def test_never_more_collapse_keys_than_fcm_keeps_for_one_phone() -> None:
    notes = [PushNote(kind, f"dl_{n}", f"n{n}", 60) for n in range(9) for kind in ("package", "question")]
    assert len({body("fcm", note)["message"]["android"]["collapse_key"] for note in notes}) <= 4


def test_an_expiry_is_never_earlier_than_asked_for() -> None:
    def expiry(now_s: float, in_s: int) -> str:
        note = PushNote("package", "p", "n", in_s)
        return push("apns", note, now_s=now_s).headers["ServiceBusNotification-Apns-Expiry"]

    assert expiry(NOW_S, 60) == "2027-01-15T08:01+00:00"
    assert expiry(NOW_S + 0.5, 60) == "2027-01-15T08:02+00:00"
    assert expiry(NOW_S, 1) == "2027-01-15T08:01+00:00"


def test_fcm_keeps_nothing_for_more_than_four_weeks() -> None:
    assert body("fcm", PushNote("package", "p", "n", 10**9))["message"]["android"]["ttl"] == "2419200s"
