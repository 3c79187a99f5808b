"""One look over a message before a decoder sees it: is it small, flat and unambiguous enough?

The decoders alone accept duplicate keys, skip over broken UTF-8 in what they pass on, recurse as deep
as the sender likes, and allocate what a header merely claims. A scan raises RemoteProtocolError for all
of that and never quotes content. It must not know which message it looks at. Read ``scan_json`` and
``scan_messagepack`` first.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from msgspec import Raw

from protocol.errors import MessageTooDeep, NumberTooLong, RemoteProtocolError, TooManyKeys

from .values import Timestamp, unpack

__all__ = ["ScanLimits", "scan_json", "scan_messagepack"]


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """Bounds of one message's content.

    ``depth``: arrays and objects inside each other, the message itself counted. ``keys``: of all its
    objects together. ``number_chars``: characters of one number in JSON text.
    """

    depth: int = 32
    keys: int = 1_000
    number_chars: int = 64

    def within_a_call(self) -> "ScanLimits":
        """For one argument, which is two levels deep; that all keys are not too many is for its size to show."""
        return replace(self, depth=self.depth - 2)


def scan_json(body: bytes, limits: ScanLimits) -> None:
    """Refuse broken UTF-8, depth, too many or duplicate keys, and numbers that no double can hold.

    The cheap tests err towards suspicion only; what they suspect is looked at exactly.
    Raises RemoteProtocolError.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None
    marks = body.translate(None, _NOT_MARKS)
    number = len(marks)
    decoder = _UNIQUE_KEYS
    # So few cannot be too much of anything, and that is what clients send nearly always.
    if number > limits.depth or number > limits.keys or number > limits.number_chars - _OTHER_NUMBER_CHARS:
        decoder = _decoder_for(body, marks, limits)
    try:
        decoder.raw_decode(text.lstrip(" \t\r\n"))
    except ValueError:
        raise RemoteProtocolError("The message is not valid JSON.") from None


def small_json_bytes(limits: ScanLimits) -> int:
    """Up to which size a call in JSON cannot have too many keys, each of which takes 5 bytes with its value.

    0 where the limits are so narrow that ``is_flat_json`` could break them.
    """
    may = limits.depth >= 3 and limits.number_chars >= _FEW_DIGITS + _OTHER_NUMBER_CHARS
    return min(_SMALL_BYTES, 5 * limits.keys) if may else 0


def is_flat_json(value: bytes) -> bool:
    """Whether a value that a decoder has skipped over as valid is a short scalar or a flat object with unique keys.

    False only says that it must be looked at: it may hold anything. UTF-8 is for ``is_utf8``.
    """
    first = value[0]
    if first == _QUOTE:
        return True
    if first == _BRACE:
        if value.count(_BRACE) > 1 or _BRACKET in value:
            return False
        try:
            members = _decode_flat_object(value)
        except msgspec.DecodeError:
            return False
        # Each member has a colon, so a key that came twice leaves one colon too many, and so does one in a text.
        few_colons = len(members) == value.count(_COLON)
        return few_colons and (len(value) <= _FEW_DIGITS or len(value.translate(None, _NOT_DIGITS)) <= _FEW_DIGITS)
    if first == _BRACKET:
        return False
    # Without an exponent so few digits are finite; a literal with an "e" in it costs a second look.
    return len(value) <= _FEW_DIGITS and (_E not in value or value in _LITERALS) and _CAPITAL_E not in value


def is_utf8(text: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


_SMALL_BYTES: Final = 2_048
_FEW_DIGITS: Final = 60
_NOT_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))
_QUOTE, _BRACE, _BRACKET, _COLON, _E, _CAPITAL_E = b'"{[:eE'
_LITERALS: Final = (b"true", b"false")
_decode_flat_object: Final = msgspec.json.Decoder(dict[str, str | int | float | bool | None]).decode

# A number has at most a sign, a dot, an "e" and one more sign beside its digits.
_OTHER_NUMBER_CHARS: Final = 4
# What opens something, separates a key from its value, or may be part of a number.
_NOT_MARKS: Final = bytes(set(range(256)) - set(b"[{:0123456789"))
_JSON_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACES_AS_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

_Pairs = list[tuple[str, object]]


def _unique_keys(pairs: _Pairs) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _duplicate_key()


def _finite(number: str) -> None:
    if not math.isfinite(float(number)):
        raise _out_of_range()


# The standard library's decoder shows duplicates to a hook, and runs in C all the same.
_UNIQUE_KEYS: Final = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_float=_finite)


