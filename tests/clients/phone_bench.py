"""A phone on its aids and a server that can be cut off, for the tests of delivery."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from clients.journal import Journal, JournalRecord, MemoryJournal
from clients.phone_book import Watch, watch_nothing
from clients.phone_driver import OfferRunner
from clients.phone_limits import PhoneLimits
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer, Wearer
from fitting.delivery import step
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DeliveryState, Offer, Report
from protocol.contract.fitting import DeliveryKind
from tests.clients.offers import (
    DEVICE,
    attach_answer,
)

HAPPY = [
    "received",
    "right writing",
    "left writing",
    "right confirmed",
    "left confirmed",
]


@dataclass
class Server:
    """Takes reports, and is out of reach from the ``fails_at``-th call on, until ``heal``."""

    fails_at: int | None = None
    error: type[Exception] = ConnectionError
    calls: int = 0
    kind: DeliveryKind = "volatile"
    reports: list[Report] = field(default_factory=list)

    async def report(self, report: Report) -> None:
        if self.calls == self.fails_at:
            raise self.error("cut")
        self.calls += 1
        self.reports.append(report)

    def heal(self) -> None:
        self.fails_at = None

    def facts(self) -> list[Report]:
        """Each report once, by its number: what a server that drops repeats has recorded."""
        facts = list({report.n: report for report in self.reports}.values())
        check_legal(facts, self.kind)
        return facts


def check_legal(reports: list[Report], kind: DeliveryKind = "volatile") -> None:
    """Every report is one that the server's own state table takes."""
    states: dict[Ear, DeliveryState] = dict.fromkeys(EARS, "offered")
    for report in reports:
        for ear in EARS if report.ear is UNSET else (report.ear,):
            after = step(kind, states[ear], report.state)
            assert after is not None, f"{report.state} cannot follow {states[ear]}"
            states[ear] = after


def make_runner(
    pair: VirtualPair,
    journal: Journal | None = None,
    *,
    wearer: Wearer | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    watch: Watch = watch_nothing,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    **limits: Any,
) -> OfferRunner:
    """An attached phone whose wearer agrees to everything and was never asked for consent."""
    limits = {"require_consent": False, "rise_pause_s": 0.0, **limits}
    runner = OfferRunner(
        pair,
        journal or MemoryJournal(),
        device=DEVICE,
        limits=PhoneLimits(**limits),
        wearer=wearer or AgreeableWearer(),
        clock=clock,
        watch=watch,
        sleep=sleep,
    )
    if not runner.record.epoch:
        runner.attached(attach_answer())
    return runner


def digests(pair: VirtualPair) -> dict[Ear, str]:
    return {ear: pair.aid(ear).read_digest("ram") for ear in pair.ears}


def expected(offer: Offer, ear: Ear) -> str:
    digest = offer.body.expect.right if ear == "right" else offer.body.expect.left
    assert digest is not UNSET
    return digest


def check_once(pair: VirtualPair, offer: Offer, server: Server, before: dict[Ear, str]) -> None:
    """Both aids were written once and hold the target, or both hold what they held; the server knows which."""
    facts = server.facts()
    assert [report.n for report in facts] == list(range(1, len(facts) + 1))
    last = {ear: [report for report in facts if report.ear == ear][-1] for ear in pair.ears}
    held = digests(pair)
    if any(report.state == "confirmed" for report in last.values()):
        assert held == {ear: expected(offer, ear) for ear in pair.ears}
        assert {ear: report.digest for ear, report in last.items()} == held
        assert [pair.aid(ear).writes_completed for ear in pair.ears] == [1] * len(pair.ears)
        return
    assert held == before
    for report in last.values():
        assert report.code in {"E_BLE_DURING", "E_PARTIAL"}
        assert report.state == "rejected" or report.digest == before[_ear(report)]


def _ear(report: Report) -> Ear:
    assert report.ear is not UNSET
    return report.ear


class Clock:
    """Stands still until it is turned."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Killed(BaseException):
    """The phone's process is gone at this very moment."""


class FragileJournal(MemoryJournal):
    """Dies at its ``dies_at``-th save: before the record is kept, or just after."""

    def __init__(self, dies_at: int, *, kept: bool) -> None:
        super().__init__()
        self.dies_at, self.kept = dies_at, kept

    def save(self, record: JournalRecord) -> None:
        if self.saves == self.dies_at:
            self.dies_at = -1
            if self.kept:
                super().save(record)
            raise Killed
        super().save(record)
