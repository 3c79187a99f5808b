"""The client's end of one hub connection: the mirror of ``connection``, over the same table.

It must not know the socket, nor when to reconnect. Read ``HubClientConnection.hello`` first: its bytes
are the first ones to send.
"""

import math
from typing import ClassVar, Literal

from .codec import ProtocolName
from .endpoint import Endpoint, HubLimits
from .handshake import HandshakeRequest, encode_request, parse_response
from .messages import Close
from .resume import STATEFUL_VERSION

__all__ = ["HubClientConnection"]


class HubClientConnection(Endpoint):
    """One connection to a server, from ``hello`` to the end.

    Servers do not limit what they send: choose ``limits.max_message_bytes`` accordingly. ``stateful``:
    the server's answer to the negotiation agreed on stateful reconnect.
    """

    _peer: ClassVar[Literal["client", "server"]] = "server"

    def __init__(self, protocol: ProtocolName, limits: HubLimits, *, now: float, stateful: bool = False) -> None:
        super().__init__(limits, now=now, stateful=stateful)
        self._protocol = protocol
        self._version = STATEFUL_VERSION if stateful else 1

    def hello(self) -> bytes:
        """The handshake request."""
        return encode_request(HandshakeRequest(self._protocol, self._version))

    def _agree(self, body: bytes) -> tuple[ProtocolName, int] | str:
        error = parse_response(body, self._limits.scan)
        return error if error is not None else (self._protocol, self._version)

    def _open(self, name: ProtocolName, version: int, now: float) -> None:
        super()._open(name, version, now)
        # The server watches a client from its first ping on, so that is due at once.
        self.sent_at = -math.inf

    def _handshake_failure(self, detail: str) -> str:
        return f"The server's handshake was not understood. {detail}"

    def _acceptance_reply(self) -> bytes:
        return b""

    def _refusal_reply(self, _error: str, /) -> bytes:
        return b""

    def _failure_reply(self, _detail: str, /) -> bytes:
        return self.codec.encode(Close())

    def _silence_counts(self) -> bool:
        return True
