"""What else there is to calls: phones that sleep are woken, how good they are, what is kept of them, live work.

Made for each other and tied to the calls of this pod here, so that those know nothing of it. Read ``CallsBeside``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fitting.push import PushNotifier
from signaling.calls.flow import CallFlow
from signaling.calls.live_work import CallsAndLiveWork
from signaling.calls.quality import CallQuality, QualityLimits
from signaling.calls.records import CallRecorder, RecorderParts
from signaling.calls.ringing import RingingParts, RingingPhones
from signaling.config import Config
from signaling.flows.endings import Endings
from signaling.flows.onlookers import PhonesAnywhere
from signaling.flows.phones import Phones
from signaling.storage import Storage
from signaling.tasks import TaskSet

__all__ = ["BesideParts", "CallsBeside"]


@dataclass(frozen=True, slots=True)
class BesideParts:
    """``push_secret`` keeps what a push points to from telling anything; ``clock`` gives Unix seconds."""

    config: Config
    storage: Storage
    anywhere: PhonesAnywhere
    phones: Phones
    ends: Endings
    notifier: PushNotifier
    push_secret: bytes
    tasks: TaskSet
    clock: Callable[[], float]
    reached: Callable[[str], None]


class CallsBeside:
    """The parts, each of which hears of the calls."""

    def __init__(self, flow: CallFlow, parts: BesideParts) -> None:
        config, storage = parts.config, parts.storage
        self.quality = CallQuality(flow, QualityLimits(config.max_quality_reports, config.quality_every_s))
        self.ringing = RingingPhones(
            RingingParts(
                registry=flow.parts.registry,
                visits=storage.visits,
                anywhere=parts.anywhere,
                phones=parts.phones,
                tokens=storage.push_tokens,
                notifier=parts.notifier,
                secret=parts.push_secret,
                tasks=parts.tasks,
                max_ringing=config.max_ringing_phones,
                now_s=parts.clock,
                reached=parts.reached,
            )
        )
        self.recorder = CallRecorder(
            RecorderParts(
                store=storage.calls,
                visits=storage.visits,
                quality=self.quality,
                tasks=parts.tasks,
                pod=flow.parts.pod,
                max_waiting=config.max_call_records_waiting,
                now_s=parts.clock,
                reached=parts.reached,
            )
        )
        work = CallsAndLiveWork(storage.visits, parts.ends, parts.tasks, max_calls=config.max_calls, now_s=parts.clock)
        flow.on_change.append(work.changed)
        # Live work first: what is kept of a call can wait.
        flow.on_made += (work.made, self.ringing.made, self.recorder.made)
        flow.on_gone += (work.gone, self.recorder.gone)
        self.quality.on_told.append(work.told)
        self.quality.on_seen.append(work.seen)

    async def sweep(self) -> None:
        """Look at what rings, and keep what waits. Raises Unavailable when the database is away."""
        await self.ringing.sweep()
        await self.recorder.sweep()
