"""Makes the part of calls that passes media on, where an operator wants it: only then aiortc is loaded."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import NotFound
from signaling.config import Config
from signaling.metrics import Metrics
from signaling.tasks import TaskSet

from .recordings import RecordingFlow
from .relay_line import RelayLine

if TYPE_CHECKING:
    from signaling.flows.visits import VisitFlow
    from signaling.pods.joined import Joined

    from .flow import CallFlow
    from .recorder import Recorder
    from .relay_host import RelayHost

__all__ = ["RelayedCalls", "relayed_calls"]


@dataclass(frozen=True, slots=True)
class RelayedCalls:
    """What of calls through the server the hub and the app need; ``host`` and ``recorder`` where there are some."""

    line: RelayLine
    recordings: RecordingFlow
    host: "RelayHost | None"
    recorder: "Recorder | None"


def relayed_calls(
    config: Config,
    flow: "CallFlow",
    visits: "VisitFlow",
    joined: "Joined",
    *,
    tasks: TaskSet,
    metrics: Metrics,
    new_id: Callable[[], str],
) -> RelayedCalls:
    """Made for the calls of ``flow``."""
    line = RelayLine(
        *(joined.directory.pod, joined.backplane, joined.asks),
        tasks=tasks,
        timeout_s=config.relay_answer_s + config.pod_ask_s,
        reached=metrics.reached,
    )
    host = _host(config, flow, line, tasks=tasks, metrics=metrics)
    recorder = None
    if host is not None:
        flow.parts = replace(flow.parts, relay_refusal=host.refusal)
        recorder = _recorder(config, flow, host, visits, joined, tasks=tasks, new_id=new_id, metrics=metrics)

    async def note(device: str, what: str, user: str) -> None:
        await visits.log.note(device, "device", what, actor=user)

    recordings = RecordingFlow(flow, visits, is_on=bool(config.recordings), note=note)
    return RelayedCalls(line, recordings, host, recorder)


async def _bind(protocol: Callable[[], asyncio.DatagramProtocol], address: str, port: int) -> object:
    _, bound = await asyncio.get_running_loop().create_datagram_endpoint(protocol, local_addr=(address, port))
    return bound


def _host(config: Config, flow: "CallFlow", line: RelayLine, *, tasks: TaskSet, metrics: Metrics) -> "RelayHost | None":
    """Whoever passes media on in this process, None when nobody does."""
    if not config.media_relay:
        return None
    # Here and not with the first call: loading it takes as long as a Stop must not wait.
    from media.relay import World

    from .relay_host import RelayHost, RelayLimits

    world = World(
        now_s=lambda: asyncio.get_running_loop().time(),
        sleep=asyncio.sleep,
        spawn=tasks.spawn,
        late=lambda: metrics.reached("max_relay_lag_s"),
        bind=_bind,
        ports=config.relay_port_range,
        address=config.relay_address,
        max_lag_s=config.max_relay_lag_s,
        max_bps=config.max_relay_bps,
    )
    limits = RelayLimits(config.max_relayed_calls, config.relay_answer_s, config.max_relay_bps)
    return RelayHost(limits, world, flow=flow, line=line, tasks=tasks, reached=metrics.reached)


def _recorder(
    config: Config,
    flow: "CallFlow",
    host: "RelayHost",
    visits: "VisitFlow",
    joined: "Joined",
    *,
    tasks: TaskSet,
    new_id: Callable[[], str],
    metrics: Metrics,
) -> "Recorder | None":
    """Whoever records what goes through this process, None when nobody does."""
    if not config.recordings:
        return None
    from .recorder import Recorder, RecordingLimits

    async def device_of(visit: str) -> str:
        found = await visits.visits.get(visit)
        if found is None:
            raise NotFound("no such visit")
        return found.device

    async def note(device: str, what: str, recording: str) -> None:
        await visits.log.note(device, "device", what, actor="server", text=recording)

    recorder = Recorder(
        RecordingLimits(
            Path(config.recordings),
            config.recording_keys[0],
            max_s=config.max_recording_s,
            max_bytes=config.max_recording_bytes,
            max_waiting=config.max_recording_blocks,
            keep_s=config.recording_keep_s,
        ),
        flow=flow,
        device_of=device_of,
        note=note,
        knows=lambda: joined.is_whole,
        tasks=tasks,
        new_id=new_id,
        reached=metrics.reached,
    )
    host.watchers.append(recorder)
    return recorder
