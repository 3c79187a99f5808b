"""What a wire format can do, and the two that there are.

Everything above this line of the house speaks ``Codec`` and never asks which one it has. Read ``Codec``
first; ``transcode`` is how a value crosses from a JSON client to a MessagePack client.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from msgspec import Raw

from .json_codec import JsonCodec
from .messages import Invocation, Message
from .msgpack_codec import MessagePackCodec
from .prescan import ScanLimits
from .values import for_json, for_messagepack

__all__ = ["CODECS", "JSON", "MESSAGEPACK", "Codec", "FormatName", "ProtocolName", "codec_for", "transcode"]

ProtocolName = Literal["json", "messagepack"]
FormatName = Literal["json", "messagepack", "socketio"]


class Codec(Protocol):
    """One wire format of a hub. Stateless; ``binary`` tells the kind of WebSocket frame."""

    @property
    def name(self) -> FormatName:
        """The name of its frames; of SignalR's it is the one that the handshake asks for."""
        ...

    @property
    def values(self) -> ProtocolName:
        """The format of the values in its messages: each has one of these two."""
        ...

    @property
    def binary(self) -> bool:
        """Whether its bytes need a transport that carries binary data."""
        ...

    def decode(self, body: bytes) -> Message | None:
        """The message in a body without framing, None for a type that a newer peer may know.

        Raises RemoteProtocolError.
        """
        ...

    def call(self, body: bytes) -> Invocation | None:
        """The call in a small body, if it is written as clients nearly always write it; None: ``decode`` knows."""
        ...

    def encode(self, message: Message) -> bytes:
        """The framed bytes of a message. Raises LocalProtocolError for a value that has no encoding."""
        ...

    def encode_result(self, invocation_id: str, result: object) -> bytes:
        """``encode`` of the most frequent message: a completion with a result."""
        ...

    def binder(self, expected: Any) -> Callable[[Raw], Any]:
        """A decoder of values of one type: make it once, call it often.

        ``Any`` and ``object`` give the free value, ``Raw`` gives the value as it is. The decoder raises
        BadArgument.
        """
        ...

    def arguments(self, types: Sequence[Any], rest: Any = None) -> Callable[[Sequence[Raw]], list[Any]]:
        """A decoder of the arguments of a call: one of each of ``types``, then any number of ``rest`` if there is that.

        It raises BadArgument, also for another number of them.
        """
        ...

    def free(self, raw: Raw) -> object:
        """The value in plain Python objects. Raises BadArgument."""
        ...

    def encode_value(self, value: object) -> Raw:
        """A value to be embedded in messages; a Raw stays what it is. Raises LocalProtocolError."""
        ...


@lru_cache(maxsize=16)
def codec_for(name: ProtocolName, limits: ScanLimits) -> Codec:
    """The codec ``name`` whose ``decode`` applies these limits."""
    return JsonCodec(limits) if name == "json" else MessagePackCodec(limits)


JSON: Final[Codec] = codec_for("json", ScanLimits())
MESSAGEPACK: Final[Codec] = codec_for("messagepack", ScanLimits())
# Those of SignalR, which are those of values too.
CODECS: Final[Mapping[str, Codec]] = MappingProxyType({codec.values: codec for codec in (JSON, MESSAGEPACK)})


def transcode(raw: Raw, source: Codec, target: Codec) -> Raw:
    """The value in the format of another codec. Never fails for what ``source.decode`` accepted.

    What has no counterpart is replaced as ``protocol.signalr.values`` says.
    """
    if source.values == target.values:
        return raw
    value = source.free(raw)
    return target.encode_value(for_json(value) if target.values == "json" else for_messagepack(value))
