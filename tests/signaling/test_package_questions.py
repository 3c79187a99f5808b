"""What the wearers of installed packages are asked, and what they take back."""

from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, Offer
from protocol.contract.fitting import EarProgram
from protocol.contract.history import GetHistory, HistoryAnswer
from protocol.contract.packages import KeepAnswered, KeepAsked, PackageAnswered
from protocol.contract.sessions import Withdraw
from signaling.flows.phones import Phone
from signaling.hub import Caller
from tests.signaling.away import Away
from tests.signaling.care import CONTENT, FLAT, Connect
from tests.signaling.conftest import House
from tests.signaling.package_desk import DAY_S, Desk, desk, quieter
from tests.signaling.test_phones_of_two_pods import Carried, pod
from tests.signaling.visit import refused


@pytest.fixture
async def here(house: House, connect: Connect) -> AsyncIterator[Desk]:
    async with desk(house, connect) as found:
        yield found


async def asked(here: Desk) -> KeepAsked:
    return await here.phone.first(KeepAsked)


async def test_after_three_days_the_wearer_is_asked_and_the_professional_hears(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    await here.pass_s(3 * DAY_S - 1)
    assert here.phone.of(KeepAsked) == []
    await here.pass_s(1)
    question = await asked(here)
    assert (question.seq, question.revision_id) == (accepted.seq, accepted.revision_id)
    answer = await here.answer(accepted, keep=True, rating=4, words="speech is clearer")
    assert isinstance(answer, KeepAnswered), answer
    assert answer.seq is msgspec.UNSET
    told = await here.fitter.first(PackageAnswered)
    assert (told.seq, told.keep, told.rating, told.words) == (accepted.seq, True, 4, "speech is clearer")
    assert "clearer" not in here.house.log.getvalue()
    assert refused(await here.answer(accepted, keep=True)).code == "not_worn"


async def test_a_phone_that_sleeps_is_woken_once_and_asked_when_it_comes(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    await here.go()
    before = here.pushes()
    await here.pass_s(3 * DAY_S)
    await here.pass_s(DAY_S)
    assert here.pushes() == before + 1
    for _ in range(2):
        await here.come()
        assert (await asked(here)).seq == accepted.seq
    assert isinstance(await here.answer(accepted, keep=True), KeepAnswered)
    await here.come()
    await here.pass_s(DAY_S)
    assert here.phone.of(KeepAsked) == []


async def test_not_to_keep_it_brings_back_what_was_there_by_another_package(here: Desk) -> None:
    accepted = await here.deliver(quieter(80))
    answer = await here.answer(accepted, keep=False, rating=1, words="too quiet")
    assert isinstance(answer, KeepAnswered), answer
    offer = await here.phone.first(Offer, 1)
    assert (offer.seq, offer.mode) == (answer.seq, "standard")
    # However much louder that is: it was active before.
    assert isinstance(offer.body.right[0].program, EarProgram)
    assert offer.body.right[0].program == FLAT
    again = await here.answer(accepted, keep=False)
    assert isinstance(again, KeepAnswered)
    assert again.seq == answer.seq
    await here.report(offer, 1, "received")
    await here.install(offer, CONTENT)
    await here.pass_s(10 * DAY_S)
    assert here.phone.of(KeepAsked) == []
    history = await here.ann.ask("GetHistory", GetHistory(device="d1"), answer=HistoryAnswer)
    assert isinstance(history, HistoryAnswer)
    newest = history.revisions[0]
    assert (newest.origin, newest.author, newest.reason) == ("rollback", "pat", "taken back by its wearer")


async def test_the_wearer_takes_one_back_while_another_waits(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    waiting = await here.send(content=quieter(40))
    answer = await here.answer(accepted, keep=False)
    assert isinstance(answer, KeepAnswered), answer
    await here.phone.first(Withdraw)
    offers = here.phone.of(Offer)
    [offer] = [one for one in offers if one.seq == waiting.seq]
    await here.report(offer, 1, "superseded", ear="right")
    back = await here.phone.first(Offer, len(offers))
    assert (back.seq, back.body.right[0].program) == (answer.seq, FLAT)


async def test_what_was_never_a_package_cannot_be_taken_back(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    other = msgspec.structs.replace(accepted, seq=99)
    assert refused(await here.answer(other, keep=False)).code == "not_worn"
    other = msgspec.structs.replace(accepted, epoch="other")
    assert refused(await here.answer(other, keep=False)).code == "not_worn"
    await here.deliver(quieter(30))
    assert refused(await here.answer(accepted, keep=False)).code == "not_worn"
    assert isinstance(await here.answer(accepted, keep=True), Failure)
    assert isinstance(await here.come(), AttachAnswer)


async def test_a_question_that_comes_at_a_bad_time_is_asked_later(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    newer = await here.send(content=quieter(40))
    offer = await here.phone.first(Offer, 1)
    assert offer.seq == newer.seq
    await here.set_aside(offer)
    await here.pass_s(3 * DAY_S)
    assert here.phone.of(KeepAsked) == []
    await here.report(offer, 3, "declined", ear="right", code="E_DECLINED")
    await here.pass_s(DAY_S)
    assert (await asked(here)).seq == accepted.seq


async def test_a_phone_that_hangs_on_another_process_is_asked_there(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    await here.go()
    care: Any = here.house.parts.hubs[0].hub
    there, carried = pod(care._phones._backplane._bus), Carried()
    there.listen("d1", lambda: None)
    there.carry("d1", Phone(cast(Caller, carried), generation=1, settled=0, heard_s=0.0))
    await here.pass_s(3 * DAY_S)
    assert [one.seq for one in carried.heard if isinstance(one, KeepAsked)] == [accepted.seq]


async def test_a_question_that_cannot_be_read_keeps_no_phone_from_its_aids(here: Desk) -> None:
    await here.deliver(quieter(20))
    await here.pass_s(3 * DAY_S)
    await asked(here)
    care: Any = here.house.parts.hubs[0].hub
    care._packages._log = Away(care._log, fails={"delivery"})
    assert isinstance(await here.come(), AttachAnswer)
    assert here.phone.of(KeepAsked) == []
