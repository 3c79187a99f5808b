"""The one way in which the server's own code sends to clients of the care hub: a payload that the contract lists.

A target is never spelt out, so it cannot differ from the contract, and a payload that is missing there is a type error.
"""

from typing import Protocol

from protocol.contract.pushes import Push

__all__ = ["push"]


class Receiver(Protocol):
    """A caller, one client, or an audience."""

    def send(self, target: str, *arguments: object) -> None: ...


def push(to: Receiver, payload: Push) -> None:
    """Send ``payload`` to the client method of its name; no answer is expected."""
    to.send(type(payload).__name__, payload)
