"""A device log that is away, or that does not answer, while a test says so."""

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import Any

from fitting.log_memory import MemoryDeviceLog
from protocol.errors import Unavailable, UnknownOutcome
from signaling.hubs.care_hub import CareHub
from tests.signaling.conftest import House

__all__ = ["Away", "log_of"]


@dataclass
class Away:
    """``fails`` names the methods that meet a log which is away, while the others do not.

    ``loses`` names those that come about while their next answer is lost.
    """

    log: Any
    is_away: bool = False
    stall: asyncio.Event | None = None
    fails: set[str] = field(default_factory=set)
    loses: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.log, name)
        if not inspect.iscoroutinefunction(method):
            # It asks nobody.
            return method

        async def call(*args: Any, **more: Any) -> Any:
            if self.is_away or name in self.fails:
                raise Unavailable("the log is away")
            if self.stall is not None:
                await self.stall.wait()
            outcome = await method(*args, **more)
            if name in self.loses:
                self.loses.remove(name)
                raise UnknownOutcome("the answer was lost")
            return outcome

        return call


def log_of(house: House) -> Away:
    """The log of a house, which may go away from now on."""
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    assert isinstance(care._log, MemoryDeviceLog)
    log = Away(care._log)
    session = care._session
    live = (session, session.ends, session._judging, session._beginning)
    for part in (care, *live, care._submit, care._delivery, care._news):
        part._log = log
    return log
