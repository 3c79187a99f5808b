"""What travels between pods: a message with who sent it, signed, numbered, and dated. Pure; never pickle.

Who can write to Redis and has no key can make pods hear nothing that a pod has not said on that very channel, and
nothing twice. A sender numbers what it sends over one connection (a *stream*); servers and connections keep that
order, so a number that does not rise is a replay. What was kept back until nobody remembers its stream is known by its
date. Read ``Opener.open`` first.

Wire: version (1 byte), sender (8), HMAC-SHA256 (32) over all else and the channel, MessagePack of ``_Body``.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Literal

import msgspec

__all__ = ["NAME_BYTES", "Kind", "Opened", "Opener", "Refused", "Sealer"]

NAME_BYTES: Final = 8
_VERSION: Final = b"\x01"
_TAG_AT: Final = 1 + NAME_BYTES
_BODY_AT: Final = _TAG_AT + hashlib.sha256().digest_size
_BLOCK_BYTES: Final = hashlib.sha256().block_size
_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))
# Streams of which the last number is remembered; a pod has one for each server that it is connected to.
MAX_STREAMS: Final = 4_096

Refused = Literal["own", "version", "forged", "unreadable", "replayed", "stale"]


class Kind(IntEnum):
    """MESSAGE: a payload for the channel. MISSED: its sender may not have been heard for a while."""

    MESSAGE = 0
    MISSED = 1


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """``at_s`` in Unix seconds of the sender's clock, ``number`` counts the messages of the stream from 1."""

    kind: Kind
    stream: bytes
    number: int
    at_s: float
    payload: bytes


class Opened(msgspec.Struct, frozen=True, gc=False):
    """What another pod has said."""

    kind: Kind
    payload: bytes


_decode = msgspec.msgpack.Decoder(_Body).decode
_encode = msgspec.msgpack.Encoder().encode


class _Tagger:
    """HMAC-SHA256 (RFC 2104) with the key worked in once: the one call of the library does it for each message anew,
    which takes longer than a whole message of 1 KiB.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER_PAD))
        self._outer = hashlib.sha256(key.translate(_OUTER_PAD))

    def tag(self, channel: bytes, sender: bytes, body: bytes) -> bytes:
        """The tag of a message on a channel."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"".join((_VERSION, len(channel).to_bytes(4, "big"), channel, sender)))
        inner.update(body)
        outer.update(inner.digest())
        return outer.digest()


class Sealer:
    """Makes the envelopes of one stream. ``sender`` and ``stream`` are ``NAME_BYTES`` long."""

    def __init__(self, key: bytes, *, sender: bytes, stream: bytes, clock: Callable[[], float]) -> None:
        self._tag = _Tagger(key).tag
        self._sender = sender
        self._stream = stream
        self._clock = clock
        self._number = 0

    def seal(self, channel: bytes, kind: int, payload: bytes) -> bytes:
        """The next envelope of the stream, good on that channel only; ``kind`` as in ``Kind``."""
        self._number += 1
        body = _encode((kind, self._stream, self._number, self._clock(), payload))
        return b"".join((_VERSION, self._sender, self._tag(channel, self._sender, body), body))


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

    def open(self, channel: bytes, wire: bytes) -> Opened | Refused:
        """What is in it, or why it is not heard. ``own``: the publisher does not hear itself."""
        if wire[:1] != _VERSION:
            return "version"
        sender, body = wire[1:_TAG_AT], wire[_BODY_AT:]
        if sender == self._own:
            return "own"
        if not hmac.compare_digest(wire[_TAG_AT:_BODY_AT], self._tag(channel, sender, body)):
            return "forged"
        try:
            said = _decode(body)
        except msgspec.MsgspecError:
            return "unreadable"
        streams, stream = self._streams, sender + said.stream
        if said.number <= streams.get(stream, 0):
            return "replayed"
        if abs(self._clock() - said.at_s) > self._skew_s:
            return "stale"
        streams[stream] = said.number
        streams.move_to_end(stream)
        if len(streams) > MAX_STREAMS:
            streams.popitem(last=False)
        return Opened(said.kind, said.payload)
