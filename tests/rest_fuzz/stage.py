"""A device with a past, so that what is generated finds something to read: revisions, deliveries, recorded events."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp

from clients.hub_client import HubClient
from protocol.contract.history import GetHistory, HistoryAnswer
from tests.running import Server
from tests.signaling.care import Heard, change, louder
from tests.signaling.visit import Told, visit

__all__ = ["DEVICE", "Past", "live_through"]

DEVICE: dict[str, object] = {
    "device": "d1",
    "patient": "pat",
    "assignments": ["ann"],
    "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
    "audiogram": {"right": {"500": 35, "1000": 40, "2000": 50, "4000": 60}},
}


@dataclass(frozen=True, slots=True)
class Past:
    """What can be read of the device."""

    revisions: Sequence[str]
    seqs: Sequence[int]
    visits: Sequence[str]
    participants: Sequence[str]
    times: Sequence[str]


async def live_through(server: Server) -> Past:
    """Register a device, fit it over the hub in a live session, and leave."""
    await server.register(await server.token("ann", "clinician"), DEVICE)
    async with AsyncExitStack() as clients:

        async def connect(user: str, *roles: str, heard: Heard | Told | None = None) -> HubClient:
            client = HubClient(f"{server.url}/hub", token=await server.token(user, *roles), reconnect=None)
            if heard is not None:
                heard.listen(client)
            await client.start()
            clients.push_async_callback(client.stop)
            return client

        here = await visit(connect)
        changed = await here.apply(change(here.leased, *louder(10)))
        page = await here.call("GetHistory", GetHistory(device="d1"), HistoryAnswer)
    times = [(datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT09:30") for days in (1, 2, 30)]
    visits = [await _visit(server, time) for time in times]
    return Past(
        revisions=tuple(one.revision for one in page.revisions),
        seqs=(changed.seq,),
        visits=visits,
        participants=[f"{visit}-3" for visit in visits],
        times=times,
    )


async def _visit(server: Server, time: str) -> str:
    """One that is to come, with somebody who has no account, in which something was written."""
    headers = {"Authorization": f"Bearer {await server.token('ann', 'clinician')}"}
    body = {"startsLocal": time, "zone": "Europe/Berlin", "participants": [{"role": "interpreter"}]}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(f"{server.url}/api/v1/devices/d1/visits", json=body) as answer:
            assert answer.status == 201
            visit = str((await answer.json())["visit"])
        message = {"clientId": "c1", "text": "Good morning"}
        async with http.post(f"{server.url}/api/v1/visits/{visit}/messages", json=message) as answer:
            assert answer.status == 201
    return visit
