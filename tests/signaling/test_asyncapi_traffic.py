"""What goes over the wire fits the AsyncAPI document: one visit by hand, every payload looked at."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # it ships no types

from protocol.contract.chat import Attachment, MarkRead, SendMessage, SendText, SetTyping
from protocol.contract.devices import AcquireLease, DeliveryQuery, DeviceQuery, LeaseAnswer, Offer
from protocol.contract.pushes import ANSWERS, PUSHES
from protocol.contract.session import Hello
from protocol.contract.sessions import ConsentAnswer, SetMode
from protocol.contract.visits import AdmitToVisit, JoinVisit, LeaveVisit
from signaling.asyncapi import asyncapi
from signaling.config import Config
from signaling.hubs.care_hub import CareHub
from signaling.server import drain
from tests.signaling.by_hand import Socket, socket
from tests.signaling.by_hand import call as framed
from tests.signaling.care import CLAIM, Connect, change, louder, report
from tests.signaling.conftest import House
from tests.signaling.visiting import scheduled

Json = dict[str, Any]
DOCUMENT: Json = json.loads(json.dumps(asyncapi(CareHub, PUSHES, ANSWERS, url="ws://127.0.0.1:8080", version="1")))


def fits(message: str, arguments: list[Any]) -> bool:
    """Whether the arguments of a hub message are the payload of that message of the document."""
    payload = DOCUMENT["components"]["messages"][message].get("payload")
    if payload is None or len(arguments) != 1:
        return payload is None and not arguments
    schema = {**payload, "components": DOCUMENT["components"]}
    return bool(Draft7Validator(schema).is_valid(arguments[0]))


@dataclass
class Spoken:
    """One end of a connection; whatever it says and hears must be in the document."""

    socket: Socket
    operations: set[str] = field(default_factory=set)

    async def call(self, target: str, *payload: msgspec.Struct) -> Json:
        arguments = json.loads(msgspec.json.encode(payload))
        assert fits(target, arguments), target
        await self.socket.send(framed(target, *arguments, id_="1"))
        while (message := (await self.socket.messages(1))[0])["type"] != 3:
            self.heard(message)
        replies = [ref["$ref"].rsplit("/", 1)[1] for ref in DOCUMENT["operations"][target]["reply"]["messages"]]
        fitting = [reply for reply in replies if fits(reply, [message["result"]])]
        assert len(fitting) == 1, (target, replies, message)
        self.operations.add(target)
        result: Json = message["result"]
        return result

    async def push(self, target: str) -> Json:
        """Wait for a push."""
        while True:
            (message,) = await self.socket.messages(1)
            self.heard(message)
            if message["target"] == target:
                payload: Json = message["arguments"][0]
                return payload

    async def answer(self, target: str, answer: msgspec.Struct) -> None:
        """Wait for a question and answer it."""
        while (message := (await self.socket.messages(1))[0])["target"] != target:
            self.heard(message)
        self.heard(message)
        result = json.loads(msgspec.json.encode(answer))
        [reply] = DOCUMENT["operations"][target]["reply"]["messages"]
        assert fits(reply["$ref"].rsplit("/", 1)[1], [result])
        completion = {"type": 3, "invocationId": message["invocationId"], "result": result}
        await self.socket.send(json.dumps(completion).encode() + b"\x1e")

    def heard(self, message: Json) -> None:
        assert DOCUMENT["operations"][message["target"]]["action"] == "send"
        assert fits(message["target"], message["arguments"]), message
        self.operations.add(message["target"])


async def test_every_payload_of_a_visit_fits_its_message(house: House, connect: Connect) -> None:
    fitter = Spoken(await socket(house, "ann", "clinician", hub="/hub"))
    phone = Spoken(await socket(house, "pat", "patient", "device", hub="/hub"))
    await phone.call("AttachDevice", CLAIM)
    await fitter.call("Hello", Hello(contract=1))
    await fitter.call("WhoAmI")
    leased = msgspec.convert(await fitter.call("AcquireLease", AcquireLease(device="d1", session="s1")), LeaseAnswer)
    going_live = asyncio.create_task(fitter.call("SetMode", SetMode(device="d1", mode="advanced", reason="r", fence=1)))
    await phone.answer("ConsentAsked", ConsentAnswer(accepted=True))
    assert (await going_live)["state"] == "live"
    await fitter.call("Check", change(leased))
    assert (await fitter.call("Submit", change(leased, *louder(80), key="loud")))["ok"] is False
    accepted = await fitter.call("Submit", change(leased))
    assert accepted["ok"] is True

    offer = msgspec.convert(await phone.push("Offer"), Offer)
    await phone.call("Report", report(offer, 1, "received"))
    await phone.call("Report", report(offer, 2, "writing", ear="right"))
    proof = {"ear": "right", "source": "ram", "digest": offer.body.expect.right}
    await phone.call("Report", report(offer, 3, "confirmed", **proof))
    await fitter.push("InAidChanged")
    await fitter.call("GetDevice", DeviceQuery(device="d1"))
    await fitter.call("GetDelivery", DeliveryQuery(device="d1", epoch=accepted["epoch"], seq=accepted["seq"]))

    house.wall.now_s += 3_541
    house.sweep()
    await fitter.push("SessionExpiring")
    await drain(house.parts, Config(drain_s=0.2))
    await fitter.push("Draining")

    assert fitter.operations | phone.operations >= {
        *("AcquireLease", "AttachDevice", "Check", "GetDelivery", "GetDevice", "Hello", "Report", "Submit", "WhoAmI"),
        *("SetMode", "ConsentAsked", "ModeChanged", "SessionAlive"),
        *("DeliveryChanged", "Draining", "InAidChanged", "Offer", "SessionExpiring", "Settled"),
    }


async def test_every_payload_of_people_who_meet_fits_its_message(house: House, connect: Connect) -> None:
    await scheduled(house)
    ann = Spoken(await socket(house, "ann", "clinician", hub="/hub"))
    pat = Spoken(await socket(house, "pat", "patient", hub="/hub"))
    for one in (ann, pat):
        await one.call("JoinVisit", JoinVisit(visit="v1", live_text=True))
    await ann.call("AdmitToVisit", AdmitToVisit(visit="v1", participant="p2"))
    photo = Attachment(ref="blob/1", name="earmould.png", media_type="image/png", size_bytes=9)
    await pat.call("SendMessage", SendMessage(visit="v1", client_id="c1", text="Hello", attachments=(photo,)))
    await ann.call("MarkRead", MarkRead(visit="v1", n=1))
    await ann.call("SetTyping", SetTyping(visit="v1", typing=True))
    await ann.call("SendText", SendText(visit="v1", n=1, text="Good m"))
    await pat.push("LiveText")
    joined = await ann.call("JoinVisit", JoinVisit(visit="v1"))
    assert joined["messages"][0]["attachments"]
    await pat.call("LeaveVisit", LeaveVisit(visit="v1"))
    assert ann.operations | pat.operations >= {
        *("JoinVisit", "AdmitToVisit", "SendMessage", "MarkRead", "SetTyping", "SendText", "LeaveVisit"),
        *("ParticipantChanged", "VisitChanged", "MessageReceived", "MessagesRead", "Typing", "LiveText"),
    }


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ("Hello", {}),
        ("Hello", {"contract": -1}),
        ("AcquireLease", {"device": "d 1", "session": "s"}),
        ("SubmitAnswer", {"ok": False, "error": {"code": "unsafe", "message": "no"}}),
        ("Settled", {"device": "d1", "epoch": "e"}),
    ],
)
def test_what_does_not_fit_is_told_apart(message: str, payload: Json) -> None:
    assert not fits(message, [payload])
    assert not fits("WhoAmI", [payload])
