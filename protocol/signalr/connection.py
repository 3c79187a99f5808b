"""The server's end of one hub connection, and everything that its owner needs to hold it.

Bytes and ticks go in, events and bytes come out; who owns the socket, and what a method does, it must
not know. Read ``HubConnection`` first, then ``endpoint`` for what both ends share.
"""

from typing import ClassVar, Final, Literal

from .codec import CODECS, ProtocolName
from .endpoint import Endpoint, HubLimits
from .events import AckDue, Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from .handshake import HANDSHAKE_FAILED, encode_response, parse_request, refusal
from .messages import Close
from .states import TRANSITIONS, Kind, State, next_state

__all__ = [
    "CLOSED_WITH_ERROR",
    "TRANSITIONS",
    "AckDue",
    "Broken",
    "Event",
    "HubConnection",
    "HubLimits",
    "KeepAliveDue",
    "Kind",
    "Opened",
    "PeerClosed",
    "Refused",
    "State",
    "TimedOut",
    "next_state",
]

CLOSED_WITH_ERROR: Final = "Connection closed with an error."


class HubConnection(Endpoint):
    """One client, from its handshake to the end.

    ``binary_ok``: the transport carries binary data. ``detailed_errors``: what broke the connection is told
    to the client, not only to the log. ``stateful``: negotiation agreed on stateful reconnect; a handshake
    of version 1 switches it off.
    """

    _peer: ClassVar[Literal["client", "server"]] = "client"

    def __init__(
        self,
        limits: HubLimits,
        *,
        now: float,
        binary_ok: bool = True,
        detailed_errors: bool = False,
        stateful: bool = False,
    ) -> None:
        super().__init__(limits, now=now, stateful=stateful)
        self._binary_ok = binary_ok
        self._detailed_errors = detailed_errors

    def _agree(self, body: bytes) -> tuple[ProtocolName, int] | str:
        request = parse_request(body, self._limits.scan)
        error = refusal(request, binary_ok=self._binary_ok)
        return error if error is not None else (CODECS[request.protocol].values, request.version)

    def _handshake_failure(self, detail: str) -> str:
        return self._with_detail(HANDSHAKE_FAILED, detail)

    def _acceptance_reply(self) -> bytes:
        return encode_response()

    def _refusal_reply(self, error: str, /) -> bytes:
        return encode_response(error)

    def _failure_reply(self, detail: str, /) -> bytes:
        # A client with automatic reconnect comes back only if it is told that it may.
        return self.codec.encode(Close(self._with_detail(CLOSED_WITH_ERROR, detail), allow_reconnect=True))

    def _silence_counts(self) -> bool:
        # A client that never pings has its keep-alive switched off.
        return self._pinged

    def _with_detail(self, text: str, detail: str) -> str:
        return f"{text} {detail}" if self._detailed_errors else text
