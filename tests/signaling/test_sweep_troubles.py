"""A device whose record cannot be read, beside one that is worked on: nothing of it is felt there."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from clients.hub_errors import HubCallError
from protocol.contract.devices import AttachAnswer, DeviceAnswer, DeviceQuery
from protocol.contract.sessions import LeaseLost, ModeChanged, RevertNow, SessionAlive
from tests.eventually import eventually
from tests.signaling.care import CLAIM, Connect, change
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.visit import Visit, visit

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}


@pytest.fixture
async def house(open_house: OpenHouse, tmp_path: Path) -> House:
    """A server on a file."""
    return await open_house(database_url="", data=tmp_path)


async def beside_a_spoilt_one(connect: Connect, house: House, path: Path) -> Visit:
    """Live work on d1, and a phone that carries d2, whose row holds what cannot be read since."""
    here = await visit(connect)
    body = {"device": "d2", "patient": "pat", "assignments": ["ann"], "right": AID}
    async with house.http.post(f"{house.url}/api/v1/devices", json=body, headers=house.bearer("ann")) as answer:
        assert answer.status == 201
    await here.pat.ask("AttachDevice", msgspec.structs.replace(CLAIM, device="d2"), answer=AttachAnswer)
    with closing(sqlite3.connect(path / "auricle.db")) as database, database:
        database.execute(
            "UPDATE device_head SET working = x'c1', version = version + 1, due_at = 1.0 WHERE device = 'd2'"
        )
    house.monotonic.now_s += 1
    return here


async def test_a_device_that_cannot_be_read_is_nobody_elses_trouble(
    connect: Connect, house: House, tmp_path: Path
) -> None:
    here = await beside_a_spoilt_one(connect, house, tmp_path)
    with pytest.raises(HubCallError, match=r"^\[unreadable\] what is kept of the device"):
        await here.ann.ask("GetDevice", DeviceQuery(device="d2"), answer=DeviceAnswer)
    fed = len(here.phone.of(SessionAlive))
    house.wall.now_s += 5
    house.monotonic.now_s += 5
    for _ in range(2):
        await house.sweep_care()
    await eventually(lambda: len(here.phone.of(SessionAlive)) > fed)
    await here.apply(change(here.leased))
    house.wall.now_s += 15
    house.monotonic.now_s += 15
    await house.sweep_care()
    assert (await here.fitter.first(LeaseLost)).device == "d1"
    assert (await here.phone.first(RevertNow)).device == "d1"
    await eventually(lambda: here.fitter.of(ModeChanged)[-1].state == "none")
    assert house.metric("auricle_device_failures_total", error="Unreadable") >= 6
    lines = [json.loads(line) for line in house.log.getvalue().splitlines() if "device_failed" in line]
    assert [(line["error"], line["level"]) for line in lines] == [("Unreadable", "error")]
    assert "d2" not in json.dumps(lines)
