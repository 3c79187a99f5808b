"""Whose push token counts: that of the phone which was bound last."""

from dataclasses import dataclass

import pytest

from clients.hub_client import HubClient
from fitting.push import PushTarget
from protocol.contract.base import Failure
from protocol.contract.packages import RegisterPush
from protocol.contract.sessions import Done
from signaling.hubs.care_hub import CareHub
from signaling.stores.push_tokens import MemoryPushTokens
from tests.signaling.care import Connect
from tests.signaling.conftest import House
from tests.signaling.rest.desk import ask

OLD, NEW = "old-phone", "new-phone"


@dataclass
class Pocket:
    """The patient's phones, which may all say that they carry his aids."""

    house: House
    pat: HubClient

    async def bind(self, phone: str | None) -> None:
        made = await ask(self.house, "POST /devices/d1/bind-codes", {})
        body = {"code": made.body["code"]} | ({} if phone is None else {"phone": phone})
        assert (await ask(self.house, "POST /bind", body, by="pat patient device")).status == 200

    async def register(self, token: str, **more: str) -> Done | Failure:
        request = RegisterPush(device="d1", platform="fcm", token=token, **more)
        return await self.pat.ask("RegisterPush", request, answer=Done)

    async def known(self) -> PushTarget | None:
        care = self.house.parts.hubs[0].hub
        assert isinstance(care, CareHub)
        return await care._packages._tokens.get("d1")


@pytest.fixture
async def pocket(house: House, connect: Connect) -> Pocket:
    return Pocket(house, await connect("pat", "patient", "device"))


async def test_what_is_known_already_is_not_written_again(pocket: Pocket, monkeypatch: pytest.MonkeyPatch) -> None:
    really, written = MemoryPushTokens.put, []

    async def put(store: MemoryPushTokens, device: str, target: PushTarget, now_s: float) -> None:
        written.append(target.token)
        await really(store, device, target, now_s)

    monkeypatch.setattr(MemoryPushTokens, "put", put)
    for token in ("one", "one", "two", "two", "one"):
        await pocket.register(token)
    assert written == ["one", "two", "one"]


async def test_any_phone_of_the_patient_is_taken_until_one_is_bound_by_its_name(pocket: Pocket) -> None:
    for binds in (False, True):
        if binds:
            await pocket.bind(None)
        for token, phone in (("one", {}), ("two", {"phone": OLD})):
            assert isinstance(await pocket.register(token, **phone), Done)
            assert await pocket.known() == PushTarget("fcm", token)


async def test_the_phone_that_was_bound_last_owns_the_pushes(pocket: Pocket) -> None:
    await pocket.bind(OLD)
    assert isinstance(await pocket.register("old", phone=OLD), Done)
    await pocket.bind(NEW)
    assert isinstance(await pocket.register("new", phone=NEW), Done)
    for phone in ({"phone": OLD}, {}):
        refused = await pocket.register("again", **phone)
        assert isinstance(refused, Failure)
        assert refused.error.code == "not_bound"
    assert await pocket.known() == PushTarget("fcm", "new")


async def test_the_phone_before_is_not_woken_once_another_is_bound(pocket: Pocket) -> None:
    await pocket.bind(OLD)
    await pocket.register("old", phone=OLD)
    await pocket.bind(NEW)
    assert await pocket.known() is None
