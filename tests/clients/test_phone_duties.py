"""What a phone says of itself while nothing is asked of it, and what it does as soon as its wearer has answered."""

import asyncio
from typing import Any

from clients.phone_driver import OfferRunner, SendReport
from clients.phone_duties import Duties, DutyTimes
from clients.phone_news import PhoneNews
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS
from protocol.contract.devices import Report
from protocol.contract.sessions import Done, Heartbeat
from tests.clients.offers import make_offer, make_pair, told
from tests.clients.phone_bench import Server, digests, expected, make_runner
from tests.eventually import eventually


class Hub:
    """A hub that takes heartbeats and nothing else."""

    def __init__(self) -> None:
        self.heard: list[Heartbeat] = []
        self.connection_id = ""

    async def ask(self, method: str, heartbeat: Heartbeat, *, answer: type[Done]) -> Done:
        assert method == "Heartbeat"
        self.heard.append(heartbeat)
        return answer()


async def no_report(_: object) -> None:
    raise AssertionError("nothing is reported")


def make_duties(hub: Any, runner: OfferRunner, report: SendReport) -> Duties:
    return Duties(
        hub,
        runner,
        PhoneNews(hub, runner, lambda: "key"),
        times=DutyTimes(),
        report=report,
        on_failed=lambda: None,
        uniform=lambda low, _: low,
        sleep=asyncio.sleep,
    )


async def test_a_heartbeat_names_the_aids_that_are_out_of_reach() -> None:
    hub: Any = Hub()
    pair = make_pair()
    duties = make_duties(hub, make_runner(pair), no_report)
    await duties.beat()
    pair.aid("left").connected = False
    await duties.beat()
    pair.aid("left").connected = True
    await duties.beat()
    assert [beat.away for beat in hub.heard] == [(), ("left",), ()]


async def test_an_installation_that_has_begun_is_not_given_up_because_nobody_is_asked_about_it_any_more() -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = make_runner(pair, wearer=AgreeableWearer())

    async def report(told: Report) -> None:
        # Something else wants to be looked at in the meantime.
        duties.look_again()
        await asyncio.sleep(0.01)
        await server.report(told)

    duties = make_duties(Hub(), runner, report)
    package = make_offer(pair, mode="standard", kind="persist", gain_ddb=60)
    await runner.run_offer(package, server.report)
    running = asyncio.create_task(duties.run())
    await eventually(lambda: runner.record.reports_of(package.epoch, package.seq) is not None)
    await eventually(lambda: told(server.facts())[-1] == "left active")
    running.cancel()
    steps = ("awaiting_install", "writing", "confirmed", "committing", "active")
    assert told(server.facts()) == ["received", *(f"{ear} {step}" for step in steps for ear in EARS)]
    assert [pair.aid(ear).writes_completed for ear in pair.ears] == [1, 1]
    assert digests(pair) == {ear: expected(package, ear) for ear in pair.ears}
