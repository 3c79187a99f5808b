"""The fitter and the phone as commands, for a developer who wants to see them work against a server.

``python -m clients.phone`` carries virtual aids until it is interrupted; ``python -m clients.fitter`` reads a
device and changes one gain. Read ``run_fitter`` first.
"""

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from msgspec import UNSET

from clients.fitter import Change, Fitter
from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from clients.journal import MemoryJournal
from clients.phone import Phone
from clients.phone_driver import OfferRunner
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS, Failure
from protocol.contract.devices import DeviceAnswer
from protocol.contract.fitting import Base, Patch, PatchOp
from protocol.errors import AuricleError

__all__ = ["run_fitter", "run_phone"]


def run_phone(argv: Sequence[str] | None = None) -> int:
    """Carry one or two virtual aids of a registered device until interrupted."""
    parser = _parser("clients.phone", "A phone with virtual aids; its token has the role device.")
    parser.add_argument("--right", metavar="SERIAL", help="serial of the right aid, as registered")
    parser.add_argument("--left", metavar="SERIAL", help="serial of the left aid, as registered")
    parser.add_argument("--model", default="ref10", help="capability sheet of the aids (default %(default)s)")
    parser.add_argument("--firmware", default="2.3.1", help="as registered (default %(default)s)")
    given = parser.parse_args(argv)
    if not (given.right or given.left):
        parser.error("at least one of --right and --left is needed")
    return _run(_phone(given))


def run_fitter(argv: Sequence[str] | None = None) -> int:
    """Show what a device holds; with ``--change-db``, change the gain of one band and wait for its end."""
    parser = _parser("clients.fitter", "A fitter; its token has the role clinician and is assigned to the device.")
    parser.add_argument("--ear", choices=EARS, default="right", help="(default %(default)s)")
    parser.add_argument("--band-hz", type=int, default=2_000, help="(default %(default)s)")
    parser.add_argument("--change-db", type=float, help="how much to raise or lower the gain")
    return _run(_fitter(parser.parse_args(argv)))


def _parser(module: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the server (default %(default)s)")
    parser.add_argument("--token", required=True, help="made by `auricle token`")
    parser.add_argument("--device", required=True, help="as registered")
    parser.add_argument("--protocol", choices=("json", "messagepack"), default="json")
    return parser


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except (AuricleError, HubCallError, ConnectionError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


async def _phone(given: argparse.Namespace) -> int:
    serials = {"right": given.right, "left": given.left}
    pair = VirtualPair(*(VirtualAid(ear, serials[ear], given.model, given.firmware) for ear in EARS if serials[ear]))
    hub = HubClient(f"{given.url}/hub", token=given.token, protocol=given.protocol)

    def tell() -> None:
        held = ", ".join(f"{ear} {pair.aid(ear).read_digest('ram')}" for ear in pair.ears)
        _say(f"in the aids: {held}")

    runner = OfferRunner(pair, MemoryJournal(), device=given.device, wearer=AgreeableWearer())
    phone = Phone(hub, runner, on_settled=lambda _: tell())
    async with hub:
        tell()
        await phone.run()
    return 1


async def _fitter(given: argparse.Namespace) -> int:
    hub = HubClient(f"{given.url}/hub", token=given.token, protocol=given.protocol)
    fitter = Fitter(hub, on_delivery=lambda change: _say(f"change {change.seq}: {change.ear or ''} {change.state}"))
    async with hub:
        await fitter.hello()
        device = await fitter.get_device(given.device)
        for ear in EARS:
            truth = getattr(device.in_aid, ear)
            _say(f"{ear}: {'never read back' if truth is UNSET else truth.ram}")
        return 0 if given.change_db is None else await _change(fitter, given, device)


async def _change(fitter: Fitter, given: argparse.Namespace, device: DeviceAnswer) -> int:
    lease = await fitter.acquire_lease(given.device, "by-hand")
    if isinstance(lease, Failure):
        return _refused(lease)
    live = await fitter.go_live(given.device, lease.fence, "by hand")
    if isinstance(live, Failure):
        return _refused(live)
    if device.head is UNSET:
        sys.stderr.write("the aids were never read back: is the phone connected?\n")
        return 1
    head = device.head
    if given.band_hz not in head.content.bands_hz:
        sys.stderr.write(f"the bands are {', '.join(map(str, head.content.bands_hz))} Hz\n")
        return 2
    band, value = head.content.bands_hz.index(given.band_hz), round(given.change_db * 10)
    ops = tuple(
        PatchOp(op="add", ear=given.ear, path=path, band=band, value=value) for path in ("g50Ddb", "g65Ddb", "g80Ddb")
    )
    base = Base(revision=head.revision, left=head.digests.left, right=head.digests.right)
    slot = head.content.programs[0].slot
    answer = await fitter.submit(Change(given.device, lease.fence, base, "by hand", Patch(slot=slot, ops=ops)))
    if isinstance(answer, Failure):
        return _refused(answer)
    state = await fitter.wait_until(given.device, answer)
    return 0 if state == "confirmed" else 1


def _refused(failure: Failure) -> int:
    sys.stderr.write(f"refused: {failure.error.message}\n")
    return 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
