"""What is in the body of a push: a pointer and what every push has, or more than that. Pure.

Whatever is not named here is too much: it would be told to the platform of the phone, and to everybody on the way.
Read ``pointer_in``.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

__all__ = ["TooMuchTold", "pointer_in"]

# 128 bits and nothing but: a name of somebody would be shorter, a digest longer.
Opaque = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{22}$")]


class TooMuchTold(Exception):
    """A push tells more than that something waits; the message names what, or where."""


class _Exact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refuses what it does not name."""


class _Shown(_Exact, frozen=True):
    body: Literal["You have a message."]


class _Tag(_Exact, frozen=True):
    tag: Opaque


class _Pointer(_Exact, frozen=True):
    a: Literal["fit"]
    d: Opaque
    k: Opaque


class _Android(_Exact, frozen=True):
    collapse_key: Literal["package", "question"]
    priority: Literal["HIGH", "NORMAL"]
    ttl: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,7}s$")]
    notification: _Tag
    data: _Pointer


class _Message(_Exact, frozen=True):
    notification: _Shown
    android: _Android


class _Push(_Exact, frozen=True):
    message: _Message


def pointer_in(body: bytes, secrets: Iterable[str]) -> str:
    """The pointer of a push for Android that tells nothing else; ``secrets`` are what must not be in it either.

    Raises TooMuchTold.
    """
    try:
        push = msgspec.json.decode(body, type=_Push)
    except msgspec.DecodeError as error:
        raise TooMuchTold(str(error)) from None
    told = [secret for secret in secrets if secret.encode() in body]
    if told:
        raise TooMuchTold(", ".join(told))
    return push.message.android.data.d