def _decoder_for(body: bytes, marks: bytes, limits: ScanLimits) -> json.JSONDecoder:
    opening, colons = marks.count(b"[") + marks.count(b"{"), marks.count(b":")
    if opening > limits.depth:
        _require_json_depth(body, limits)
    digits = len(marks) - opening - colons
    suspicious = colons > limits.keys or digits > limits.number_chars - _OTHER_NUMBER_CHARS
    return _exact_decoder(limits) if suspicious else _UNIQUE_KEYS


def _exact_decoder(limits: ScanLimits) -> json.JSONDecoder:
    keys_left = limits.keys

    def counted_keys(pairs: _Pairs) -> None:
        nonlocal keys_left
        keys_left -= len(pairs)
        if keys_left < 0:
            raise _too_many_keys(limits)
        _unique_keys(pairs)

    def bounded(number: str) -> None:
        if len(number) > limits.number_chars:
            raise NumberTooLong("A number of the message is out of range.")
        _finite(number)

    return json.JSONDecoder(object_pairs_hook=counted_keys, parse_int=bounded, parse_float=bounded)


def _require_json_depth(body: bytes, limits: ScanLimits) -> None:
    """Take the innermost pairs away, level by level: nothing may be left after ``depth`` rounds."""
    brackets = _JSON_STRING.sub(b"", body).translate(_BRACES_AS_BRACKETS, _NOT_BRACKETS)
    for _ in range(limits.depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise _too_deep(limits)


def scan_messagepack(body: bytes, limits: ScanLimits) -> None:
    """Refuse depth, too many or duplicate keys, broken text and timestamps, and lengths that are not there.

    One pass over the tokens; nothing is allocated for what a header claims. Map keys are scalars or
    timestamps, and two that Python takes for equal (1 and 1.0) are duplicates. Raises RemoteProtocolError.
    """
    if len(body) <= _LIBRARY_BYTES and _is_small_and_good(body, limits):
        return
    try:
        end = _walk(body, limits)
    except IndexError:
        end = -1
    if end != len(body):
        raise RemoteProtocolError("The message is cut off, or something follows it.")


def small_messagepack_bytes(limits: ScanLimits) -> int:
    """Up to which size a call in MessagePack cannot have too many keys, each of which takes 2 bytes with its value."""
    return min(_SMALL_BYTES, 2 * limits.keys) if limits.depth >= 2 else 0


def are_scalars_messagepack(values: Iterable[Raw]) -> bool:
    """Whether values that a decoder has skipped over as valid are all numbers, good texts or the like.

    False only says that they must be looked at: they may hold anything.
    """
    for raw in values:
        value = bytes(raw)
        header = _SCALAR_HEADERS[value[0]]
        if header:
            text = value[header:]
            if header == _NOT_SCALAR or not (text.isascii() or is_utf8(text)):
                return False
    return True


# First byte -> length of a text's header, 0 for a scalar that is none.
_NOT_SCALAR: Final = 9
_SCALAR_HEADERS: Final = bytes(
    [0] * 0x80 + [_NOT_SCALAR] * 0x20 + [1] * 0x20 + [0, _NOT_SCALAR, 0, 0, 0, 0, 0] + [_NOT_SCALAR] * 3
    + [0] * 10 + [_NOT_SCALAR] * 5 + [2, 3, 5] + [_NOT_SCALAR] * 4 + [0] * 0x20
)  # fmt: skip
# The library may allocate some thousand times the size of what it reads.
_LIBRARY_BYTES: Final = 512
_NOT_OPENING: Final = bytes(set(range(256)) - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})


def _is_small_and_good(body: bytes, limits: ScanLimits) -> bool:
    """Whether a body cannot break a limit and the library, in C, finds nothing wrong with it.

    False only says that it must be looked at. So few bytes that could open a container, wherever they are, cannot
    nest too deep; a key and its value take two bytes.
    """
    if len(body) > 2 * limits.keys or len(body.translate(None, _NOT_OPENING)) > limits.depth:
        return False
    try:
        unpack(body, _unique_map)
    except (ValueError, TypeError, RemoteProtocolError):
        return False
    return True


def _unique_map(pairs: list[tuple[object, object]]) -> dict[object, object]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise _duplicate_key()
    return unique  # which is no key of another map either


