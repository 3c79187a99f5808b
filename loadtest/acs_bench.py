"""``python -m loadtest.acs_bench``: many visits start their calls at once over ACS that give less than is asked for.

The stand-in throttles as the service does; every call has to come about over ACS for both ends, and none may fail. Exit
0 only then. What is measured: from the moment at which a call is started until each end has what it needs to join. Read
``run`` first.
"""

import argparse
import asyncio
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from clients.hub_client import HubClient
from protocol.contract.base import Answer, Failure
from protocol.contract.calls import AcsJoin, AnswerCall, CallAnswer, IncomingCall, StartCall
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer

from .bench_websocket import BenchFailed
from .dev_tokens import find_key, mint
from .measure import machine
from .servers import ServerProcess

__all__ = ["AcsLoad", "AcsReport", "main", "run"]

A = TypeVar("A", bound=Answer)
_CLINIC: Final = "bench"
_SETTING_UP_AT_A_TIME: Final = 8
_LIMITS: Final = ("create=250/15", "token=250/15")


@dataclass(frozen=True, slots=True)
class AcsLoad:
    """``visits`` calls are started, spread over ``within_s``; each must have come about within ``limit_s``."""

    visits: int = 200
    within_s: float = 10.0
    limit_s: float = 60.0
    throttle: tuple[str, ...] = _LIMITS


@dataclass(frozen=True, slots=True)
class AcsReport:
    """``over_acs``: ends that can join. ``elsewhere``, ``failed``: those whose call went otherwise, or not at all."""

    load: AcsLoad
    machine: Any
    over_acs: int
    elsewhere: int
    failed: int
    throttled: int
    identities: int
    start_p50_s: float
    start_p99_s: float
    longest_s: float

    @property
    def ok(self) -> bool:
        """Whether what was promised held."""
        return self.over_acs == 2 * self.load.visits and self.longest_s <= self.load.limit_s


@dataclass(slots=True)
class _Pair:
    """Both ends of a live visit."""

    visit: str
    ann: HubClient
    pat: HubClient
    rung: asyncio.Event
    call_id: str = ""

    def ring(self, incoming: IncomingCall) -> None:
        self.call_id = incoming.call_id
        self.rung.set()


