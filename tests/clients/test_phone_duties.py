"""What a phone says of itself while nothing is asked of it."""

from typing import Any

from clients.phone_duties import Duties, DutyTimes
from clients.phone_news import PhoneNews
from protocol.contract.sessions import Done, Heartbeat
from tests.clients.offers import make_pair
from tests.clients.phone_bench import make_runner


class Hub:
    """A hub that takes heartbeats and nothing else."""

    def __init__(self) -> None:
        self.heard: list[Heartbeat] = []

    async def ask(self, method: str, heartbeat: Heartbeat, *, answer: type[Done]) -> Done:
        assert method == "Heartbeat"
        self.heard.append(heartbeat)
        return answer()


async def no_report(_: object) -> None:
    raise AssertionError("nothing is reported")


async def test_a_heartbeat_names_the_aids_that_are_out_of_reach() -> None:
    hub: Any = Hub()
    pair = make_pair()
    runner = make_runner(pair)
    duties = Duties(
        hub,
        runner,
        PhoneNews(hub, runner, lambda: "key"),
        times=DutyTimes(),
        report=no_report,
        on_failed=lambda: None,
        uniform=lambda low, _: low,
        sleep=no_report,
    )
    await duties.beat()
    pair.aid("left").connected = False
    await duties.beat()
    pair.aid("left").connected = True
    await duties.beat()
    assert [beat.away for beat in hub.heard] == [(), ("left",), ()]
