"""Makes the part of calls that passes media on, where an operator wants it: only then aiortc is loaded."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from signaling.config import Config
from signaling.metrics import Metrics
from signaling.tasks import TaskSet

from .relay_line import RelayLine

if TYPE_CHECKING:
    from signaling.flows.visits import VisitFlow
    from signaling.pods.joined import Joined

    from .flow import CallFlow
    from .recorder import Recorder
    from .relay_host import RelayHost

__all__ = ["recorder_of", "relay_host"]


async def _bind(protocol: Callable[[], asyncio.DatagramProtocol], address: str, port: int) -> object:
    _, bound = await asyncio.get_running_loop().create_datagram_endpoint(protocol, local_addr=(address, port))
    return bound


def relay_host(
    config: Config, flow: "CallFlow", line: RelayLine, *, tasks: TaskSet, metrics: Metrics
) -> "RelayHost | None":
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


def recorder_of(
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
        return (await visits.get(visit)).device

    async def note(device: str, what: str, recording: str) -> None:
        await visits.note(device, what, "server", text=recording)

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
