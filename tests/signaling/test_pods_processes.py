"""Three real server processes on one PostgreSQL and one bus, which is killed and comes back empty in the middle."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from clients.hub_client import HubClient, TransportName
from protocol.contract.devices import AttachAnswer, DeliveryChanged, LeaseAnswer, Offer, ReportAnswer, Settled
from protocol.contract.fitting import Base, SubmitAnswer
from protocol.contract.session import PresenceChanged
from protocol.contract.sessions import (
    Done,
    Heartbeat,
    Hold,
    LeaseRenewed,
    ModeChanged,
    Relayed,
    Revert,
    RevertNow,
    SessionAlive,
)
from signaling.auth import DevTokens
from tests.databases import new_postgres
from tests.eventually import eventually, eventually_asked
from tests.postgres import PostgresServer
from tests.redis_server import PROGRAMS, RedisServer, redis_server
from tests.running import Server, server
from tests.signaling.care import CLAIM, change, lease, live, louder, report
from tests.signaling.visit import Told, refused

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
BODY: dict[str, object] = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": AID}
KEY = "one key of all pods, of 32 bytes"
# What waits for its turn on a busy machine is not away; what is dead says so at once all the same.
BUSY = {
    "AURICLE_BUS_FLUSH_S": "5",
    "AURICLE_BUS_TIMEOUT_S": "15",
    "AURICLE_BUS_CONFIRM_S": "5",
    "AURICLE_TABLE_ANSWER_S": "5",
}
# Where nobody renews anything, however slow the machine is.
PATIENT = {
    "AURICLE_LEASE_TTL_S": "100",
    "AURICLE_FREEZE_AFTER_S": "100",
    "AURICLE_DEAD_MAN_S": "200",
    "AURICLE_POD_ASK_S": "10",
}


def token(user: str, *roles: str) -> str:
    """A token that every pod knows."""
    return DevTokens(KEY.encode(), time.time).mint(user=user, clinic="c1", roles=frozenset(roles), expires_in_s=600)


@dataclass
class Fleet:
    """Pods, and clients wherever a test puts them."""

    pods: list[Server]
    bus: RedisServer
    stack: AsyncExitStack

    async def client(self, pod: int, user: str, *roles: str, heard: Told | None = None) -> HubClient:
        # The phones' pod is reached over Socket.IO: what goes between pods goes between protocols too.
        transport: TransportName = "socketio" if pod == 1 else "signalr"
        hub = HubClient(f"{self.pods[pod].url}/hub", token=token(user, *roles), transport=transport, reconnect=None)
        if heard is not None:
            heard.listen(hub)
        await hub.start()
        self.stack.push_async_callback(hub.stop)
        return hub

    async def degraded(self) -> list[list[str]]:
        """What each pod says is away."""
        async with aiohttp.ClientSession() as http:
            found = []
            for pod in self.pods:
                async with http.get(f"{pod.url}/readyz") as answer:
                    assert answer.status == 200
                    found.append((await answer.json())["degraded"])
            return found

    async def until_all(self, degraded: list[str]) -> None:
        async def all_say_so() -> bool:
            return await self.degraded() == [degraded] * len(self.pods)

        await eventually_asked(all_say_so)


@asynccontextmanager
async def fleet(
    postgres: PostgresServer, folder: Path, program: str, times: Mapping[str, str] = PATIENT
) -> AsyncIterator[Fleet]:
    url = await new_postgres(postgres)
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server(program=program))
        environ = {"AURICLE_DEV_SIGNING_KEY": KEY, "AURICLE_DATABASE_URL": url, "AURICLE_REDIS_URL": bus.url}
        environ |= {**BUSY, **times}
        pods = []
        for number in range(3):
            data = folder / str(number)
            data.mkdir()
            pods.append(await stack.enter_async_context(server(data, **environ)))
        found = Fleet(pods, bus, await stack.enter_async_context(AsyncExitStack()))
        await found.until_all([])
        yield found


@dataclass
class Session:
    """The fitter on the first pod, the phone on the second."""

    ann: HubClient
    pat: HubClient
    fitter: Told
    phone: Told
    leased: LeaseAnswer
    keys: int = 0

    async def apply(self, base: str) -> str:
        """One change from the fitter to the aids, and its proof all the way back; the revision that it made."""
        before, self.keys = len(self.phone.of(Offer)), self.keys + 1
        request = change(self.leased, *louder(10), key=f"k{self.keys}", base=Base(revision=base))
        accepted = await self.ann.ask("Submit", request, answer=SubmitAnswer)
        assert isinstance(accepted, SubmitAnswer), accepted
        offer = await self.phone.first(Offer, before)
        proof = {"ear": "right", "source": "ram", "digest": offer.body.expect.right}
        for made in (report(offer, 1, "received"), report(offer, 2, "confirmed", **proof)):
            assert isinstance(await self.pat.ask("Report", made, answer=ReportAnswer), ReportAnswer)
        await eventually(lambda: any(one.seq == accepted.seq for one in self.phone.of(Settled)))
        proven = (accepted.seq, "confirmed")
        await eventually(lambda: proven in [(one.seq, one.state) for one in self.fitter.of(DeliveryChanged)])
        return accepted.revision_id


async def begin(pods: Fleet) -> Session:
    fitter, phone = Told(), Told()
    await pods.pods[2].register(token("ann", "clinician"), BODY)
    pat = await pods.client(1, "pat", "patient", "device", heard=phone)
    assert isinstance(await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
    ann = await pods.client(0, "ann", "clinician", heard=fitter)
    return Session(ann, pat, fitter, phone, await live(ann))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_changes_and_a_stop_get_through_whatever_becomes_of_the_bus(
    postgres: PostgresServer, tmp_path: Path, program: str
) -> None:
    async with fleet(postgres, tmp_path, program) as pods:
        session = await begin(pods)
        revision = await session.apply(session.leased.head.revision)  # type: ignore[union-attr]  # a device that was read
        pods.bus.kill()
        # At once, before anybody can have noticed; and again when they have.
        revision = await session.apply(revision)
        await pods.until_all(["redis"])
        revision = await session.apply(revision)
        relayed = await session.ann.ask("Revert", Revert(device="d1", fence=session.leased.fence), answer=Relayed)
        assert relayed == Relayed(relayed=False)
        assert (await session.phone.first(RevertNow)).cause == "revert"
        pods.bus.start()
        await pods.until_all([])
        await session.ann.ask("Stop", Revert(device="d1", fence=session.leased.fence), answer=Relayed)
        for end in (session.phone, session.fitter):
            await eventually(lambda end=end: any(one.state == "none" for one in end.of(ModeChanged)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert [one.cause for one in session.phone.of(RevertNow)][-1] == "stop"
        for pod in pods.pods:
            assert "task_failed" not in pod.log_text
            assert await pod.terminate() == 0


async def go_on(session: Session, *, phone: bool = True) -> str:
    """Both ends say that they are there, a second passes, and the fitter is told how it stands."""
    if phone:
        await session.pat.ask("Heartbeat", Heartbeat(device="d1"), answer=Done)
    await asyncio.sleep(1)  # time itself is what is tested
    hold = Hold(device="d1", session="s1", fence=session.leased.fence)
    renewed = await session.ann.ask("RenewLease", hold, answer=LeaseRenewed)
    assert isinstance(renewed, LeaseRenewed), renewed
    return renewed.state


def reasons(end: Told) -> list[str | None]:
    """Why it has become of live work what it has, as one end was told."""
    return [one.reason for one in end.of(ModeChanged)]


async def until(session: Session, state: str, *, phone: bool) -> None:
    async with asyncio.timeout(40):
        while await go_on(session, phone=phone) != state:
            pass


@pytest.mark.timeout(240)
async def test_live_work_across_pods_stays_live_at_the_usual_times_and_freezes_without_its_phone(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with fleet(postgres, tmp_path, "valkey", {}) as pods:
        session = await begin(pods)
        # Longer than either end may be silent.
        assert {await go_on(session) for _ in range(15)} == {"live"}
        revision = await session.apply(session.leased.head.revision)  # type: ignore[union-attr]  # a device that was read
        assert len(session.phone.of(SessionAlive)) >= 2
        await until(session, "frozen", phone=False)
        # Each pod judges by what it has heard itself: that of the phone may be a little behind.
        async with asyncio.timeout(40):
            while "freeze" not in reasons(session.phone):
                await go_on(session, phone=False)
        request = change(session.leased, *louder(10), key="frozen", base=Base(revision=revision))
        assert refused(await session.ann.ask("Submit", request, answer=SubmitAnswer)).code == "frozen"
        await until(session, "live", phone=True)
        assert session.phone.of(RevertNow) == []
        for end in (session.fitter, session.phone):
            await eventually(lambda end=end: reasons(end)[-1] == "thaw")  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            # Both pods have told their own, each move once; a pod that hears nothing for long freezes more often.
            told = reasons(end)
            assert told == ["accepted", *["freeze", "thaw"] * (len(told) // 2)]
        for pod in pods.pods:
            assert "task_failed" not in pod.log_text


@pytest.mark.timeout(180)
async def test_who_hangs_on_a_pod_that_is_killed_is_gone_soon_and_his_phone_is_offline(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with fleet(postgres, tmp_path, "valkey") as pods:
        told = Told()
        await pods.pods[0].register(token("ann", "clinician"), BODY)
        ann = await pods.client(0, "ann", "clinician", heard=told)
        assert not (await lease(ann)).phone.online
        pat = await pods.client(1, "pat", "patient", "device")
        assert isinstance(await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
        await eventually(lambda: told.of(PresenceChanged) == [PresenceChanged(user="pat", online=True)])
        assert (await lease(ann)).phone.online
        pods.pods[1].process.kill()
        await pods.pods[1].process.wait()
        async with asyncio.timeout(60):
            while len(told.of(PresenceChanged)) < 2:  # noqa: ASYNC110  # what is told is not told twice
                await asyncio.sleep(0.05)  # polling
        assert told.of(PresenceChanged)[1:] == [PresenceChanged(user="pat", online=False)]
        assert not (await lease(ann)).phone.online
