"""One caller of the hub, who writes down what is known of the fate of every call.

The public wire through ``clients``: an answer is ``ok``, a refusal ``fail``, and whatever was sent and not answered is
``info``. It must not know what is asked for. Read ``Caller.ask`` first.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded, NotConnected
from protocol.contract.base import Failure
from protocol.contract.devices import DeliveryAnswer, DeliveryQuery, DeviceQuery
from protocol.contract.session import Hello, HelloAnswer
from protocol.errors import BadArgument
from tests.chaos.history import HistoryFile
from tests.chaos.wishes import Wishes

__all__ = ["Call", "Caller", "Refused", "Tally"]

T = TypeVar("T")
UNKNOWN_FATE: Final = frozenset({"unknown_outcome", "unavailable", "internal", "internal_error"})


@dataclass(slots=True)
class Tally:
    """What the workload has done, for the coverage of a run. ``error_texts`` is all that callers were told.

    ``kinds`` of the deliveries that were answered; ``epochs`` that were. ``sent``: packages by their kind and device.
    ``wishes`` are what is waited for; ``is_ending``: there is nothing left to do but what was never done.
    """

    accepted: int = 0
    kinds: dict[tuple[str, int], str] = field(default_factory=dict)
    epochs: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    wishes: Wishes = field(default_factory=Wishes)
    is_ending: bool = False
    error_texts: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was made, and nothing was done."""

    code: str


@dataclass(frozen=True, slots=True)
class Call:
    """A method of the contract on a device. ``f`` and ``values`` are how the history tells it."""

    f: str
    target: str
    device: str
    request: Any
    values: dict[str, Any] = field(default_factory=dict)


class Caller:
    """One process of the history; it makes one call at a time."""

    def __init__(self, name: str, hub: HubClient, history: HistoryFile, tally: Tally) -> None:
        self.name, self.tally = name, tally
        self._hub, self._history = hub, history
        self._greeted = ""

    async def ask(self, call: Call, answer: type[T], told: Callable[[T], dict[str, Any]]) -> T | Refused | None:
        """The answer, the refusal, or None for a fate that is not known. ``told``: the answer as the history has it."""
        self._history.write("invoke", call.f, call.device, **call.values)
        outcome = await self._ask(call, answer)
        if outcome is None:
            self._history.write("info", call.f, call.device)
        elif isinstance(outcome, Refused):
            self._history.write("fail", call.f, call.device, code=outcome.code)
            self.tally.done[f"refused: {outcome.code}"] += 1
        else:
            self._history.write("ok", call.f, call.device, **told(outcome))
        return outcome

    async def state_of(self, device: str, epoch: str, seq: int) -> str | None:
        """Where a delivery is, None when nobody says. A question of its own, of which the history has nothing."""
        query = DeliveryQuery(device=device, epoch=epoch, seq=seq)
        answer = await self.read("GetDelivery", query, DeliveryAnswer)
        return None if answer is None else answer.state

    async def read(self, target: str, query: DeviceQuery | DeliveryQuery, answer: type[T]) -> T | None:
        """What is there, None when nobody says. The history has nothing of it."""
        found = await self._ask(Call("", target, query.device, query), answer)
        return None if isinstance(found, Refused) else found

    async def _ask(self, call: Call, answer: type[T]) -> T | Refused | None:
        try:
            await self._greet()
            given = await self._hub.ask(call.target, call.request, answer=answer)
        except (NotConnected, HubOverloaded):
            return Refused("not_sent")
        except HubCallError as error:
            return self._refused(error.code, error.message)
        except (ConnectionError, TimeoutError, BadArgument):
            return None
        return self._refused(given.error.code, given.error.message) if isinstance(given, Failure) else given

    def _refused(self, code: str, message: str) -> Refused | None:
        self.tally.error_texts.add(message)
        return None if code in UNKNOWN_FATE else Refused(code)

    async def _greet(self) -> None:
        async with asyncio.timeout(30):
            await self._hub.connected()
        connection = self._hub.connection_id
        if self._greeted != connection:
            self._history.write("ok", "linked", connection=connection)
            await self._hub.invoke("Hello", Hello(contract=1, app="chaos"), result=HelloAnswer)
            self._greeted = connection
