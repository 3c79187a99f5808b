"""Reading devices over REST: what the hub's methods answer, to whom they answer it, in pages."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from protocol.contract.devices import DeliveryAnswer, DeliveryQuery, DeviceAnswer, DeviceQuery
from protocol.contract.history import (
    Compare,
    CompareAnswer,
    GetHistory,
    GetRevision,
    HistoryAnswer,
    RevisionAnswer,
)
from tests.signaling.care import Connect, change, lease, louder
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, visit

Get = Callable[..., Awaitable[Any]]
DEVICE = "/api/v1/devices/d1"


@pytest.fixture
def get(house: House) -> Get:
    """Ask as the fitter, and get the answer to a status."""

    async def get(path: str, status: int = 200, *who: str, **options: Any) -> Any:
        headers = house.bearer(*(who or ("ann",)), **options)
        async with house.http.get(house.url + path, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    return get


async def two_changes(connect: Connect) -> Visit:
    here = await visit(connect)
    await here.apply(change(here.leased))
    await here.apply(change(await lease(here.ann), *louder(-10), key="k2", reason="too sharp"))
    return here


def plain(answer: msgspec.Struct) -> Any:
    return json.loads(msgspec.json.encode(answer))


async def test_a_device_is_what_the_hub_says_and_what_was_registered(connect: Connect, get: Get) -> None:
    here = await two_changes(connect)
    told = await get(DEVICE)
    assert told == plain(await here.call("GetDevice", DeviceQuery(device="d1"), DeviceAnswer)) | {
        "patient": "pat",
        "assignments": ["abe", "ann"],
        "redFlags": False,
        "sheets": {"right": "/api/v1/sheets/ref10"},
    }
    assert told["phone"]["online"]
    assert (await get(told["sheets"]["right"]))["sheet"]["model"] == "ref10"


async def test_revisions_come_in_pages_and_one_by_one(connect: Connect, get: Get) -> None:
    here = await two_changes(connect)
    all_of_them = await here.call("GetHistory", GetHistory(device="d1"), HistoryAnswer)
    first = await get(f"{DEVICE}/revisions?limit=2")
    rest = await get(f"{DEVICE}/revisions?limit=2&after={first['next']}")
    assert [*first["items"], *rest["items"]] == [plain(one) for one in all_of_them.revisions]
    assert "next" not in rest
    newest = first["items"][0]["revision"]
    known = await here.call("GetRevision", GetRevision(device="d1", revision=newest), RevisionAnswer)
    assert await get(f"{DEVICE}/revisions/{newest}") == plain(known)
    assert (await get(f"{DEVICE}/revisions/elsewhere", 404))["code"] == "not_found"


async def test_two_revisions_are_compared_and_with_the_aids_as_well(connect: Connect, get: Get) -> None:
    here = await two_changes(connect)
    page = await here.call("GetHistory", GetHistory(device="d1"), HistoryAnswer)
    _, middle, first = (one.revision for one in page.revisions)
    for aid in (False, True):
        compare = Compare(device="d1", base=first, wanted=middle, aid=aid)
        known = plain(await here.call("CompareRevisions", compare, CompareAnswer))
        told = await get(f"{DEVICE}/diff?from={first}&to={middle}&aid={str(aid).lower()}")
        assert told == known
        assert ("threeWay" in told) == aid
    assert (await get(f"{DEVICE}/diff?from={first}&to=elsewhere", 404))["code"] == "not_found"
    assert "from" in (await get(f"{DEVICE}/diff?to={first}", 400))["detail"]


async def test_deliveries_come_in_pages_and_one_by_one(connect: Connect, get: Get) -> None:
    here = await two_changes(connect)
    newest = await get(f"{DEVICE}/deliveries?limit=1")
    older = await get(f"{DEVICE}/deliveries?limit=1&after={newest['next']}")
    assert "next" not in older
    assert [one["seq"] for one in (*newest["items"], *older["items"])] == [2, 1]
    one = newest["items"][0]
    known = await here.call("GetDelivery", DeliveryQuery(device="d1", epoch=here.epoch, seq=2), DeliveryAnswer)
    assert plain(known).items() <= one.items()
    head = (await get(DEVICE))["head"]
    assert (one["kind"], one["mode"], one["author"], one["reason"]) == ("volatile", "advanced", "ann", "too sharp")
    assert (one["revision"], one["base"]) == (head["revision"], older["items"][0]["revision"])
    assert one["at"] < one["expiresAt"]
    assert await get(f"{DEVICE}/deliveries/2") == one
    assert (await get(f"{DEVICE}/deliveries/9", 404))["code"] == "unknown_delivery"


async def test_what_was_recorded_comes_in_pages_and_every_hash_is_there(connect: Connect, get: Get) -> None:
    await two_changes(connect)
    events, path = [], f"{DEVICE}/history?limit=4"
    while True:
        page = await get(path)
        events += page["items"]
        if "next" not in page:
            break
        path = f"{DEVICE}/history?limit=4&after={page['next']}"
    assert [one["n"] for one in events] == list(range(1, len(events) + 1))
    assert all(len(one["hash"]) == 64 for one in events)
    assert {"delivery", "lease", "session", "device"} == {one["kind"] for one in events}


async def test_nothing_of_the_aids_is_known_before_they_were_read(connect: Connect, get: Get) -> None:
    told = await get(DEVICE)
    assert "head" not in told
    assert not told["phone"]["online"]
    for part in ("revisions", "deliveries", "history"):
        assert (await get(f"{DEVICE}/{part}"))["items"] == []


PATHS = [DEVICE, *(f"{DEVICE}/{part}" for part in ("revisions", "deliveries", "history", "diff?from=a&to=b"))]


@pytest.mark.parametrize("path", [*PATHS, f"{DEVICE}/revisions/r", f"{DEVICE}/deliveries/1"])
@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("ann clinician c2", 404),
        ("bob clinician c1", 404),
        ("bob patient c1", 404),
        ("ann admin c1", 403),
        ("ann auditor c1", 403),
        ("pat representative c1", 403),
    ],
)
async def test_who_may_not_on_the_hub_may_not_here(
    connect: Connect, get: Get, path: str, who: str, status: int
) -> None:
    user, role, clinic = who.split()
    await get(path, status, user, role, clinic=clinic)


@pytest.mark.parametrize("who", [("abe", "assistant"), ("pat", "patient"), ("pat", "device")])
async def test_who_may_on_the_hub_may_here(connect: Connect, get: Get, who: tuple[str, str]) -> None:
    for path in PATHS[:-1]:
        await get(path, 200, *who)


async def test_a_device_that_is_not_there_looks_like_anothers(connect: Connect, get: Get) -> None:
    assert await get("/api/v1/devices/d9", 404) == await get(DEVICE, 404, "bob")
