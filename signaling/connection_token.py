"""Signed connection tokens: what ``negotiate`` hands out and what opens a connection.

A token carries everything that a server needs to open the connection, the server that made it included, so no
server keeps a row for a connection that nobody opened, and any other server can tell whose it is.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from protocol.errors import NotFound

__all__ = ["ConnectionTicket", "ConnectionTokens", "new_connection_id"]

MAX_TOKEN_CHARS = 1_024
MAC_BYTES = 16


class ConnectionTicket(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. ``pod`` made it; it may be opened until ``open_until_s`` (Unix time) by ``owner``.

    ``stateful``: both sides agreed on stateful reconnect.
    """

    connection_id: str
    pod: str
    hub: str
    owner: str
    open_until_s: float
    stateful: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionTokens:
    """Seals and opens tickets. The key is shared by the pods of one deployment."""

    key: bytes
    pod: str
    ttl_s: float
    clock: Callable[[], float]

    def issue(self, *, connection_id: str, hub: str, owner: str, stateful: bool = False) -> str:
        """A token for a connection of ``owner`` (clinic and user) to one hub."""
        ticket = ConnectionTicket(connection_id, self.pod, hub, owner, self.clock() + self.ttl_s, stateful)
        body = msgspec.msgpack.encode(ticket)
        return base64.urlsafe_b64encode(self._mac(body) + body).rstrip(b"=").decode()

    def open(self, token: str, *, hub: str, owner: str) -> ConnectionTicket:
        """The ticket of a token of this hub and owner; whether it may still be opened is the caller's to ask.

        Raises:
            NotFound: not a token of ours, of another hub or of somebody else: one answer for all.
        """
        unknown = NotFound("No Connection with that ID")
        if len(token) > MAX_TOKEN_CHARS:
            raise unknown
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            mac, body = sealed[:MAC_BYTES], sealed[MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(body)):
                raise unknown
            ticket = msgspec.msgpack.decode(body, type=ConnectionTicket)
        except (ValueError, msgspec.MsgspecError):
            raise unknown from None
        if ticket.hub != hub or ticket.owner != owner:
            raise unknown
        return ticket

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self.key, b"connection-token\0" + body, hashlib.sha256)[:MAC_BYTES]


def new_connection_id(random_bytes: Callable[[int], bytes]) -> str:
    """16 random bytes in base64url, as SignalR's own connection ids."""
    return base64.urlsafe_b64encode(random_bytes(16)).rstrip(b"=").decode()
