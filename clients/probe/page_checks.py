"""Whether it speaks HTTP, says that it is alive and ready, what it says is away, and what time it has there.

Read ``ready`` first.
"""

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import msgspec

from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok, skip, warn
from clients.probe.web import Answer, browser_of, fetch

__all__ = ["alive", "clock", "http", "part", "ready", "turn"]

T = TypeVar("T")
# Tokens and leases count in seconds.
_SKEW_S: Final = 5.0
# What each pod found when it asked its TURN servers for an allocation, as Prometheus' text says it.
_TURN_UP: Final = re.compile(rb'^auricle_turn_up\{[^}]*server="[^"]*"[^}]*\} ([01])(?:\.0)?$', re.MULTILINE)
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class _Alive(msgspec.Struct, frozen=True):
    status: str


class _Ready(msgspec.Struct, frozen=True):
    status: str
    degraded: tuple[str, ...] = ()


async def http(target: Target) -> Verdict:
    """Whether anything answers there at all."""
    answer = await _get(target, "/healthz")
    if answer.status in _REDIRECTS:
        raise Trouble(f"sent elsewhere ({answer.status}): probe the address that it leads to")
    return ok(f"answered with {answer.status}")


async def alive(target: Target) -> Verdict:
    """``/healthz``: the process is an Auricle, and lives."""
    answer = await _get(target, "/healthz")
    if answer.status != 200 or _decoded(answer, _Alive) != _Alive("alive"):
        raise Trouble(f"/healthz was answered with {answer.status} and is not Auricle's: is it passed on?")
    return ok("/healthz")


async def ready(target: Target) -> Verdict:
    """``/readyz``: it takes work, with everything or without something."""
    said = await _ready(target)
    if said.degraded:
        return warn(f"degraded: {', '.join(_named(said))} away, what does not need it goes on")
    return ok("ready, with all its parts")


def part(name: str) -> Callable[[Target], Awaitable[Verdict]]:
    """A check of one part that ``/readyz`` speaks of: ``database`` or ``redis``."""

    async def check(target: Target) -> Verdict:
        said = await _ready(target)
        if name in said.degraded:
            return warn("away, as /readyz says")
        return ok("not missed, as /readyz says")

    return check


async def turn(target: Target) -> Verdict:
    """Whether the TURN servers that are handed out give an allocation, as the server has found when it asked them."""
    answer = await _get(target, "/metrics")
    if answer.status != 200:
        return skip(f"/metrics was answered with {answer.status}: nothing says whether there are TURN servers")
    found = _TURN_UP.findall(answer.body)
    if not found:
        return skip("not configured: this server hands out no TURN server")
    away = found.count(b"0")
    if away:
        raise Trouble(f"{away} of {len(found)} TURN servers give no allocation: calls from hostile networks fail")
    return ok(f"{len(found)} give an allocation, as /metrics says")


async def clock(target: Target) -> Verdict:
    """By how much the server's clock differs from this machine's, by its Date header, which has whole seconds."""
    before_s = time.time()
    answer = await _get(target, "/healthz")
    after_s = time.time()
    said = answer.headers.get("Date")
    if said is None:
        return skip("the answers have no date")
    try:
        date = parsedate_to_datetime(said)
    except ValueError:
        raise Trouble("the date of the answers cannot be read") from None
    at_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    # Any instant of that second, and any of the request, would explain it.
    ahead_s = max(at_s - after_s, 0.0) or min(at_s + 1 - before_s, 0.0)
    if abs(ahead_s) > _SKEW_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        return warn(f"{abs(ahead_s):.0f} s {way} this machine's clock: tokens and leases count in seconds")
    here = datetime.fromtimestamp(after_s, UTC)
    return ok(f"as this machine's, {here:%Y-%m-%d %H:%M} UTC")


async def _ready(target: Target) -> _Ready:
    answer = await _get(target, "/readyz")
    said = _decoded(answer, _Ready)
    if said is None or answer.status not in (200, 503):
        raise Trouble(f"/readyz was answered with {answer.status} and is not Auricle's: is it passed on?")
    if answer.status == 503 or said.status != "ready":
        raise Trouble("not ready: it takes no new work, and is probably about to end")
    return said


def _named(said: _Ready) -> list[str]:
    """What is away, as far as it is a word: the rest is not worth being printed."""
    return [name if name.isidentifier() and len(name) < 40 else "something" for name in said.degraded]


def _decoded(answer: Answer, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError:
        return None


async def _get(target: Target, path: str) -> Answer:
    async with browser_of(target) as browser:
        return await fetch(browser, "GET", target.base + path, headers={})
