"""What a server keeps: a killed one comes back and goes on where it was."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from clients.hub_client import HubCallError, HubClient
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, DeviceAnswer, DeviceQuery
from protocol.contract.fitting import Base, SubmitAnswer
from tests.databases import new_postgres
from tests.eventually import eventually
from tests.postgres import postgres_server
from tests.running import Server, server
from tests.signaling.care import CLAIM, Heard, apply, change, live, louder, submit
from tests.signaling.conftest import House, OpenHouse

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
BODY: dict[str, object] = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": AID}


@asynccontextmanager
async def client(running: Server, user: str, role: str, heard: Heard | None = None) -> AsyncIterator[HubClient]:
    hub = HubClient(f"{running.url}/hub", token=await running.token(user, role), reconnect=None)
    if heard is not None:
        heard.listen(hub)
    async with hub:
        yield hub


def in_house(house: House, user: str, role: str, heard: Heard | None = None) -> HubClient:
    hub = HubClient(f"{house.url}/hub", token=house.token(user, role), reconnect=None)
    if heard is not None:
        heard.listen(hub)
    return hub


def told_as_time_passes(house: House, event: str) -> bool:
    """The server tries again after a while by its own clock, which only the test moves."""
    house.monotonic.now_s += 0.01
    return event in house.log.getvalue()


async def attach(phone: HubClient) -> AttachAnswer:
    answer = await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer)
    assert isinstance(answer, AttachAnswer), answer
    return answer


async def test_a_killed_server_comes_back_with_all_that_it_answered(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        await running.register(await running.token("ann"), BODY)
        async with (
            client(running, "pat", "device", Heard()) as phone,
            client(running, "ann", "clinician") as ann,
        ):
            before = await attach(phone)
            request = change(await live(ann), *louder(20))
            await phone.stop()
            accepted = await submit(ann, request)
        assert isinstance(accepted, SubmitAnswer)
        running.process.send_signal(signal.SIGKILL)
        await running.process.wait()
    heard = Heard()
    async with server(tmp_path) as running:
        async with client(running, "ann", "clinician") as ann:
            assert await submit(ann, request) == accepted
            other = msgspec.structs.replace(request, base=Base(revision=accepted.revision_id))
            refused = await submit(ann, other)
            assert isinstance(refused, Failure)
            assert refused.error.code == "idempotency_conflict"
            device = await ann.ask("GetDevice", DeviceQuery(device="d1"), answer=DeviceAnswer)
            assert isinstance(device, DeviceAnswer)
            assert device.last_seq == 1
        async with client(running, "pat", "device", heard) as phone:
            after = await attach(phone)
            assert (after.epoch, after.generation) == (before.epoch, before.generation + 1)
            await eventually(lambda: heard.offers)
            await apply(phone, heard.offers[0])
            await eventually(lambda: heard.settled)
        assert await running.terminate() == 0
    assert "task_failed" not in (tmp_path / "server.log").read_text()


async def test_a_device_whose_log_was_never_opened_is_opened_by_the_same_request(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    """A server may be killed between the two."""
    house = await open_house(database_url="", data=tmp_path)

    async def register(body: dict[str, object]) -> int:
        async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer()) as answer:
            return answer.status

    assert await register(BODY) == 201
    database = sqlite3.connect(tmp_path / "auricle.db")
    database.execute("DELETE FROM device_head")
    database.commit()
    database.close()
    assert await register(BODY | {"patient": "other"}) == 409
    assert await register(BODY) == 201
    assert await register(BODY) == 409


async def test_what_becomes_of_writes_is_measured(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house(database_url="", data=tmp_path)
    async with house.http.post(f"{house.url}/api/v1/devices", json=BODY, headers=house.bearer()) as answer:
        assert answer.status == 201
    async with in_house(house, "pat", "device") as phone:
        await attach(phone)
        await phone.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)
    commits = house.metric("auricle_database_commit_seconds_count")
    assert commits >= 3
    assert house.metric("auricle_database_commit_writes_sum") >= commits
    assert house.metric("auricle_log_cache_total", outcome="miss") == 1
    assert house.metric("auricle_log_cache_total", outcome="hit") >= 1
    assert house.metric("auricle_log_conflicts_total") == 0
    await eventually(lambda: house.metric("auricle_database_waiting_writes") == 0)


async def test_nothing_is_degraded_while_the_database_is_there(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house(database_url="", data=tmp_path)
    async with house.http.get(f"{house.url}/readyz") as ready:
        assert await ready.json() == {"status": "ready", "degraded": []}


async def test_a_database_that_dies_and_comes_back_costs_refusals_and_nothing_else(
    open_house: OpenHouse,
) -> None:
    with postgres_server(durable=True) as postgres:
        url = await new_postgres(postgres)
        # Live work lasts longer than it may take until the database is back.
        patient = {"lease_ttl_s": 200.0, "freeze_after_s": 200.0, "dead_man_s": 400.0}
        house = await open_house(database_url=url, sweep_s=0.05, database_timeout_s=2.0, **patient)
        async with house.http.post(f"{house.url}/api/v1/devices", json=BODY, headers=house.bearer()) as answer:
            assert answer.status == 201
        heard = Heard()
        async with in_house(house, "pat", "device", heard) as phone, in_house(house, "ann", "clinician") as ann:
            await attach(phone)
            leased = await live(ann)
            postgres.kill()
            request = change(leased, *louder(20))
            with pytest.raises(HubCallError) as failed:
                await submit(ann, request)
            assert failed.value.code in {"unavailable", "unknown_outcome"}, house.log.getvalue()
            await eventually(lambda: told_as_time_passes(house, "database_away"))
            async with house.http.get(f"{house.url}/readyz") as ready:
                assert (ready.status, await ready.json()) == (200, {"status": "ready", "degraded": ["database"]})
            postgres.start()
            await eventually(lambda: told_as_time_passes(house, "database_back"))
            accepted = await submit(ann, request)
            assert isinstance(accepted, SubmitAnswer), accepted
            await eventually(lambda: heard.offers)
            await apply(phone, heard.offers[0])
            await eventually(lambda: heard.settled)
            async with house.http.get(f"{house.url}/readyz") as ready:
                assert await ready.json() == {"status": "ready", "degraded": []}
        assert house.log.getvalue().count("database_away") == 1
    assert url.rpartition("=")[2] not in house.log.getvalue()
