"""How a call to a hub can fail, as seen by the caller.

A server's answer and a dead link are told apart, because they mean different things to a fitting: an
answer says that nothing was done, a link that died says nothing at all. Knows no socket. Read
``HubCallError`` first.
"""

import re
from typing import Final

from protocol.errors import Overloaded

__all__ = ["HubCallError", "HubOverloaded", "HubRefused", "LinkLost", "NotConnected", "call_error"]

# The prefix before it is Microsoft's and differs with the cause; this is the part that a hub chooses.
_HUB_EXCEPTION: Final = re.compile(r"HubException: (?:\[([a-z0-9_]{1,64})\] ?)?(.*)\Z", re.DOTALL)


class HubCallError(Exception):
    """The server answered a call with an error. ``code`` is stable, ``hub_error`` when it named none."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"[{code}] {message}")
        self.code = code
        self.message = message


class HubOverloaded(Overloaded):
    """A bound of this client was reached; the call was never sent, the event not taken."""


class LinkLost(ConnectionError):
    """The link died while a call was out: whether the server carried it out is not known."""


class NotConnected(ConnectionError):
    """There is no link now; the call was never sent."""


class HubRefused(ConnectionError):
    """The server did not let this client in. ``status`` is the HTTP status, 0 when there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def call_error(text: str) -> HubCallError:
    """The error of a completion, taken apart: ``... HubException: [code] message``."""
    found = _HUB_EXCEPTION.search(text)
    if found is None:
        return HubCallError("hub_error", text)
    return HubCallError(found[1] or "hub_error", found[2])