# First byte -> length of the whole token where that byte says it all, else 0 (MessagePack spec, "Formats").
_WIDTHS: Final = bytes(
    [1] * 0x80 + [0] * 0x40 + [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9] + [0] * 12 + [1] * 0x20
)
# First byte -> width of the length field that follows it, for text, binary, extensions and containers.
_LENGTH_WIDTHS: Final = {
    **{0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4},
    **{0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4},
}
_FIXED_EXTENSIONS: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_TIMESTAMP: Final = 0xFF


def _walk(body: bytes, limits: ScanLimits) -> int:  # noqa: C901, PLR0912  # a call per token would double its cost
    """The index behind the first value of ``body``; IndexError when the bytes end within it."""
    at = 0
    todo = 1  # tokens that the open container still needs; in a map an odd rest means: this is a key
    keys: set[object] | None = None  # those seen in the open container, if it is a map
    keys_left = limits.keys
    outer: list[tuple[int, set[object] | None]] = []
    while True:
        while todo:
            todo -= 1
            start = at
            first = body[at]
            if width := _WIDTHS[first]:
                at += width
                if todo & 1 and keys is not None:
                    _add_key(keys, body[start:at])
            elif 0xA0 <= first < 0xC0:
                at += first - 0x9F
                text = body[start + 1 : at]
                if not text.isascii():
                    _require_utf8(text)
                if todo & 1 and keys is not None:
                    if text in keys:
                        raise _duplicate_key()
                    keys.add(text)
            elif 0xC0 <= first < 0xDC:
                at = _skip_long_scalar(body, at, first)
                if todo & 1 and keys is not None:
                    _add_key(keys, body[start:at])
            else:
                if todo & 1 and keys is not None:
                    raise _bad_key()
                if len(outer) == limits.depth:
                    raise _too_deep(limits)
                outer.append((todo, keys))
                if first < 0xA0:
                    todo, at = first & 15, at + 1
                else:
                    todo, at = _length(body, at, first)
                keys = None
                if first < 0x90 or first >= 0xDE:
                    keys_left -= todo
                    if keys_left < 0:
                        raise _too_many_keys(limits)
                    todo, keys = 2 * todo, set()
        if not outer:
            return at
        todo, keys = outer.pop()


def _skip_long_scalar(body: bytes, at: int, first: int) -> int:
    """The index behind a long text, binary or an extension."""
    if first == 0xC1:
        raise RemoteProtocolError("The message holds a byte that MessagePack never uses.")
    if first in _FIXED_EXTENSIONS:
        size, at = _FIXED_EXTENSIONS[first], at + 1
    else:
        size, at = _length(body, at, first)
    if first >= 0xD9:
        _require_utf8(body[at : at + size])
    elif first >= 0xC7:
        at += 1
        if body[at - 1] == _TIMESTAMP:
            _require_timestamp(body[at : at + size])
    return at + size


def _length(body: bytes, at: int, first: int) -> tuple[int, int]:
    """The number in the length field of the token at ``at``, and the index behind it."""
    end = at + 1 + _LENGTH_WIDTHS[first]
    return int.from_bytes(body[at + 1 : end], "big"), end


def _add_key(keys: set[object], token: bytes) -> None:
    """Add a key by its value, since one value has several encodings; text as its bytes."""
    try:
        value = unpack(token)
    except ValueError:
        raise IndexError from None  # cut off
    key = value.encode() if isinstance(value, str) else (value,)
    try:
        known = key in keys
    except TypeError:
        raise _bad_key() from None
    if known:
        raise _duplicate_key()
    keys.add(key)


def _require_utf8(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None


def _require_timestamp(payload: bytes) -> None:
    try:
        Timestamp.from_bytes(payload)
    except ValueError:
        raise RemoteProtocolError("A timestamp of the message is malformed.") from None


def _too_deep(limits: ScanLimits) -> RemoteProtocolError:
    return MessageTooDeep(f"The message is nested deeper than {limits.depth} levels.")


def _too_many_keys(limits: ScanLimits) -> RemoteProtocolError:
    return TooManyKeys(f"The message has more than {limits.keys} keys.")


def _out_of_range() -> RemoteProtocolError:
    return RemoteProtocolError("A number of the message is out of range.")


def _duplicate_key() -> RemoteProtocolError:
    return RemoteProtocolError("An object of the message has the same key twice.")


def _bad_key() -> RemoteProtocolError:
    return RemoteProtocolError("A map of the message has a key that is no scalar.")


def _not_utf8() -> RemoteProtocolError:
    return RemoteProtocolError("A text of the message is not valid UTF-8.")
