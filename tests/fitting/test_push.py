"""A push that could say more than it must cannot be made, and a token is not shown by accident."""

import pytest

from fitting.push import PushKind, PushNote, PushTarget

APNS_TOKEN = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"
FCM_TOKEN = "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1"


def test_tokens_of_both_platforms_are_taken_and_not_shown() -> None:
    assert APNS_TOKEN not in repr(PushTarget("apns", APNS_TOKEN))
    assert FCM_TOKEN not in str(PushTarget("fcm", FCM_TOKEN))


@pytest.mark.parametrize(
    ("platform", "token"),
    [
        ("fcm", ""),
        ("fcm", "a b"),
        ("fcm", "abc\r\nX-Other: 1"),
        ("fcm", "abc\n"),
        ("fcm", "tök"),
        ("fcm", "a" * 1_025),
        ("apns", FCM_TOKEN),
        ("apns", "a" * 513),
        ("wns", "abc"),
    ],
)
def test_what_is_no_token_is_refused_without_being_quoted(platform: str, token: str) -> None:
    with pytest.raises(ValueError, match=r"^(token: is none of|platform: must be)") as refused:
        PushTarget(platform, token)  # type: ignore[arg-type]  # what mypy would refuse comes from outside
    assert token == "" or token not in str(refused.value)


def test_the_longest_names_are_taken() -> None:
    note = PushNote("package", "p" * 128, "n" * 64, 1)
    assert (len(note.pointer), len(note.nonce)) == (128, 64)


@pytest.mark.parametrize(
    ("kind", "pointer", "nonce", "expires_in_s", "field"),
    [
        ("letter", "p", "n", 60, "kind"),
        ("package", "", "n", 60, "pointer"),
        ("package", "p" * 129, "n", 60, "pointer"),
        ("package", "Ann Miller", "n", 60, "pointer"),
        ("package", "p\n", "n", 60, "pointer"),
        ("package", '"}', "n", 60, "pointer"),
        ("question", "p", "", 60, "nonce"),
        ("question", "p", "n" * 65, 60, "nonce"),
        ("question", "p", "n", 0, "expires_in_s"),
    ],
)
def test_a_note_is_names_of_letters_and_digits(
    kind: PushKind, pointer: str, nonce: str, expires_in_s: int, field: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        PushNote(kind, pointer, nonce, expires_in_s)
