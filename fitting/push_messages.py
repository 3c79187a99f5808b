"""A push in the words of the two platforms: FCM HTTP v1 for Android, APNs for Apple.

The data part has a fixed shape, ``{"a": "fit", "d": pointer, "k": nonce}``, and the visible text is the operator's, the
same for everybody: nobody who carries or sees a push learns whose it is or what it is about. This module must not know
who sends it. Read ``native`` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from .push import Platform, PushNote

__all__ = ["MAX_PUSH_BYTES", "MAX_TEXT_CHARS", "NativePush", "native"]

# Both platforms refuse more.
MAX_PUSH_BYTES: Final = 4_096
# 800 bytes at most: with the longest pointer and nonce a body stays well below the limit.
MAX_TEXT_CHARS: Final = 200
# Four weeks: FCM keeps nothing longer.
_MAX_TTL_S: Final = 2_419_200


@dataclass(frozen=True, slots=True)
class NativePush:
    """One push as its platform wants it. ``format`` is Notification Hubs' word for the platform."""

    format: Literal["apple", "FcmV1"]
    headers: Mapping[str, str]
    body: bytes


def native(platform: Platform, note: PushNote, *, text: str, now_s: float) -> NativePush:
    """The push for ``platform``. ``text`` is what people see, at most ``MAX_TEXT_CHARS``; ``now_s`` is Unix time."""
    if platform == "fcm":
        return NativePush("FcmV1", {}, msgspec.json.encode(_fcm(note, text)))
    return NativePush("apple", _apns_headers(note, now_s), msgspec.json.encode(_apns(note, text)))


def _data(note: PushNote) -> dict[str, str]:
    return {"a": "fit", "d": note.pointer, "k": note.nonce}


def _fcm(note: PushNote, text: str) -> dict[str, Any]:
    """A message of FCM HTTP v1, for the service to add the token.

    What is shown is replaced by what has the same tag. What still waits for the phone is replaced by what has the same
    collapse key; a phone may have four of these, so they are not the nonces: whoever comes fetches all that waits.
    """
    android: dict[str, Any] = {
        "collapse_key": note.kind,
        "priority": "NORMAL" if note.kind == "question" else "HIGH",
        "ttl": f"{min(note.expires_in_s, _MAX_TTL_S)}s",
        "data": _data(note),
    }
    if note.kind == "call":
        # What shows something by itself does not wake the app, and only the app can ring.
        return {"message": {"android": android}}
    android["notification"] = {"tag": note.nonce}
    return {"message": {"notification": {"body": text}, "android": android}}


def _apns(note: PushNote, text: str) -> dict[str, Any]:
    aps = {"alert": text, "sound": "default", "content-available": 1}
    if note.kind == "call":
        # Shown though the phone is set to be quiet, as far as its wearer allows that.
        aps["interruption-level"] = "time-sensitive"
    return {"aps": aps, **_data(note)}


def _apns_headers(note: PushNote, now_s: float) -> dict[str, str]:
    """Apple's own headers, which the service passes on, and the service's for the expiry: a date without seconds."""
    expires_s = -(-(now_s + note.expires_in_s) // 60) * 60
    return {
        "apns-push-type": "alert",
        "apns-priority": "5" if note.kind == "question" else "10",
        "apns-collapse-id": note.nonce,
        "ServiceBusNotification-Apns-Expiry": datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%dT%H:%M+00:00"),
    }