async def run(load: AcsLoad) -> AcsReport:
    """Start both programs, set all visits up, then start their calls."""
    with tempfile.TemporaryDirectory(prefix="auricle-acs-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            limits = [word for limit in load.throttle for word in ("--throttle", limit)]
            stand_in = ServerProcess("fake-acs", ("-m", "clients.fake_acs", "--folder", name, *limits), folder)
            acs = await stack.enter_async_context(stand_in)
            key = await _key_of(acs, folder)
            environ = {
                "AURICLE_ACS_CONNECTION_STRING": f"endpoint={acs.url}/;accesskey={key}",
                "AURICLE_ACS_CA": str(folder / "ca.pem"),
                "AURICLE_DATABASE_URL": "memory:",
            }
            arguments = ("-m", "signaling", "serve", "--dev", "--port", "0", "--data", name)
            server = await stack.enter_async_context(ServerProcess("auricle", arguments, folder, environ=environ))
            pairs = await _set_up(load, server.url, find_key({}, folder / "dev-signing-key"), stack)
            took = await _calls(load, pairs)
            seen = await _switch(acs, folder, "GET", "")
    starts = sorted(seconds for seconds, _ in took)
    outcomes = [outcome for _, both in took for outcome in both]
    return AcsReport(
        load=load,
        machine=msgspec.to_builtins(machine()),
        over_acs=outcomes.count("acs"),
        elsewhere=outcomes.count("webrtc"),
        failed=outcomes.count("failed"),
        throttled=seen["throttled"],
        identities=seen["identities"],
        start_p50_s=round(starts[len(starts) // 2], 2),
        start_p99_s=round(starts[min(len(starts) - 1, len(starts) * 99 // 100)], 2),
        longest_s=round(starts[-1], 2),
    )


async def _calls(load: AcsLoad, pairs: Sequence[_Pair]) -> list[tuple[float, tuple[str, str]]]:
    began_s = time.monotonic()

    async def one(number: int, pair: _Pair) -> tuple[float, tuple[str, str]]:
        due_s = began_s + number * load.within_s / len(pairs)
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        outcome = await _call(pair, load.limit_s)
        return time.monotonic() - due_s, outcome

    return await asyncio.gather(*(one(number, pair) for number, pair in enumerate(pairs)))


async def _call(pair: _Pair, limit_s: float) -> tuple[str, str]:
    """What became of the call at either end."""
    try:
        async with asyncio.timeout(limit_s):
            mine = await pair.ann.ask("StartCall", StartCall(visit=pair.visit, media="video"), answer=CallAnswer)
            if not isinstance(mine, CallAnswer):
                return "failed", "failed"
            await pair.rung.wait()
            request = AnswerCall(visit=pair.visit, call_id=pair.call_id)
            return _outcome(mine), _outcome(await pair.pat.ask("AnswerCall", request, answer=CallAnswer))
    except TimeoutError:
        return "failed", "failed"


def _outcome(answer: CallAnswer | Failure) -> str:
    if not isinstance(answer, CallAnswer):
        return "failed"
    return "acs" if isinstance(answer.acs, AcsJoin) else answer.backend


async def _set_up(load: AcsLoad, url: str, key: bytes, stack: AsyncExitStack) -> list[_Pair]:
    """Live visits, both ends of each connected and let in."""
    places = asyncio.Semaphore(_SETTING_UP_AT_A_TIME)
    async with aiohttp.ClientSession() as http:

        async def one(number: int) -> _Pair:
            async with places:
                return await _live(number, url, key, http, stack)

        return list(await asyncio.gather(*map(one, range(load.visits))))


async def _live(number: int, url: str, key: bytes, http: aiohttp.ClientSession, stack: AsyncExitStack) -> _Pair:
    now_s = time.time()
    tokens = [
        mint(key, user=f"{who}{number}", clinic=_CLINIC, roles=[role], now_s=now_s)
        for who, role in (("ann", "clinician"), ("pat", "patient"))
    ]
    device = {
        "device": f"d{number}",
        "patient": f"pat{number}",
        "assignments": [f"ann{number}"],
        "right": {"serial": f"R-{number}", "model": "ref10", "firmware": "2.3.1"},
    }
    await _post(http, f"{url}/api/v1/devices", tokens[0], device)
    when = datetime.now(UTC) + timedelta(minutes=5)
    visit = {"startsLocal": when.strftime("%Y-%m-%dT%H:%M"), "zone": "Etc/UTC", "durationMin": 30}
    made = await _post(http, f"{url}/api/v1/devices/d{number}/visits", tokens[0], visit)
    ann, pat = [HubClient(f"{url}/hub", token=token, protocol="messagepack", reconnect=None) for token in tokens]
    pair = _Pair(made["visit"], ann, pat, asyncio.Event())
    pat.on("IncomingCall", pair.ring, IncomingCall)
    for one in (ann, pat):
        await stack.enter_async_context(one)
        joined = await _ask(one, "JoinVisit", JoinVisit(visit=pair.visit), JoinVisitAnswer)
    await _ask(ann, "AdmitToVisit", AdmitToVisit(visit=pair.visit, participant=joined.participant), Invited)
    return pair


async def _ask(who: HubClient, method: str, payload: Any, answer: type[A]) -> A:
    given = await who.ask(method, payload, answer=answer)
    if isinstance(given, Failure):
        raise BenchFailed(f"{method} was refused: {given.error.code}")
    return given


async def _post(http: aiohttp.ClientSession, url: str, token: str, body: Any) -> Any:
    async with http.post(url, json=body, headers={"Authorization": f"Bearer {token}"}) as answer:
        if answer.status != 201:
            raise BenchFailed(f"{url.rpartition('/')[2]} was answered with {answer.status}")
        return await answer.json()


async def _key_of(acs: ServerProcess, folder: Path) -> str:
    """A key of this run's own: the ready line's is not read here."""
    made = await _switch(acs, folder, "POST", "/keys")
    return str(made["key"])


async def _switch(acs: ServerProcess, folder: Path, method: str, switch: str) -> Any:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
        http.request(method, f"{acs.url}/fake{switch}") as answer,
    ):
        return await answer.json()


def main(argv: Sequence[str] | None = None) -> int:
    """Run it, print the report as JSON."""
    given = _parser().parse_args(argv)
    load = AcsLoad(given.visits, given.within, given.limit, tuple(given.throttle or _LIMITS))
    try:
        report = asyncio.run(run(load))
    except BenchFailed as error:
        print(f"acs bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps({**msgspec.to_builtins(report), "ok": report.ok}, indent=2))
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.acs_bench", description=__doc__)
    parser.add_argument("--visits", type=int, default=200)
    parser.add_argument("--within", type=float, default=10.0, metavar="S", help="they start in that time")
    parser.add_argument("--limit", type=float, default=60.0, metavar="S", help="each has its call in that time")
    parser.add_argument("--throttle", action="append", metavar="WHAT=MOST/SECONDS", help="as of auricle fake-acs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
