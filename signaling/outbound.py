"""What is sent: a message with its bytes cached per wire format, so that a broadcast is encoded once per format.

``ClientLink`` is what everything above a transport sees of a connection.
"""

from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Raw, Struct, field

from protocol.signalr.codec import CODECS, Codec, codec_for, transcode
from protocol.signalr.framing import JsonSplitter, MessagePackSplitter
from protocol.signalr.messages import Invocation
from protocol.signalr.prescan import ScanLimits

from .auth import Principal

__all__ = ["ClientLink", "Outbound", "frame_of_another_pod", "invocation_of_another_pod"]

# Another pod has looked at it already, whatever its limits are.
_ANY_SIZE: Final = ScanLimits(depth=1_000, keys=10_000_000, number_chars=100_000)


class Outbound(Struct):
    """An invocation of a client method on its way to any number of connections.

    ``source`` is the format of the ``Raw`` values among the arguments, None when there are none.
    """

    message: Invocation
    source: Codec | None = None
    _frames: dict[str, bytes] = field(default_factory=dict)

    def frame(self, codec: Codec) -> bytes:
        """The framed bytes in one format, made at most once."""
        frame = self._frames.get(codec.name)
        if frame is None:
            source, message = self.source, self.message
            if source is not None and source.values != codec.values:
                message = self._transcoded(source, codec)
            frame = self._frames[codec.name] = codec.encode(message)
        return frame

    def frames(self) -> dict[str, bytes]:
        """For other pods: in every format, or in one when all it carries is passed on as it came.

        ``frame_of_another_pod`` makes the others, where somebody is who needs them.
        """
        only = self.only_format()
        codecs = CODECS.values() if only is None else (only,)
        return {codec.name: self.frame(codec) for codec in codecs}

    def only_format(self) -> Codec | None:
        """That in which all it carries came and can be passed on, if that is so."""
        source = self.source
        if source is None or source.name not in CODECS:
            return None
        for value in self.message.arguments:
            if type(value) is not Raw:
                return None
        return source

    def _transcoded(self, source: Codec, codec: Codec) -> Invocation:
        arguments = tuple(
            transcode(value, source, codec) if isinstance(value, Raw) else value for value in self.message.arguments
        )
        return Invocation(target=self.message.target, arguments=arguments, invocation_id=self.message.invocation_id)


def frame_of_another_pod(frames: dict[str, bytes], codec: Codec) -> bytes:
    """The framed bytes of a message in a format in which another pod has not sent it.

    ``frames`` holds it in one of ``CODECS`` at least.
    """
    message, source = invocation_of_another_pod(frames)
    return Outbound(message, source).frame(codec)


def invocation_of_another_pod(frames: dict[str, bytes]) -> tuple[Invocation, Codec]:
    """The message in ``frames``, and the format of what it carries."""
    name, frame = next((name, frame) for name, frame in frames.items() if name in CODECS)
    source = codec_for("json" if name == "json" else "messagepack", _ANY_SIZE)
    [body] = (MessagePackSplitter if source.binary else JsonSplitter)(len(frame)).feed(frame)
    message = source.decode(body)
    if not isinstance(message, Invocation):
        raise ValueError("another pod has sent what is no invocation")
    return message, source


class ClientLink(Protocol):
    """One connection, whatever its transport and protocol. ``send`` never waits: it is bounded instead."""

    @property
    def connection_id(self) -> str:
        """The public id."""
        ...

    @property
    def principal(self) -> Principal:
        """Who is connected."""
        ...

    @property
    def codec(self) -> Codec:
        """The wire format of its client."""
        ...

    def send(self, outbound: Outbound) -> None:
        """Queue for this connection; a full queue ends the connection instead of waiting or dropping one."""
        ...

    def send_frame(self, frame: bytes) -> None:
        """Queue what another pod has said: framed bytes in the format of its client."""
        ...

    def hold_back(self) -> Callable[[], None]:
        """Tell its client nothing until what this returns was called: other pods do not reach it yet."""
        ...

    async def ask(self, target: str, arguments: tuple[object, ...], source: Codec | None) -> Raw:
        """Call a client method and wait for its result, in the client's format.

        ``source`` is the format of the ``Raw`` values among the arguments, None when there are none.

        Raises:
            HubException: the client answered with an error; its text.
            Unavailable: the connection ended, or no answer came in time.
            Overloaded: the client owes too many answers already.
        """
        ...
