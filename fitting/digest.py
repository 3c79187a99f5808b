"""One canonical form, so that two ends that hold the same configuration compute the same digest.

The form is RFC 8785 (JSON Canonicalization Scheme) restricted to strings, integers, booleans, null,
arrays and objects. Levels are integer tenths of a decibel, so no float is ever digested: a device that
answers 249.999985 for 250 would otherwise never match. This module must not know what a digest is
used for. Read ``canonical`` first.
"""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET

from protocol.contract.base import MAX_SAFE_INTEGER, Ear, Wire
from protocol.contract.devices import EarImage, OfferBody
from protocol.contract.fitting import Content, Digests
from protocol.errors import BadArgument

from .model import ear_image, ears_of

__all__ = ["body_hash", "canonical", "canonical_of", "content_digests", "ear_digest", "pair_digest", "request_hash"]

_MAX_DEPTH = 32
_NOTHING_KNOWN: Mapping[Ear, str] = MappingProxyType({})
_SORTED = msgspec.json.Encoder(order="sorted")
_BRACKETS = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NUMBERS = b"0123456789-,:[]{}"
_GAPS = bytes.maketrans(b"-,:[]{}", b"       ")
_MAX_DIGITS = 15


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value: no white space, keys in the order of their UTF-16 code units.

    Raises BadArgument for floats, integers beyond 2^53-1, lone surrogates, keys that are no strings and
    anything that is not JSON.
    """
    try:
        return _text(value, 0).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadArgument("text with a lone surrogate has no canonical form") from error


def _text(value: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise BadArgument(f"values nested deeper than {_MAX_DEPTH} have no canonical form")
    if value is None or isinstance(value, bool | str):
        # ECMAScript's escapes are those of the standard library with ensure_ascii off.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise BadArgument("integers beyond 2^53-1 have no canonical form")
        return str(int(value))
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item, depth + 1) for item in value) + "]"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise BadArgument("object keys must be text")
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_text(k, depth)}:{_text(value[k], depth + 1)}" for k in keys) + "}"
    raise BadArgument(f"a {type(value).__name__} has no canonical form")


def canonical_of(value: Wire | Mapping[Ear, str] | Mapping[str, object]) -> bytes:
    """``canonical`` of what a payload is in JSON, straight from the encoder where its bytes prove that it is the same.

    ASCII keys, sorted by the encoder, are in RFC 8785's order, and ASCII texts without an escape are written alike.
    What is left to look at are numbers, what a number that is none became, and how deep it goes.
    """
    try:
        told = _SORTED.encode(value)
    except (TypeError, ValueError, OverflowError):
        return canonical(msgspec.to_builtins(value))
    # Without an escape every second piece is a text.
    bare = b"".join(told.split(b'"')[::2])
    if told.isascii() and b"\\" not in told and _is_safe(bare) and _is_shallow(bare):
        return told
    return canonical(msgspec.to_builtins(value))


def _is_safe(bare: bytes) -> bool:
    """Whether all numbers are integers of at most 15 digits; a number that JSON does not have would be a ``null``."""
    words = bare.translate(None, _NUMBERS).replace(b"true", b"").replace(b"false", b"")
    return not words and max(map(len, bare.translate(_GAPS).split(b" "))) <= _MAX_DIGITS


def _is_shallow(bare: bytes) -> bool:
    """Whether brackets go no deeper than ``_MAX_DEPTH``; taking the innermost away takes one level away."""
    left = bare.translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(_MAX_DEPTH):
        if not left:
            return True
        left = left.replace(b"()", b"")
    return not left


def _sha256(told: bytes) -> str:
    return "sha256:" + hashlib.sha256(told).hexdigest()


def ear_digest(image: EarImage) -> str:
    """The digest of what one aid holds in one memory, over its camelCase form."""
    return _sha256(canonical_of(image))


def pair_digest(ears: Mapping[Ear, str]) -> str:
    """The digest of a pair, over ``{"left": digest, "right": digest}`` of the ears that there are."""
    return _sha256(canonical_of(dict(ears)))


def content_digests(content: Content, known: Mapping[Ear, str] = _NOTHING_KNOWN) -> Digests:
    """The digests of each ear and of the pair. Raises BadArgument when a value has no canonical form.

    ``known``: of ears that hold what they held before.
    """
    ears = {ear: known.get(ear) or ear_digest(ear_image(content, ear)) for ear in ears_of(content)}
    return Digests(pair=pair_digest(ears), left=ears.get("left", UNSET), right=ears.get("right", UNSET))


def request_hash(request: Wire) -> str:
    """The digest of a whole request, the idempotency key included."""
    return _sha256(canonical_of(request))


def body_hash(body: OfferBody) -> str:
    """The digest of what an offer asks to be written."""
    return _sha256(canonical_of(body))
