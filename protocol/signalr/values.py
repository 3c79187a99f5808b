"""Values that one wire format has and the other has not, and what they become there.

From MessagePack to JSON: binary -> base64 text; timestamp -> ISO-8601 text (outside the years 1 to 9999:
the seconds since 1970 as text); any other extension -> its payload as base64 text; NaN and infinities
-> null; map keys -> their text, the last one winning where two become equal. From JSON to MessagePack:
integers beyond 64 bits -> float64, which is what JavaScript reads too. It is also the one place that
uses the msgpack library, and it must not know messages. Read ``unpack`` and ``for_json`` first.
"""

import base64
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgpack  # type: ignore[import-untyped]  # the library ships no types
from msgpack import Timestamp
from msgspec import Raw
from msgspec.msgpack import Ext

__all__ = ["Timestamp", "for_json", "for_messagepack", "iso_timestamp", "unpack"]


_EXACT: Final = 0
_unpack: Final = msgpack.unpackb
_EPOCH: Final = datetime(1970, 1, 1)


def unpack(packed: bytes | Raw, map_of: Callable[[list[tuple[object, object]]], object] | None = None) -> object:
    """One free MessagePack value. Timestamps stay exact, other extensions are ``Ext``; ``map_of`` makes the maps.

    Raises ValueError, and TypeError for a map whose key is a container.
    """
    value: object = _unpack(packed, timestamp=_EXACT, ext_hook=Ext, strict_map_key=False, object_pairs_hook=map_of)
    return value


def iso_timestamp(timestamp: Timestamp) -> str:
    """ISO-8601 in UTC, with milliseconds, or as many more digits as the nanoseconds need."""
    digits = f"{timestamp.nanoseconds:09d}"
    try:
        whole = _EPOCH + timedelta(seconds=timestamp.seconds)
    except OverflowError:
        return f"{timestamp.seconds}.{digits}"
    while len(digits) > 3 and digits.endswith("000"):
        digits = digits[:-3]
    return f"{whole.isoformat()}.{digits}Z"


def for_json(value: object) -> object:
    """A free MessagePack value with everything replaced that JSON does not have."""
    if isinstance(value, dict):
        return {_key_text(key): for_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [for_json(item) for item in value]
    return _json_scalar(value)


def for_messagepack(value: object) -> object:
    """A free JSON value with the integers replaced that MessagePack does not have."""
    if isinstance(value, dict):
        return {key: for_messagepack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [for_messagepack(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


def _json_scalar(value: object) -> object:
    if isinstance(value, Timestamp):
        return iso_timestamp(value)
    if isinstance(value, bytes | Ext):
        return base64.b64encode(value if isinstance(value, bytes) else value.data).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _key_text(key: object) -> str:
    if isinstance(key, str):
        return key
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return repr(key)
    return str(_json_scalar(key))
