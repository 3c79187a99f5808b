"""The end of a run: wait until nothing is under way, then write down what everybody says there is.

The server is asked over its hub, the aids through their files, the audit in the database. Nobody's word is taken for
another's. Read ``reader`` and ``Reader.drain`` first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import UNSET

from clients.hub_client import HubClient
from protocol.contract.base import EARS, Failure
from protocol.contract.devices import DeliveryAnswer, DeliveryQuery, DeviceAnswer, DeviceQuery
from protocol.contract.history import GetHistory, HistoryAnswer, RevisionView
from protocol.contract.session import Hello, HelloAnswer
from tests.chaos.database import audit_events
from tests.chaos.fleet import LEASE_TTL_S
from tests.chaos.patience import OPTIONS, RECONNECT
from tests.chaos.stage import Stage
from tests.chaos.story import ENDS
from tests.chaos.waiting import PATIENCE

__all__ = ["Reader", "read_aids", "read_audit", "reader"]

POLL_S: Final = 0.1
PAGE: Final = 100
MAX_TRIES: Final = 20
SAVED_WITHIN_S: Final = 3.0 * PATIENCE
STAYS_S: Final = 3.0 * PATIENCE
T = TypeVar("T")


class Reader:
    """Somebody who may see every device, connected to the healed server."""

    def __init__(self, stage: Stage, hubs: list[HubClient]) -> None:
        self._stage, self._history, self._hubs = stage, stage.history, hubs
        self._confirmed_s: dict[tuple[str, int], float] = {}
        self._ended: dict[str, int] = {}

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every phone is there and every delivery has an end; whether that came to be."""
        hello = Hello(contract=1, app="reader")
        for hub in self._hubs:
            await _again(hub, partial(hub.invoke, "Hello", hello, result=HelloAnswer))
        # What ends with its lease ends now, and what was tried in it is taken back.
        await asyncio.sleep(LEASE_TTL_S)
        try:
            async with asyncio.timeout(timeout_s):
                before: list[int] = []
                while before != (now := [await self._drain(device) for device in self._stage.devices]):
                    # A wearer who is there again may be asked something, and want the package before back.
                    before = now
                    await asyncio.sleep(STAYS_S)
        except TimeoutError:
            return False
        return True

    async def _drain(self, device: str) -> int:
        """Oldest first: what has an end keeps it. How many deliveries there are."""
        seq = self._ended.get(device, 0) + 1
        while True:
            held = await self._device(device)
            while seq <= held.last_seq:
                answer = await self._delivery(device, seq)
                if answer is not None and not self._has_ended(device, seq, answer.state):
                    break
                seq += 1
            is_true = _in_aid(held) == self._stage.phone_of(device).aids()
            if seq > held.last_seq and is_true and await self._is_online(device):
                self._ended[device] = held.last_seq
                return held.last_seq
            await asyncio.sleep(POLL_S)

    def _has_ended(self, device: str, seq: int, state: str) -> bool:
        kind = self._stage.tally.kinds.get((device, seq))
        if kind is not None:
            return state in ENDS[kind]
        # A wearer's undo, or its answer was lost: what is to be saved stays so for a moment only.
        if state == "confirmed":
            now_s = time.monotonic()
            return now_s - self._confirmed_s.setdefault((device, seq), now_s) > SAVED_WITHIN_S
        return state in ENDS["persist"]

    async def read_server(self) -> None:
        """What the server says of every device, delivery and revision."""
        for device in self._stage.devices:
            for view in await self._revisions(device):
                digests = {ear: getattr(view.digests, ear) for ear in EARS if getattr(view.digests, ear) is not UNSET}
                told: dict[str, Any] = {"rev": view.revision, "reason": view.reason, "digests": digests}
                self._history.write("ok", "read_revision", device, **told)
            held = await self._device(device)
            for seq in range(1, held.last_seq + 1):
                answer = await self._delivery(device, seq)
                if answer is not None:
                    ears = {ear: state for ear in EARS if (state := getattr(answer.ears, ear)) is not UNSET}
                    values: dict[str, Any] = {"epoch": answer.epoch, "seq": seq, "state": answer.state, "ears": ears}
                    code = None if answer.code is UNSET else answer.code
                    self._history.write("ok", "read_delivery", device, **values, code=code)
            self._history.write("ok", "read_device", device, last_seq=held.last_seq, in_aid=_in_aid(held))

    async def _device(self, device: str) -> DeviceAnswer:
        return await _device(self._hubs[0], device)

    async def _is_online(self, device: str) -> bool:
        """Whether a pod that was asked says so."""
        answers = [await _device(hub, device) for hub in self._hubs]
        return any(answer.phone.online for answer in answers)

    async def _delivery(self, device: str, seq: int) -> DeliveryAnswer | None:
        """None for a delivery that the server does not know."""
        hub = self._hubs[0]
        for epoch in sorted(self._stage.tally.epochs):
            query = DeliveryQuery(device=device, epoch=epoch, seq=seq)
            answer = await _again(hub, partial(hub.ask, "GetDelivery", query, answer=DeliveryAnswer))
            if not isinstance(answer, Failure):
                return answer
        return None

    async def _revisions(self, device: str) -> list[RevisionView]:
        hub, before = self._hubs[0], None
        views: list[RevisionView] = []
        while True:
            query = GetHistory(device=device, limit=PAGE, before=UNSET if before is None else before)
            page = await _again(hub, partial(hub.invoke, "GetHistory", query, result=HistoryAnswer))
            views += page.revisions
            if page.next is UNSET:
                return views
            before = page.next


