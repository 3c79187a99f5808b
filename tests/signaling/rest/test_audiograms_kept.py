"""Audiograms outlive the process that took them, and count for every other one soon; with each database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.databases import lent_postgres
from tests.postgres import PostgresServer
from tests.signaling.conftest import House, OpenHouse

AID = {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"}
DEVICE: dict[str, Any] = {"device": "d1", "patient": "pat", "assignments": ["ann"], "right": AID}
GIVEN: dict[str, Any] = {
    "right": {"500": 35, "1000": 40.5, "2000": 50, "4000": 60},
    "noResponse": {"right": [4000]},
    "measuredOn": "2026-01-30",
}


@pytest.fixture(params=["sqlite", "postgres"])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> AsyncIterator[dict[str, Any]]:
    """The configuration of every process on one database."""
    if request.param == "sqlite":
        yield {"database_url": "", "data": tmp_path}
        return
    async with lent_postgres(postgres) as url:
        yield {"database_url": url}


async def post(house: House, path: str, body: Any, **headers: str) -> Any:
    async with house.http.post(f"{house.url}/api/v1/{path}", json=body, headers=house.bearer() | headers) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def get(house: House, path: str) -> Any:
    async with house.http.get(f"{house.url}/api/v1/{path}", headers=house.bearer()) as answer:
        return await answer.json(content_type=None)


async def test_what_one_process_took_another_reads_and_judges_by(
    open_house: OpenHouse, database: dict[str, Any]
) -> None:
    one, other = await open_house(**database), await open_house(**database)
    await post(one, "devices", DEVICE)
    assert (await get(other, "devices/d1/first-fit"))["code"] == "no_audiogram"
    key = {"Idempotency-Key": "k1"}
    stored = await post(one, "devices/d1/audiograms", GIVEN, **key)
    assert {name: stored[name] for name in GIVEN} == GIVEN
    assert (await get(one, "devices/d1/first-fit"))["audiogram"] == stored["audiogram"]
    # Here nobody has looked for two seconds, and then somebody does.
    other.monotonic.now_s += 2.01
    assert (await get(other, "devices/d1/first-fit"))["audiogram"] == stored["audiogram"]
    assert await get(other, f"devices/d1/audiograms/{stored['audiogram']}") == stored
    assert await post(other, "devices/d1/audiograms", GIVEN, **key) == stored
    assert len((await get(other, "devices/d1/audiograms"))["items"]) == 1
