"""A Locust user for a hub over Socket.IO: the same words and events as ``SignalRUser``, of the type ``Socket.IO``.

Subclass ``SocketIoUser``, open hubs with ``hub`` and call them. Each connection is one WebSocket, with no polling
before it. It must not know Auricle's contract. Read ``SocketIoSocket`` first.
"""

from typing import Final

from websocket import ABNF

from protocol.socketio.client import SocketIoClientConnection

from .signalr_socket import SignalRSocket, SocketOptions
from .signalr_user import SignalRUser

__all__ = ["SOCKETIO", "SocketIoSocket", "SocketIoUser", "socketio_socket"]

SOCKETIO: Final = "Socket.IO"
"""The type of the events of connections and calls over Socket.IO."""


class SocketIoSocket(SignalRSocket):
    """One connection to the namespace ``namespace`` of the server at ``url``, with ``token`` to enter it."""

    def __init__(self, url: str, *, namespace: str, token: str, options: SocketOptions) -> None:
        super().__init__(f"{url}/socket.io/", options=options)
        core = SocketIoClientConnection(namespace, token, max_bytes=options.limits.max_message_bytes, now=self._clock())
        self._hub = core
        self.codec = core.codec
        self._opcode = ABNF.OPCODE_TEXT

    def _query(self, connection_token: str) -> str:
        return "?EIO=4&transport=websocket"


def socketio_socket(user: SignalRUser, token: str) -> SocketIoSocket:
    """One more connection of a user, not opened yet."""
    return SocketIoSocket(user.base_url, namespace=user.hub_path, token=token, options=user.socket_options)


class SocketIoUser(SignalRUser):
    """Base of users that talk to the namespace ``hub_path`` of a server at ``host``."""

    abstract = True
    negotiates = False

    @property
    def request_type(self) -> str:
        """See ``SignalRUser``."""
        return SOCKETIO

    def new_socket(self, token: str) -> SignalRSocket:
        """See ``SignalRUser``."""
        return socketio_socket(self, token)
