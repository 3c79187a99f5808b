"""Negotiation: what a client may use, and the token that opens its connection (SignalR TransportProtocols)."""

from typing import Any, Final

from protocol.errors import BadArgument

__all__ = ["AVAILABLE_TRANSPORTS", "negotiate_response", "negotiate_version"]

AVAILABLE_TRANSPORTS: Final = [
    {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
    {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
    {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
]
HIGHEST_VERSION: Final = 1


def negotiate_version(text: str | None) -> int:
    """The version to answer with: a higher request gets our highest.

    Raises:
        BadArgument: not a whole number, or negative.
    """
    if text is None:
        return 0
    if not text.isascii() or not text.isdecimal():
        raise BadArgument(f"The client requested an invalid protocol version '{text[:20]}'")
    return min(int(text[:9]), HIGHEST_VERSION)


def negotiate_response(
    version: int, *, connection_id: str, token: str, stateful: bool, token_lifetime_s: int
) -> dict[str, Any]:
    """The body of the answer. In version 0 the only id is the secret one."""
    ids: dict[str, Any] = (
        {"connectionId": connection_id, "connectionToken": token} if version else {"connectionId": token}
    )
    if version:
        ids["tokenLifetimeSeconds"] = token_lifetime_s
    if version and stateful:
        # Clients refuse a server that says this unasked.
        ids["useStatefulReconnect"] = True
    return {"negotiateVersion": version, **ids, "availableTransports": AVAILABLE_TRANSPORTS}
