"""What travels between pods: a message with who sent it, signed, numbered, and dated. Pure; never pickle.

Who can write to Redis and has no key can make pods hear nothing that a pod has not said on that very channel, and
nothing twice. A sender numbers what it sends over one connection (a *stream*); servers and connections keep that
order, so a number that does not rise is a replay. What was kept back until nobody remembers its stream is known by its
date. Read ``Opener.open`` first.

Wire: version (1 byte), HMAC-SHA256 (32) over it, the channel and all that follows, sender (8), stream (8), number (8,
of the stream, from 1), date (8, a double: Unix seconds of the sender's clock), payload.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from struct import Struct, error
from typing import Final, Literal, TypeAlias

__all__ = ["HEAD_BYTES", "NAME_BYTES", "Opener", "Refused", "Sealer"]

NAME_BYTES: Final = 8
_VERSION: Final = b"\x02"
_TAG_AT: Final = len(_VERSION)
_STREAM_AT: Final = _TAG_AT + hashlib.sha256().digest_size
_PLACE: Final = Struct(">Qd")
# The tag, the sender's name and the stream's (together they say which stream it is), and the place in that.
_HEAD: Final = Struct(f">{_STREAM_AT - _TAG_AT}s{2 * NAME_BYTES}sQd")
HEAD_BYTES: Final = _TAG_AT + _HEAD.size
"""What travels with a payload."""
_BLOCK_BYTES: Final = hashlib.sha256().block_size
_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))
# Streams of which the last number is remembered; a pod has one for each server that it is connected to.
MAX_STREAMS: Final = 4_096

Refused: TypeAlias = Literal["own", "version", "forged", "replayed", "stale"]


class _Tagger:
    """HMAC-SHA256 (RFC 2104) with the key worked in once: the one call of the library does it for each message anew,
    which takes longer than a whole message of 1 KiB.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER_PAD) + _VERSION)
        self._outer = hashlib.sha256(key.translate(_OUTER_PAD))

    def tag(self, channel: bytes, signed: bytes, payload: bytes) -> bytes:
        """The tag of a payload on a channel, and of the part of its head that is signed."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(len(channel).to_bytes(4, "big") + channel + signed)
        inner.update(payload)
        outer.update(inner.digest())
        return outer.digest()


class Sealer:
    """Signs the messages of one stream. ``sender`` and ``stream`` are ``NAME_BYTES`` long."""

    def __init__(self, key: bytes, *, sender: bytes, stream: bytes, clock: Callable[[], float]) -> None:
        self._tag = _Tagger(key).tag
        self._stream = sender + stream
        self._clock = clock
        self._number = 0

    def seal(self, channel: bytes, payload: bytes) -> bytes:
        """What is to be sent in front of the payload, as the next message of the stream; good on that channel only."""
        self._number += 1
        signed = self._stream + _PLACE.pack(self._number, self._clock())
        return _VERSION + self._tag(channel, signed, payload) + signed


class Opener:
    """Opens what others have sent to the pod ``own``.

    ``skew_s``: by how much dates may differ from ``clock``.
    """

    def __init__(self, key: bytes, *, own: bytes, skew_s: float, clock: Callable[[], float]) -> None:
        self._tag = _Tagger(key).tag
        self._own = own
        self._skew_s = skew_s
        self._clock = clock
        # By sender and stream; numbers begin with 1.
        self._streams: OrderedDict[bytes, int] = OrderedDict()

    def open(self, channel: bytes, wire: bytes) -> bytes | Refused:
        """The payload, or why it is not heard. ``own``: the publisher does not hear itself."""
        if wire[:1] != _VERSION:
            return "version"
        try:
            tag, stream, number, at_s = _HEAD.unpack_from(wire, _TAG_AT)
        except error:
            return "forged"
        if stream.startswith(self._own):
            return "own"
        payload = wire[HEAD_BYTES:]
        if not hmac.compare_digest(tag, self._tag(channel, wire[_STREAM_AT:HEAD_BYTES], payload)):
            return "forged"
        streams = self._streams
        if number <= streams.get(stream, 0):
            return "replayed"
        # A date that is no number is none.
        if not abs(self._clock() - at_s) <= self._skew_s:
            return "stale"
        streams[stream] = number
        streams.move_to_end(stream)
        if len(streams) > MAX_STREAMS:
            streams.popitem(last=False)
        return payload
