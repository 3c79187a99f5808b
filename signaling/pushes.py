"""The one way in which the server's own code sends to clients of the care hub: a payload that the contract lists.

A target is never spelt out, so it cannot differ from the contract, and a payload that is missing there is a type error.
"""

from typing import Protocol, TypeVar

from protocol.contract.base import Wire
from protocol.contract.pushes import ANSWERS, Push
from protocol.errors import LocalProtocolError

__all__ = ["ask", "push"]

W = TypeVar("W", bound=Wire)


class Receiver(Protocol):
    """A caller, one client, or an audience."""

    def send(self, target: str, *arguments: object) -> None: ...


class Respondent(Protocol):
    """A caller or one client."""

    async def ask(self, target: str, *arguments: object, result: type[W]) -> W: ...


def push(to: Receiver, payload: Push) -> None:
    """Send ``payload`` to the client method of its name; no answer is expected."""
    to.send(type(payload).__name__, payload)


async def ask(of: Respondent, payload: Push, *, answer: type[W]) -> W:
    """Send ``payload`` to the client method of its name and wait for its result, an ``answer``.

    Raises:
        LocalProtocolError: the contract lists another answer, or none.
        HubException, Unavailable, Overloaded: as ``Caller.ask`` does.
    """
    target = type(payload).__name__
    if ANSWERS.get(target) is not answer:
        raise LocalProtocolError(f"{target}: the contract does not list {answer.__name__} as its answer")
    return await of.ask(target, payload, result=answer)
