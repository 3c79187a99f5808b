"""Typed decoders for the arguments of a call and for single values, the same for both wire formats.

A failure becomes ``BadArgument`` that names the path and what was expected there, and never what was
found: a value may be a level of somebody's hearing. This module must not know messages. Read
``bind`` first.
"""

from collections.abc import Callable, Sequence
from operator import call
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from protocol.errors import BadArgument

__all__ = ["Decode", "bind", "bind_all", "explain", "itself"]

_QUOTES_A_VALUE = ("Invalid value", "Invalid enum value")


Decode: TypeAlias = Callable[[Raw], Any]
"""``decode`` of a ``msgspec.json.Decoder`` or ``msgspec.msgpack.Decoder``, or what raises as they do or BadArgument."""

_ERRORS: Final = (msgspec.MsgspecError, ValueError)


def itself(raw: Raw) -> Raw:
    """The decoder of what is wanted as it came."""
    return raw


def bind(decode: Decode) -> Decode:
    """``decode`` that raises BadArgument in the words of ``explain``, and nothing else."""

    def bound(raw: Raw) -> Any:
        try:
            return decode(raw)
        except _ERRORS as error:
            raise BadArgument(explain(error)) from None

    return bound if decode is not itself else itself


def bind_all(decoders: Sequence[Decode], rest: Decode | None) -> Callable[[Sequence[Raw]], list[Any]]:
    """All arguments of a call at once, those behind the known ones with ``rest``. It raises BadArgument."""
    expected = len(decoders)
    # Most methods take one.
    only = decoders[0] if expected == 1 and rest is None else None

    def bound(given: Sequence[Raw]) -> list[Any]:
        if len(given) != expected and (rest is None or len(given) < expected):
            raise BadArgument(f"{expected} arguments expected, {len(given)} given")
        try:
            if only is not None:
                return [only(given[0])]
            values: list[Any] = [*map(call, decoders, given)]
            if rest is not None:
                values += given[expected:] if rest is itself else map(rest, given[expected:])
        except _ERRORS as error:
            raise BadArgument(explain(error)) from None
        return values

    return bound


def explain(error: Exception) -> str:
    """What a decoder expected and where, without the value that it found instead."""
    if not isinstance(error, msgspec.ValidationError):
        return "Malformed value"
    expected, at, path = str(error).partition(" - at ")
    if expected.startswith(_QUOTES_A_VALUE):
        expected = "Invalid value"
    elif expected.startswith("Object contains unknown field"):
        expected = "Object contains an unknown field"
    return expected + at + path
