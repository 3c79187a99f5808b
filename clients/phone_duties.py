"""What a phone does besides its offers: show that it is there, look after the aids, and run errands at once.

An aid that comes back, restarts or is charged is seen to when that happens, with a link to the server or without; so
is the dead-man. It must not know what an offer is. Read ``Duties.run`` first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from msgspec import UNSET

from clients.device_driver import DeviceDriver
from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded
from clients.phone_book import SendReport
from clients.phone_driver import OfferRunner
from clients.phone_news import PhoneNews
from clients.reconnect import ReconnectPolicy
from clients.wearer import answer_within, heard
from protocol.contract.devices import Offer
from protocol.contract.sessions import Done, Heartbeat
from protocol.errors import BadArgument

__all__ = ["Duties", "DutyTimes"]

_LOG: Final = logging.getLogger("auricle.clients")
_POLL: Final = ReconnectPolicy(base_s=1.0, cap_s=10.0)
_FOR_EVER_S: Final = 3_600.0
_BREATH_S: Final = 0.05
_LOOK_UP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class DutyTimes:
    """``heartbeat_s``: between signs of life. ``read_back_s``: between read-backs in a session.

    ``poll``: how long until an aid that is away is looked for again, should it not announce itself. ``max_errands``:
    that wait or run at once.
    """

    heartbeat_s: float = 5.0
    read_back_s: float = 60.0
    poll: ReconnectPolicy = _POLL
    max_errands: int = 32


class Duties:
    """``failed`` is why the phone cannot go on, None while it can. The duties go on even then.

    ``install``: whether to install a package, None for no answer; by itself the wearer is asked.
    """

    def __init__(
        self,
        hub: HubClient,
        runner: OfferRunner,
        news: PhoneNews,
        *,
        times: DutyTimes,
        report: SendReport,
        on_failed: Callable[[], None],
        uniform: Callable[[float, float], float],
        sleep: Callable[[float], Awaitable[None]],
        install: Callable[[Offer], Awaitable[bool | None]] | None = None,
    ) -> None:
        self._hub, self._runner, self._news, self._times = hub, runner, news, times
        self._report, self._on_failed, self._uniform, self._sleep = report, on_failed, uniform, sleep
        self._install = install or (lambda offer: heard(partial(runner.wearer.install, offer)))
        self._errands: asyncio.Queue[Callable[[], Awaitable[object]]] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._poke, self._calm = asyncio.Event(), asyncio.Event()
        self._has_news = False
        self._vain_looks = 0
        self._poll_at_s: float | None = None
        self._foreground = True
        self._rtt_s: float | None = None
        self._prompts: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._answered: set[tuple[str, int]] = set()
        self.failed: Exception | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for ear in self._runner.pair.ears:
                tasks.create_task(self._hear(self._runner.pair.aid(ear)))
            tasks.create_task(self._beat())
            tasks.create_task(self._look_after_aids(tasks))
            while True:
                errand = await self._errands.get()
                running = tasks.create_task(self._run_errand(errand))
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    def errand(self, errand: Callable[[], Awaitable[object]]) -> None:
        """Do that at once, beside everything else. Raises HubOverloaded, which ends the link that brings too many."""
        if self._errands.qsize() + len(self._running) >= self._times.max_errands:
            raise HubOverloaded(f"{self._times.max_errands} errands wait already")
        self._errands.put_nowait(errand)

    def look_again(self) -> None:
        """Something has changed: when is something due now?"""
        self._poke.set()

    def see(self, *, foreground: bool) -> None:
        """The app came to the foreground, or left it; the server is told at once."""
        self._foreground, self._has_news = foreground, True
        self._poke.set()
        with suppress(HubOverloaded):
            self.errand(self.beat)

    async def let_go(self, *, at_once: bool = False) -> None:
        """Wait until no aid holds what nobody has saved: the dead-man sees to it.

        ``at_once``, or when a duty fails: the base goes back now, and an aid that is out of reach is not waited for.
        """
        self._poke.set()
        is_asked_back = False
        while self._runner.is_open or self._runner.is_loud:
            self._calm.clear()
            if at_once or self.failed is not None:
                if not is_asked_back:
                    is_asked_back = True
                    await self._run_errand(partial(self._runner.revert, "dead_man", self._report))
                    continue
                if not self._runner.is_loud:
                    return
            elif not self._runner.is_open:
                return
            await self._calm.wait()

    async def read_back(self) -> None:
        """Read both aids and tell."""
        await self._news.tell("read_back")

    async def beat(self) -> None:
        """Show that the phone is there, and measure how long the way is."""
        battery = self._runner.battery_percent
        sign = Heartbeat(
            device=self._runner.device,
            foreground=self._foreground,
            battery=UNSET if battery is None else battery,
            away=self._runner.ears_away,
            rtt_ms=UNSET if self._rtt_s is None else min(600_000, round(self._rtt_s * 1_000)),
        )
        began_s = self._runner.now_s()
        try:
            await self._hub.ask("Heartbeat", sign, answer=Done)
        except (ConnectionError, TimeoutError):
            return
        except (HubCallError, BadArgument) as error:
            _LOG.debug("the server takes no heartbeat: %s", type(error).__name__)
            return
        self._rtt_s = max(0.0, self._runner.now_s() - began_s)

    async def _beat(self) -> None:
        read_back_at_s = self._runner.now_s() + self._times.read_back_s
        while True:
            await self._sleep(self._times.heartbeat_s)
            await self._run_errand(self.beat)
            await self._run_errand(self.catch_up)
            if self._runner.now_s() >= read_back_at_s:
                read_back_at_s = self._runner.now_s() + self._times.read_back_s
                if self._runner.is_in_session:
                    await self._run_errand(self.read_back)

    async def catch_up(self) -> None:
        """What the server did not take while it had a link, it does not ask for either; nor does the disk."""
        self._runner.save_again()
        if self._hub.connection_id:
            await self._runner.catch_up(self._report)
            await self._news.tell()

    async def _hear(self, aid: DeviceDriver) -> None:
        vain = 0
        while True:
            try:
                await aid.changed()
                vain = 0
            except Exception as error:  # noqa: BLE001  # a maker's driver: if it fails, the aid is looked at
                _LOG.error("a driver failed to wait for its aid: %s", type(error).__name__)
                await self._sleep(self._times.poll.delay_s(vain, max))
                vain += 1
            self._has_news, self._vain_looks = True, 0
            self._poke.set()

    async def _look_after_aids(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._ask_installs(tasks)
            patience_s = self._patience_s()
            poked = await answer_within(self._poke.wait, patience_s, self._sleep) if patience_s > 0 else None
            self._poke.clear()
            if poked and not self._has_news and self._patience_s() > _BREATH_S:
                # Only what is due had to be thought over.
                self._calm.set()
                continue
            self._has_news = False
            self._vain_looks += 1
            self._poll_at_s = None
            await self._in_time(tasks.create_task(self._run_errand(self._see_to_aids)))
            self._calm.set()

    async def _in_time(self, looking: asyncio.Task[None]) -> None:
        """Wait for a look; what becomes due meanwhile is not late because of an aid that hangs, or a server."""
        while not looking.done():
            due_s = self._runner.next_due_s()
            wait_s = _FOR_EVER_S if due_s is None else due_s - self._runner.now_s()
            await asyncio.wait({looking}, timeout=min(_LOOK_UP_S, max(_BREATH_S, wait_s)))
            if not looking.done() and self._runner.is_due:
                await self._run_errand(partial(self._runner.work, self._report))

    async def _see_to_aids(self) -> None:
        was_waiting = self._runner.is_waiting
        await self._runner.work(self._report)
        if was_waiting and not self._runner.is_waiting:
            self._vain_looks = 0
        await self._news.tell()

    def _patience_s(self) -> float:
        """How long nothing has to be done for the aids."""
        waits = [_FOR_EVER_S]
        due_s = self._runner.next_due_s()
        if due_s is not None:
            waits.append(due_s - self._runner.now_s())
        if self._runner.is_waiting:
            if self._poll_at_s is None:
                # At least half of it: full jitter would now and then not wait at all. Decided once a look: each
                # heartbeat pokes, and would put it off for ever.
                delay_s = self._times.poll.delay_s(self._vain_looks, max)
                self._poll_at_s = self._runner.now_s() + delay_s * (0.5 + self._uniform(0.0, 0.5))
            waits.append(self._poll_at_s - self._runner.now_s())
        # Whatever is due again and again without an end must not keep the phone from everything else.
        return max(_BREATH_S if self._vain_looks else 0.0, min(waits))

    def _ask_installs(self, tasks: asyncio.TaskGroup) -> None:
        """One question for each package that waits; those that are gone are not asked about any longer."""
        offers = self._runner.offers_to_install if self.failed is None else ()
        waiting = {(offer.epoch, offer.seq): offer for offer in offers}
        for key in self._prompts.keys() - waiting.keys():
            prompt = self._prompts.pop(key)
            # One that was answered is no question any more: an aid may be in the middle of a write.
            if key not in self._answered:
                prompt.cancel()
            self._answered.discard(key)
        for key, offer in waiting.items():
            if key not in self._prompts:
                self._prompts[key] = tasks.create_task(self._run_errand(partial(self._ask_install, offer)))

    async def _ask_install(self, offer: Offer) -> None:
        accepted = await self._install(offer)
        if accepted is not None:
            self._answered.add((offer.epoch, offer.seq))
            await self._runner.answer_install(offer, accepted=accepted, report=self._report)
            await self._news.tell()

    async def _run_errand(self, errand: Callable[[], Awaitable[object]]) -> None:
        try:
            await errand()
        except (ConnectionError, TimeoutError):
            _LOG.info("the link died in an errand")
        except Exception as error:  # noqa: BLE001  # the boundary of an errand: the others go on until the aids are quiet
            _LOG.error("the phone cannot go on: %s", type(error).__name__)
            self._calm.set()
            if self.failed is None:
                self.failed = error
                self._on_failed()
        self._poke.set()
