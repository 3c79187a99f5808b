"""What the phone tells unasked: a server that takes another link for the phone is told again after attaching."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from clients.hub_client import HubClient
from clients.phone_driver import OfferRunner
from clients.phone_news import PhoneNews
from protocol.contract.base import Failure, Refusal
from protocol.contract.sessions import Done


@dataclass
class Hub:
    """Says what a test wants."""

    answer: Any
    asked: list[str] = field(default_factory=list)
    connection_id: str = "c-1"

    async def ask(self, method: str, _: object, *, answer: object) -> Any:
        self.asked.append(method)
        return Done() if answer is not Done or method != "ReportDevice" else self.answer


class Runner:
    """A phone whose wearer has stopped a session while the link was dead."""

    device = "d1"

    def __init__(self) -> None:
        self.reported: list[tuple[str, int]] = []
        self.record = SimpleNamespace(notices=[SimpleNamespace(cause="stop", fence=1)], consent=None)

    async def look(self) -> None: ...

    async def device_report(self, cause: str, fence: int) -> str:
        self.reported.append((cause, fence))
        return cause

    def told(self, notice: object) -> None:
        self.record.notices.remove(notice)


def refusal(code: str) -> Failure:
    error = Refusal(code=code, message="no")
    return Failure(error=error, errors=(error,))


async def test_what_another_link_is_in_the_way_of_is_kept_and_told_after_attaching() -> None:
    hub, runner = Hub(refusal("not_attached")), Runner()
    news = PhoneNews(cast(HubClient, hub), cast(OfferRunner, runner), lambda: "k-1")
    await news.tell()
    assert (hub.asked, len(runner.record.notices)) == (["ReportDevice"], 1)
    hub.answer = Done()
    await news.tell()
    assert (hub.asked[1:], runner.record.notices) == (["ReportDevice", "Stop"], [])
    assert runner.reported == [("stop", 1)] * 2


async def test_a_read_back_that_the_server_will_never_take_stands_in_the_way_of_nothing() -> None:
    hub, runner = Hub(refusal("wrong_digest")), Runner()
    await PhoneNews(cast(HubClient, hub), cast(OfferRunner, runner), lambda: "k-1").tell()
    assert (hub.asked, runner.record.notices) == (["ReportDevice", "Stop"], [])
