"""What happens while the wearer gets ready, or while the server is told, is looked at before the first byte."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import UNSET

from clients.phone_session import SessionState
from clients.virtual_aid.faults import Faults
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS
from protocol.contract.devices import Report
from tests.clients.live_bench import alive, holds_base, settle
from tests.clients.offers import make_offer, make_pair, slot_with, told
from tests.clients.phone_bench import Clock, Server, make_runner


class Meanwhile(AgreeableWearer):
    """Something happens before they say that they are ready."""

    def __init__(self, happens: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._happens = happens

    async def ready(self) -> bool:
        await self._happens()
        return True


@pytest.mark.parametrize("state", [SessionState.NONE, SessionState.STEADY, SessionState.TRIAL])
async def test_a_later_session_that_begins_during_the_question_is_not_written_for_by_the_earlier(
    state: SessionState,
) -> None:
    pair, server, seq = make_pair(), Server(), 1

    async def later() -> None:
        runner.alive(alive(fence=2))

    runner = make_runner(pair, wearer=Meanwhile(later), clock=Clock())
    if state is not SessionState.NONE:
        await runner.run_offer(make_offer(pair), Server().report)
        settle(runner, 1)
        seq = 2
    if state is SessionState.STEADY:
        assert await runner.revert("undo")
    writes = [pair.aid(ear).writes_completed for ear in EARS]
    await runner.run_offer(make_offer(pair, seq=seq, gain_ddb=210, mpo_ddb=1_010), server.report)
    assert told(server.facts()) == ["received", "rejected E_FENCE"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == writes
    await runner.work(server.report)
    assert holds_base(pair)
    assert runner.record.session.state is SessionState.NONE


async def test_a_later_session_that_begins_while_the_server_is_told_is_not_written_for_by_the_earlier() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, clock=Clock())

    async def report(sent: Report) -> None:
        await server.report(sent)
        if sent.state == "received":
            runner.alive(alive(fence=2))

    await runner.run_offer(make_offer(pair), report)
    assert told(server.facts()) == ["received", "rejected E_FENCE"]
    assert holds_base(pair)
    assert runner.record.session.state is SessionState.NONE


async def test_a_yes_after_the_time_of_the_offer_comes_too_late() -> None:
    pair, server, clock = make_pair(), Server(), Clock()

    async def time_goes_by() -> None:
        clock.now_s += 40.0

    runner = make_runner(pair, wearer=Meanwhile(time_goes_by), clock=clock)
    await runner.run_offer(make_offer(pair, mpo_ddb=1_050), server.report)
    assert told(server.facts()) == ["received", "rejected E_EXPIRED"]
    assert holds_base(pair)


async def test_an_aid_that_changes_during_the_question_is_looked_at_again() -> None:
    pair, server = make_pair(), Server()

    async def another_app() -> None:
        pair.aid("left").write_by_another_app((slot_with(300),))

    runner = make_runner(pair, wearer=Meanwhile(another_app))
    await runner.run_offer(make_offer(pair, mpo_ddb=1_050), server.report)
    assert told(server.facts()) == ["received", "right rejected E_PARTIAL", "left rejected E_BASE"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    assert runner.record.session.state is SessionState.NONE


async def test_an_aid_that_is_busy_after_the_question_is_waited_for() -> None:
    pair, server = make_pair(), Server()

    async def a_call() -> None:
        pair.aid("left").faults = Faults(busy=True)

    runner = make_runner(pair, wearer=Meanwhile(a_call))
    await runner.run_offer(make_offer(pair, mpo_ddb=1_050), server.report)
    assert told(server.facts()) == ["received", "received E_BUSY"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


@pytest.mark.parametrize("answer", [-1, 0, 8])
async def test_a_loudness_that_is_not_on_the_scale_is_silence(answer: int) -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, wearer=AgreeableWearer(loudness=answer))
    await runner.run_offer(make_offer(pair, mpo_ddb=1_050), server.report)
    assert told(server.facts())[-2:] == ["right rolled_back E_LOUD", "left rolled_back E_LOUD"]
    assert [report.loudness for report in server.reports[-2:]] == [UNSET, UNSET]
    assert holds_base(pair)
