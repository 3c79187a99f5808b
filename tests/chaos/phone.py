"""A phone as a process of its own: journal and aids are files that outlive it, and all that it does is a history.

Everything of it is ``clients``; what is added is at the seams that it has for this. Read ``carry`` first.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET

from clients.hub_client import HubClient
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.virtual_aid.aid import AidChange
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.virtual_aid.store import AidStore
from clients.wearer import AgreeableWearer
from fitting.digest import ear_digest
from protocol.contract.base import EARS
from protocol.contract.devices import AttachAnswer, Offer, Report, Settled
from tests.chaos.history import HistoryFile
from tests.chaos.orders import DyingJournal, FaultyAid
from tests.chaos.patience import OPTIONS, RECONNECT
from tests.chaos.phone_events import offer_values

__all__ = ["main"]

TIME_SCALE: Final = 0.1
RETRY_S: Final = 0.1
_KINDS: Final = {"chunk": "chunk", "written": "side_commit", "restored": "restore", "rebooted": "reboot"}


class Diary:
    """Writes what the phone does into its history. ``key``: the delivery that its journal was about last."""

    def __init__(self, history: HistoryFile, device: str) -> None:
        self._history, self._device = history, device
        self.key: dict[str, Any] = {}

    def tell(self, f: str, /, **values: Any) -> None:
        """A fact."""
        self._history.write("ok", f, self._device, **values)

    def watch(self, what: str, /, **facts: Any) -> None:
        """What the phone's book tells: a save of its journal, a report on its way."""
        if what == "journal":
            self.key = {"epoch": facts["epoch"], "seq": facts["seq"]}
            self.tell("journal", **facts)
        elif what == "result_out":
            report: Report = facts["report"]
            code = None if report.code is UNSET else report.code
            ear = None if report.ear is UNSET else report.ear
            values = {"epoch": report.epoch, "seq": report.seq, "attempt": report.attempt, "n": report.n}
            self.tell("result_out", **values, ear=ear, state=report.state, code=code)

    def changed(self, change: AidChange) -> None:
        """An aid's memory has changed."""
        f = "side_commit" if change.what == "committed" else _KINDS[change.what]
        key = {} if f in {"restore", "reboot"} else self.key
        chunk = {"k": change.chunk} if f == "chunk" else {}
        digest = ear_digest(change.image)
        self.tell(f, ear=change.ear, memory=change.memory, digest=digest, **chunk, **key)

    def attached(self, answer: AttachAnswer) -> None:
        """The server has answered the hello."""
        values = {"epoch": answer.epoch, "from_seq": answer.from_seq, "gen": answer.generation}
        self.tell("welcome", **values, resume=answer.resume)

    def settled(self, message: Settled) -> None:
        """The server has the end of a delivery."""
        self.tell("settled_in", epoch=message.epoch, seq=message.seq)


class TellingPhone(Phone):
    """A phone that writes down when it says hello and what it is offered, before it does anything about it."""

    diary: Diary

    async def _attach(self) -> None:
        self.diary.tell("hello")
        await super()._attach()

    def _offered(self, offer: Offer) -> None:
        self.diary.tell("offer_in", **offer_values(offer))
        super()._offered(offer)


async def carry(given: argparse.Namespace) -> int:
    """Carry the aids until the process is ended."""
    with HistoryFile(given.events, given.device) as history, DyingJournal(given.journal, given.orders) as journal:
        diary = Diary(history, given.device)
        diary.tell("boot")
        FaultyAid.orders = given.orders
        aids = [
            FaultyAid(
                ear,
                getattr(given, ear),
                faults=Faults(time_scale=TIME_SCALE),
                store=AidStore(given.aids, ear, getattr(given, ear)),
                on_change=diary.changed,
            )
            for ear in EARS
        ]
        wearer = AgreeableWearer()
        runner = OfferRunner(VirtualPair(*aids), journal, device=given.device, wearer=wearer, watch=diary.watch)
        entry = runner.record.in_flight
        if entry is not None:
            diary.key = {"epoch": entry.offer.epoch, "seq": entry.offer.seq}
        phone = await _connected(given, runner, diary)
        await phone.run()
    return 1


async def _connected(given: argparse.Namespace, runner: OfferRunner, diary: Diary) -> TellingPhone:
    """A first connect is not tried again by a client, so there is a new client for each try."""
    while True:
        hub = HubClient(
            f"{given.url}/hub", token=given.token, protocol=given.protocol, reconnect=RECONNECT, options=OPTIONS
        )
        phone = TellingPhone(hub, runner, on_settled=diary.settled, on_attached=diary.attached)
        phone.diary = diary
        try:
            await hub.start()
        except ConnectionError:
            await asyncio.sleep(RETRY_S)
        else:
            return phone


def main() -> int:
    """Run the phone."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.phone")
    for name in ("url", "token", "device", "protocol", *EARS):
        parser.add_argument(f"--{name}", required=True)
    for name in ("journal", "aids", "events", "orders"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    return asyncio.run(carry(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
