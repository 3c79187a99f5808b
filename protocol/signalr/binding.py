"""Typed decoders for single arguments, the same for both wire formats.

A failure becomes ``BadArgument`` that names the path and what was expected there, and never what was
found: a value may be a level of somebody's hearing. This module must not know messages. Read
``bind`` first.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from protocol.errors import BadArgument

__all__ = ["TypedDecoder", "bind", "explain"]

_QUOTES_A_VALUE = ("Invalid value", "Invalid enum value")


class TypedDecoder(Protocol):
    """What ``msgspec.json.Decoder`` and ``msgspec.msgpack.Decoder`` have in common."""

    def decode(self, buf: Raw, /) -> Any:
        """The typed value of ``buf``."""
        ...


def bind(decoder: TypedDecoder) -> Callable[[Raw], Any]:
    """``decoder.decode`` that raises BadArgument in the words of ``explain``."""
    decode = decoder.decode

    def bound(raw: Raw) -> Any:
        try:
            return decode(raw)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BadArgument(explain(error)) from None

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
