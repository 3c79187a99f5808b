"""Who is believed about what the aids hold: the connection that carries them, over real sockets."""

import msgspec

from protocol.contract.base import Answer
from protocol.contract.devices import AttachAnswer, DeviceAnswer, DeviceQuery
from protocol.contract.fitting import Content
from protocol.contract.sessions import DeviceChanged, Done, ReportDevice
from tests.eventually import eventually
from tests.signaling.care import CLAIM, CONTENT, DIGEST, Connect, change
from tests.signaling.visit import Visit, images_of, refused, visit


def told(held: Content = CONTENT) -> ReportDevice:
    return ReportDevice(device="d1", cause="dead_man", right=images_of(held, CONTENT))


async def device(here: Visit) -> DeviceAnswer:
    return await here.call("GetDevice", DeviceQuery(device="d1"), DeviceAnswer)


async def test_a_phone_that_does_not_carry_the_aids_is_not_believed(connect: Connect) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    before = await device(here)
    other = await connect("pat", "patient", "device")
    assert refused(await other.ask("ReportDevice", told(), answer=Answer)).code == "not_attached"
    assert await device(here) == before
    assert isinstance(before.in_aid.right, msgspec.Struct)
    assert before.in_aid.right.ram != DIGEST


async def test_what_is_still_due_is_taken_before_attaching_when_nobody_carries_the_aids(connect: Connect) -> None:
    here = await visit(connect, live=False)
    await here.pat.stop()
    await eventually(lambda: any(not news.phone.online for news in here.fitter.of(DeviceChanged)))
    phone = await connect("pat", "patient", "device")
    assert isinstance(await phone.ask("ReportDevice", told(), answer=Done), Done)
    assert isinstance(await phone.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
    assert isinstance(await phone.ask("ReportDevice", told(), answer=Done), Done)
