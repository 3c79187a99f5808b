"""Two people in a visit, each over a connection of its own, for benchmarks of calls: arranged as anybody would.

It must not know what is measured. Read ``Pair.open`` first.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import msgspec

from clients.hub_client import HubClient
from protocol.contract.base import Answer, Failure
from protocol.contract.bookings import VisitAnswer
from protocol.contract.devices import RegisteredAid
from protocol.contract.registration import RegisterDevice
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer

from .bench_websocket import BenchFailed
from .dev_tokens import mint

__all__ = ["Pair", "asked"]

CLINIC: Final = "bench"
_SOON: Final = timedelta(minutes=5)


class Pair:
    """``fitter`` and ``patient`` are connected once ``join`` is done; handlers are registered before it."""

    def __init__(self, name: str, url: str, key: bytes) -> None:
        self.visit = ""
        self._name, self._url = name, url
        now_s = time.time()
        self._token = mint(key, user=f"fitter-{name}", clinic=CLINIC, roles=("clinician",), now_s=now_s)
        patient = mint(key, user=f"patient-{name}", clinic=CLINIC, roles=("patient",), now_s=now_s)
        self.fitter, self.patient = (
            HubClient(f"{url}/hub", token=token, protocol="messagepack", reconnect=None)
            for token in (self._token, patient)
        )

    async def schedule(self, http: aiohttp.ClientSession) -> None:
        """A device and a visit about it, in a few minutes. Raises BenchFailed."""
        body = RegisterDevice(
            device=self._name,
            patient=f"patient-{self._name}",
            assignments=(f"fitter-{self._name}",),
            right=RegisteredAid(serial=f"R-{self._name}", model="ref10", firmware="2.3.1"),
        )
        await self._post(http, "/api/v1/devices", body)
        at = (datetime.now(UTC) + _SOON).strftime("%Y-%m-%dT%H:%M")
        made = await self._post(http, f"/api/v1/devices/{self._name}/visits", {"startsLocal": at, "zone": "UTC"})
        self.visit = msgspec.json.decode(made, type=VisitAnswer).visit

    async def join(self) -> None:
        """Both are in the visit. Raises BenchFailed."""
        for hub in (self.fitter, self.patient):
            await hub.start()
            joined = await asked(hub, "JoinVisit", JoinVisit(visit=self.visit), JoinVisitAnswer)
        await asked(
            self.fitter, "AdmitToVisit", AdmitToVisit(visit=self.visit, participant=joined.participant), Invited
        )

    async def close(self) -> None:
        """Both are gone."""
        await self.fitter.stop()
        await self.patient.stop()

    async def _post(self, http: aiohttp.ClientSession, path: str, body: object) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        async with http.post(f"{self._url}{path}", data=msgspec.json.encode(body), headers=headers) as answer:
            text = await answer.read()
            if answer.status != 201:
                raise BenchFailed(f"{path} was answered with {answer.status}")
            return text


async def asked(hub: HubClient, target: str, payload: Any, answer: type[Answer]) -> Any:
    """The answer of a method that must not be refused. Raises BenchFailed."""
    given = await hub.ask(target, payload, answer=answer)
    if isinstance(given, Failure):
        raise BenchFailed(f"{target} was refused: {given.error.code}")
    return given
