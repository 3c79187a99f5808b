"""Microsoft's JavaScript client as fitting software: a real gain change to the Python phone, heard by the meter."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from clients.hub_client import HubClient
from clients.journal import MemoryJournal
from clients.meter import measure_gain_db
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS
from tests.e2e.client import Client, Combination
from tests.e2e.node_client import NodeDriver
from tests.running import Server

BAND = 3  # 1000 Hz on the ten bands of ref10
FAST = Faults(time_scale=0.05)


@dataclass(frozen=True, slots=True)
class Patient:
    """A device of its own for one test, with the phone that carries it."""

    device: str
    pair: VirtualPair
    token: str


@pytest.fixture
async def patient(
    request: pytest.FixtureRequest, combination: Combination, shared_server: Server
) -> AsyncIterator[Patient]:
    name = f"{request.node.originalname}-{combination}"
    clinician = await shared_server.token("ann", "clinician")
    aids: dict[str, object] = {ear: {"serial": f"{ear}-1", "model": "ref10", "firmware": "2.3.1"} for ear in EARS}
    body = {"device": name, "patient": "pat", "assignments": ["ann"]} | aids
    await shared_server.register(clinician, body)
    pair = VirtualPair(*(VirtualAid(ear, f"{ear}-1", "ref10", "2.3.1", faults=FAST) for ear in EARS))
    token = await shared_server.token("pat", "patient", "device")
    # The phone speaks the other format, so that every value crosses from one to the other.
    other = "messagepack" if combination.protocol == "json" else "json"
    hub = HubClient(f"{shared_server.url}/hub", token=token, protocol=other)  # type: ignore[arg-type]  # one of two literals
    runner = OfferRunner(pair, MemoryJournal(), device=name, wearer=AgreeableWearer())
    phone = Phone(hub, runner)
    async with hub, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(phone.run())
        yield Patient(name, pair, clinician)
        running.cancel()


async def acquire(node: NodeDriver, patient: Patient) -> dict[str, Any]:
    """A lease with a head: the phone has attached and was read back."""
    async with asyncio.timeout(45):
        while True:
            lease = await node.invoke("fitter", "AcquireLease", {"device": patient.device, "session": "s1"})
            if "head" in lease and lease["phone"]["online"]:
                live = {"device": patient.device, "mode": "advanced", "fence": lease["fence"], "reason": "a visit"}
                assert (await node.invoke("fitter", "SetMode", live))["state"] == "live"
                return dict(lease)


def louder(lease: dict[str, Any], patient: Patient, ddb: int, key: str) -> dict[str, Any]:
    paths = ("g50Ddb", "g65Ddb", "g80Ddb")
    ops = [
        {"op": "add", "ear": ear, "path": path, "band": BAND, "value": ddb}
        for ear in ("right", "left")
        for path in paths
    ]
    return {
        "device": patient.device,
        "kind": "volatile",
        "mode": "advanced",
        "fence": lease["fence"],
        "base": {"revision": lease["head"]["revision"]},
        "patch": {"slot": 1, "ops": ops},
        "reason": "speech is too soft",
        "idempotencyKey": key,
    }


def gain_db(patient: Patient, ear: str) -> float:
    aid = patient.pair.aid(ear)  # type: ignore[arg-type]  # one of two literals
    return measure_gain_db(aid.process, 1_000, 65, 24_000).gain_db


async def test_a_gain_change_reaches_both_aids_and_can_be_heard(
    client: Client, node: NodeDriver, patient: Patient
) -> None:
    await client.connect("fitter", token=patient.token, url=f"{client.server.url}/hub")
    for method in ("DeliveryChanged", "InAidChanged"):
        await node.on("fitter", method)
    assert (await node.invoke("fitter", "Hello", {"contract": 1, "app": "e2e"}))["contract"] == 1
    lease = await acquire(node, patient)
    before_db = {ear: gain_db(patient, ear) for ear in EARS}

    refused = await node.invoke("fitter", "Submit", louder(lease, patient, 60, "too-much"))
    assert refused["ok"] is False
    assert (refused["error"]["rule"], refused["error"]["value"], refused["error"]["limit"]) == ("K7", 60, 30)

    accepted = await node.invoke("fitter", "Submit", louder(lease, patient, 20, "k1"))
    assert accepted["ok"] is True
    assert await node.invoke("fitter", "Submit", louder(lease, patient, 20, "k1")) == accepted
    states: list[tuple[str, str | None]] = []
    while not states or states[-1] != ("confirmed", None):
        [change] = await node.push("fitter", "DeliveryChanged")
        assert (change["seq"], change["epoch"]) == (accepted["seq"], accepted["epoch"])
        states.append((change["state"], change.get("ear")))
    assert [ear for state, ear in states if state == "confirmed"] == ["right", "left", None]
    # What the phone found in the aids when it attached may have been on its way when the fitter began to listen.
    in_aid: dict[str, str] = {}
    while in_aid != {ear: accepted["digests"][ear] for ear in EARS}:
        [truth] = await node.push("fitter", "InAidChanged")
        in_aid[truth["ear"]] = truth["ram"]

    for ear in EARS:
        assert patient.pair.aid(ear).read_digest("ram") == accepted["digests"][ear]
        assert gain_db(patient, ear) - before_db[ear] == pytest.approx(2.0, abs=0.5)
    device = await node.invoke("fitter", "GetDevice", {"device": patient.device})
    assert device["inAid"]["right"]["ram"] == accepted["digests"]["right"]
    assert device["inAid"]["right"]["nvm"] == lease["head"]["digests"]["right"]


async def test_errors_of_the_call_carry_a_code(client: Client, node: NodeDriver, patient: Patient) -> None:
    await client.connect("fitter", token=patient.token, url=f"{client.server.url}/hub")
    lease = await acquire(node, patient)
    wrong = louder(lease, patient, 20, "k1") | {"fence": "seventeen"}
    for method, payload, code in (
        ("Submit", wrong, r"[bad_argument]"),
        ("GetDevice", {"device": "somebody-elses"}, "[not_found]"),
        ("GetDevice", {}, "[bad_argument]"),
    ):
        with pytest.raises(Exception, match="HubException") as refused:
            await node.invoke("fitter", method, payload)
        assert code in str(refused.value)
