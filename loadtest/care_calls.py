"""Calls of the care hub as a load test makes them: one object in, the typed answer out, refusals raised.

A refusal of the domain is a result on the wire; here it is an error, so that it counts as a failure and never as a
quick success. It must not know sockets. Read ``ask`` first.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, ClassVar, TypeVar, cast

import msgspec
from msgspec import UNSET, Raw

from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import Failure, Refusal
from protocol.contract.session import Hello, HelloAnswer
from protocol.errors import AuricleError, BadArgument
from protocol.signalr.codec import CODECS, ProtocolName

from .signalr_user import MeasuredHub

__all__ = ["ChangeRefused", "ask", "greet"]

T = TypeVar("T")


class ChangeRefused(AuricleError):
    """The server said no; the text is the stable code and rule alone, since each text is a row of the statistics."""

    code: ClassVar[str] = "refused"

    def __init__(self, refusal: Refusal) -> None:
        rule = "" if refusal.rule is UNSET else f" {refusal.rule}"
        super().__init__(f"{refusal.code}{rule}")


class _Verdict(msgspec.Struct, frozen=True):
    ok: bool


def ask(hub: MeasuredHub, target: str, payload: object, answer: type[T]) -> T:
    """Call a method of the contract. Raises ChangeRefused, and what ``MeasuredHub.invoke`` raises."""
    # The cast: to mypy a class is not hashable as long as it may be any.
    result: T = hub.invoke(target, payload, read=_reader(hub.codec.values, cast("Hashable", answer)))
    return result


def greet(hub: MeasuredHub, app: str) -> None:
    """Agree on the contract's version, as every client does first."""
    ask(hub, "Hello", Hello(contract=CONTRACT_VERSION, app=app), HelloAnswer)


@lru_cache(maxsize=64)
def _reader(protocol: ProtocolName, answer: Any) -> Callable[[Raw | None], Any]:
    codec = CODECS[protocol]
    verdict, accepted, refused = codec.binder(_Verdict), codec.binder(answer), codec.binder(Failure)

    def read(raw: Raw | None) -> Any:
        if raw is None:
            raise BadArgument("the answer is empty")
        if not verdict(raw).ok:
            raise ChangeRefused(refused(raw).error)
        return accepted(raw)

    return read
