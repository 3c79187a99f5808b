"""The phone of this process, which falls asleep and wakes up again on its journal, with the same aids.

Asleep nothing of it is left but the files, as when its system ends an app that nobody looks at. It must not know the
script. Read ``Handset.wake`` first.
"""

import asyncio
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.file_journal import FileJournal
from clients.hub_client import HubClient, TransportName
from clients.phone import Phone, PhoneOptions
from clients.phone_driver import OfferRunner
from clients.phone_duties import DutyTimes
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from protocol.contract.packages import RegisterPush
from protocol.signalr.codec import ProtocolName

__all__ = ["HEARTBEAT_S", "RECONNECT", "Handset", "Line"]

# A demo should not wait long; a real phone keeps the default of both.
RECONNECT: Final = ReconnectPolicy(base_s=0.3, cap_s=1.0)
HEARTBEAT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """How the phone reaches its server: over that hub and transport, with that token, for that device."""

    url: str
    token: str
    protocol: ProtocolName
    transport: TransportName
    device: str


class Handset:
    """``pair`` are the aids that it carries, ``journal`` its file; it lives in ``tasks`` while it is awake."""

    def __init__(self, line: Line, pair: VirtualPair, journal: Path, tasks: asyncio.TaskGroup) -> None:
        self._line, self._pair, self._journal, self._tasks = line, pair, journal, tasks
        self._push = RegisterPush(device=line.device, platform="fcm", token=secrets.token_urlsafe(64))
        self._open = ExitStack()
        self._life: asyncio.Task[None] | None = None
        self._hub: HubClient | None = None
        self._phone: Phone | None = None

    @property
    def push_token(self) -> str:
        """What its platform calls it, for those who look whether it is shown to anybody else."""
        return self._push.token

    @property
    def hub(self) -> HubClient:
        """The connection of the newest life. Raises RuntimeError before the first one."""
        if self._hub is None:
            raise RuntimeError("the phone was never awake")
        return self._hub

    @property
    def phone(self) -> Phone:
        """The phone in its newest life. Raises RuntimeError before the first one."""
        if self._phone is None:
            raise RuntimeError("the phone was never awake")
        return self._phone

    async def wake(self) -> None:
        """Begin a life on what the journal says; to be attached takes a moment longer. Raises as ``FileJournal``."""
        journal = self._open.enter_context(FileJournal(self._journal))
        line = self._line
        self._hub = HubClient(
            line.url, token=line.token, protocol=line.protocol, transport=line.transport, reconnect=RECONNECT
        )
        # The wearer of the demo is content with everything.
        runner = OfferRunner(self._pair, journal, device=line.device, wearer=AgreeableWearer())
        options = PhoneOptions(duties=DutyTimes(heartbeat_s=HEARTBEAT_S), push=self._push)
        self._phone = Phone(self._hub, runner, options=options)
        await self._hub.start()
        self._life = self._tasks.create_task(self._phone.run())

    async def sleep(self) -> None:
        """End this life at once; journal and aids stay as they are. Without one nothing happens."""
        if self._life is None:
            return
        self._life.cancel()
        await asyncio.wait({self._life})
        self._life = None
        await self.hub.stop()
        self._open.close()
