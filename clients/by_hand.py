"""The fitter as a command, for a developer who wants to see it work against a server.

``python -m clients.fitter`` reads a device, changes one gain, and talks to its wearer. Read ``run_fitter`` first.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from msgspec import UNSET

from clients.call_by_hand import VisitByHand, add_visit_options
from clients.command import connection_parser, run, say
from clients.fitter import Change, Fitter
from clients.hub_client import HubClient
from protocol.contract.base import EARS, Failure
from protocol.contract.devices import DeviceAnswer
from protocol.contract.fitting import Base, Patch, PatchOp

__all__ = ["run_fitter"]


def run_fitter(argv: Sequence[str] | None = None) -> int:
    """Show what a device holds; with ``--change-db`` change the gain of one band and wait for its end.

    With ``--visit`` it goes to a visit and does so while it is in the call.
    """
    parser = connection_parser(
        "clients.fitter", "A fitter; its token has the role clinician and is assigned to the device."
    )
    parser.add_argument("--ear", choices=EARS, default="right", help="(default %(default)s)")
    parser.add_argument("--band-hz", type=int, default=2_000, help="(default %(default)s)")
    parser.add_argument("--change-db", type=float, help="how much to raise or lower the gain")
    add_visit_options(parser)
    return run(_fitter(parser.parse_args(argv)))


async def _fitter(given: argparse.Namespace) -> int:
    hub = HubClient(f"{given.url}/hub", token=given.token, protocol=given.protocol, transport=given.transport)
    fitter = Fitter(hub, on_delivery=lambda change: say(f"change {change.seq}: {change.ear or ''} {change.state}"))
    visit = VisitByHand(hub, given, leads=True, tone_hz=440) if given.visit else None
    async with hub:
        await fitter.hello()
        met = None if visit is None else asyncio.get_running_loop().create_task(visit.run())
        device = await fitter.get_device(given.device)
        for ear in EARS:
            truth = getattr(device.in_aid, ear)
            say(f"{ear}: {'never read back' if truth is UNSET else truth.ram}")
        changed = 0 if given.change_db is None else await _change(fitter, given, device)
        return changed if met is None else changed or await met


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
