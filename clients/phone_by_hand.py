"""A phone with virtual aids as a command, for a developer's hands and for harnesses that kill it.

``python -m clients.phone`` carries the aids until it is interrupted. With ``--journal`` and ``--aids`` phone and aids
go on where they were after any death. SIGUSR1 is the wearer's Undo, SIGUSR2 Stop. Read ``run_phone`` first.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from clients.call_by_hand import VisitByHand, add_visit_options
from clients.command import connection_parser, run, say
from clients.file_journal import FileJournal
from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from clients.journal import Journal, MemoryJournal
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.phone_events import EventLog, Tripwire, parse_kill
from clients.phone_faults import FaultSpec, parse_fault
from clients.phone_limits import PhoneLimits
from clients.phone_session import SessionLimits
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.virtual_aid.store import AidStore
from clients.wearer import AgreeableWearer, KeepAnswer, NobodyThere
from fitting.capability import SHEETS
from protocol.contract.base import EARS, Ear

__all__ = ["run_phone"]

KILL: Final = "AURICLE_TEST_KILL_PHONE"


def run_phone(argv: Sequence[str] | None = None) -> int:
    """Carry one or two virtual aids of a registered device until interrupted."""
    parser = _parser()
    given = parser.parse_args(argv)
    if not (given.right or given.left):
        parser.error("at least one of --right and --left is needed")
    return run(_phone(given))


def _parser() -> argparse.ArgumentParser:
    parser = connection_parser(
        "clients.phone", "A phone with virtual aids; its token has the roles patient and device."
    )
    parser.add_argument("--right", metavar="SERIAL", help="serial of the right aid, as registered")
    parser.add_argument("--left", metavar="SERIAL", help="serial of the left aid, as registered")
    parser.add_argument("--model", default="ref10", choices=sorted(SHEETS), help="(default %(default)s)")
    parser.add_argument("--firmware", default="2.3.1", help="as registered (default %(default)s)")
    kept = parser.add_argument_group("what outlives the process")
    kept.add_argument("--journal", metavar="FILE", type=Path, help="the phone's journal; without it, in memory")
    kept.add_argument("--aids", metavar="DIR", type=Path, help="the memories of the aids; without it, in memory")
    kept.add_argument("--lose-ram", action="store_true", help="the aids have restarted while the phone was away")
    wearer = parser.add_argument_group("the wearer")
    wearer.add_argument("--auto-consent", choices=("yes", "no"), default="yes", help="(default %(default)s)")
    wearer.add_argument("--loudness", type=int, default=4, choices=range(8), help="1 to 7, 0 for silence (default 4)")
    wearer.add_argument("--install", choices=("yes", "no", "never"), default="yes", help="(default %(default)s)")
    wearer.add_argument("--keep", choices=("yes", "no"), default="yes", help="(default %(default)s)")
    wearer.add_argument("--dead-man-s", type=float, default=30.0, help="(default %(default)g)")
    faults = parser.add_argument_group("faults")
    faults.add_argument(
        "--fault", metavar="[EAR:]KIND@N", type=_fault, action="append", default=[], help=FaultSpec.HELP
    )
    faults.add_argument(
        "--lie-readback", metavar="N", type=int, nargs="?", const=1, default=0, help="readings that lie"
    )
    faults.add_argument("--write-ms", metavar="MS", type=int, help="how long a write to RAM takes (sheet: 400)")
    add_visit_options(parser)
    parser.add_argument("--events", metavar="FILE", help="every step as a line of JSON, - for standard output")
    return parser


def _fault(text: str) -> FaultSpec:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def _phone(given: argparse.Namespace) -> int:
    with ExitStack() as open_files:
        log = _events(given, open_files)
        journal: Journal = MemoryJournal()
        if given.journal is not None:
            journal = open_files.enter_context(FileJournal(given.journal))
        pair = _pair(given, log)
        log.write("boot")
        runner = OfferRunner(
            pair,
            journal,
            device=given.device,
            wearer=_wearer(given),
            limits=PhoneLimits(session=SessionLimits(dead_man_s=given.dead_man_s)),
            watch=log,
        )
        # A phone that has just started with no server in reach has aids to see to all the same.
        patience = ReconnectPolicy(from_start=True)
        hub = HubClient(
            f"{given.url}/hub",
            token=given.token,
            protocol=given.protocol,
            transport=given.transport,
            reconnect=patience,
        )
        phone = Phone(hub, runner, on_settled=lambda _: _tell(given, pair))
        visit = VisitByHand(hub, given, leads=False, tone_hz=660) if given.visit else None
        async with hub, asyncio.TaskGroup() as tasks:
            _listen_to_signals(phone, tasks)
            if visit is not None:
                tasks.create_task(_meet(hub, visit))
            timed = [tasks.create_task(fault.strike_later(pair)) for fault in given.fault if fault.is_timed]
            _tell(given, pair)
            try:
                await phone.run()
            finally:
                for each in timed:
                    each.cancel()
    return 1


async def _meet(hub: HubClient, visit: VisitByHand) -> None:
    """The phone goes on to carry the aids, whatever becomes of a visit."""
    try:
        await hub.connected()
        await visit.run()
    except (HubCallError, ConnectionError, TimeoutError) as error:
        say(f"the visit: {error}")


def _events(given: argparse.Namespace, open_files: ExitStack) -> EventLog:
    file = -1
    if given.events == "-":
        file = sys.stdout.fileno()
    elif given.events is not None:
        file = os.open(given.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        open_files.callback(os.close, file)
    kill = os.environ.get(KILL, "")
    wire = Tripwire(*parse_kill(kill)) if kill else None
    return EventLog(file, device=given.device, process=f"phone-{os.getpid()}", wire=wire)


def _pair(given: argparse.Namespace, log: EventLog) -> VirtualPair:
    serials: dict[Ear, str | None] = {"right": given.right, "left": given.left}
    if given.aids is not None:
        given.aids.mkdir(parents=True, exist_ok=True)
    aids = [_aid(given, log, ear, serial) for ear, serial in serials.items() if serial]
    if given.lose_ram:
        for aid in aids:
            aid.reboot()
    return VirtualPair(*aids)


def _aid(given: argparse.Namespace, log: EventLog, ear: Ear, serial: str) -> VirtualAid:
    scale = 1.0 if given.write_ms is None else given.write_ms / SHEETS[given.model].write_trial_ms
    faults = Faults(time_scale=scale, lie_readback=given.lie_readback)
    for fault in given.fault:
        if not fault.is_timed and fault.ear in (None, ear):
            faults = replace(faults, **fault.switches())
    store = None if given.aids is None else AidStore(given.aids, ear, serial)
    return VirtualAid(ear, serial, given.model, given.firmware, faults=faults, store=store, on_change=log.touched)


def _wearer(given: argparse.Namespace) -> AgreeableWearer:
    wearer = _ByHand(
        consents=given.auto_consent == "yes",
        loudness=given.loudness,
        installs=given.install == "yes",
        keeps=KeepAnswer(keep=given.keep == "yes"),
    )
    wearer.installs_ever = given.install != "never"
    return wearer


class _ByHand(AgreeableWearer):
    """Says what the command line says; 0 is silence about loudness."""

    installs_ever = True

    async def loudness(self) -> int:
        return self.says_loudness or await NobodyThere().loudness()

    async def install(self, offer: Any) -> bool:
        return self.installs if self.installs_ever else await NobodyThere().install(offer)


def _listen_to_signals(phone: Phone, tasks: asyncio.TaskGroup) -> None:
    words: dict[str, Callable[[], Coroutine[Any, Any, bool]]] = {"SIGUSR1": phone.undo, "SIGUSR2": phone.stop}
    loop = asyncio.get_running_loop()
    for name, word in words.items():
        if hasattr(signal, name):
            loop.add_signal_handler(getattr(signal, name), partial(_say_word, tasks, word))


def _say_word(tasks: asyncio.TaskGroup, word: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    tasks.create_task(word())


def _tell(given: argparse.Namespace, pair: VirtualPair) -> None:
    if given.events == "-":
        return
    aids = (pair.aid(ear) for ear in EARS if ear in pair.ears)
    held = ", ".join(f"{aid.ear} {aid.read_digest('ram') if aid.connected else 'away'}" for aid in aids)
    say(f"in the aids: {held}")