@asynccontextmanager
async def reader(stage: Stage) -> AsyncIterator[Reader]:
    """Somebody who is connected, to every pod: what one knows of a phone another need not have heard yet."""
    balancer, token = stage.fleet.balancer, stage.tokens.mint("reader", "clinician")
    urls = [balancer.url_of(pod) for pod in balancer.pods]
    async with AsyncExitStack() as stack:
        made = (HubClient(f"{url}/hub", token=token, reconnect=RECONNECT, options=OPTIONS) for url in urls)
        yield Reader(stage, [await stack.enter_async_context(hub) for hub in made])


async def _again(hub: HubClient, read: Callable[[], Awaitable[T]]) -> T:
    """A read, once more when its link dies under it. Raises ConnectionError when links keep dying."""
    for left in reversed(range(MAX_TRIES)):
        try:
            await hub.connected()
            return await read()
        except (ConnectionError, TimeoutError):
            if not left:
                raise
            await asyncio.sleep(POLL_S)
    raise AssertionError("unreachable")


async def _device(hub: HubClient, device: str) -> DeviceAnswer:
    return await _again(hub, partial(hub.invoke, "GetDevice", DeviceQuery(device=device), result=DeviceAnswer))


def _in_aid(held: DeviceAnswer) -> dict[str, dict[str, str]]:
    truths = {ear: getattr(held.in_aid, ear) for ear in EARS if getattr(held.in_aid, ear) is not UNSET}
    return {ear: {"ram": truth.ram, "nvm": truth.nvm} for ear, truth in truths.items()}


def read_aids(stage: Stage) -> None:
    """What the memories of all aids truly hold."""
    for phone in stage.phones.values():
        stage.history.write("ok", "read_aids", phone.name, aids=phone.aids())


async def read_audit(stage: Stage) -> None:
    """Every recorded event, with the hash that it should have; the server must have ended."""
    kinds: dict[tuple[str, int], str] = {}
    for device, seq, revision, kind, mode in await stage.fleet.database.rows(_DELIVERIES):
        kinds[device, seq] = kind
        stage.history.write("ok", "read_row", device, seq=seq, rev=revision, kind=kind, mode=mode)
    async for event in audit_events(stage.fleet.database):
        device = event.pop("device")
        ends = ENDS[kinds.get((device, event["seq"]), "volatile")]
        is_whole = event["kind"] == "delivery" and event["ear"] is None
        if (event["kind"], event["state"]) == ("lease", "granted"):
            event["kind"] = "grant"
        stage.history.write("ok", "read_audit", device, **event, is_end=is_whole and event["state"] in ends)


_DELIVERIES: Final = "SELECT device, seq, revision_id, kind, mode FROM delivery ORDER BY device, seq"
