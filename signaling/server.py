"""One server process from start to end: listen, say that it is ready, and on SIGTERM leave nobody without a word."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from .app import PARTS, Parts, create_app
from .auth import signing_key_of
from .collector import Collector
from .config import Config, ConfigError
from .config_environ import charge_of_worker
from .data_lock import DataLock
from .door import Door
from .hub import Hub
from .log import HttpLog, LogBook, LoopLog, say
from .tasks import TaskSet, race
from .transports.aiohttp_seam import Deadlines, StrictRunner
from .workers.command import supervised
from .workers.ports import url_of
from .workers.worker import Worker

__all__ = ["drain", "runner_of", "serve"]

CLOSE_INTERVAL_S = 0.002
RETRY_AFTER_MS = 1_000
# What is being answered when nobody is let in any more; on a busy machine it takes its time.
END_S = 3.0


def serve(config: Config, *, hubs: Sequence[Hub] = ()) -> None:
    """Run until SIGTERM or SIGINT; ``hubs`` are served beside the care hub.

    With several workers this process looks after them, and each is the same program, started again up to this call.

    Raises:
        ConfigError: nothing that could verify a token is configured, the address or the limits of the clinics cannot
            be used, another server runs in the data folder, or a hub has no name or path, or that of another.
        IncompletePolicy: a method of a hub has no rule.
        SystemExit: a worker ended again and again, or could not be started.
    """
    if supervised(config):
        return
    charge = charge_of_worker()
    worker = None if charge is None else Worker(charge)
    log = LogBook(worker=None if worker is None else worker.number)
    with contextlib.ExitStack() as held:
        if worker is not None:
            config = worker.config(config)
        elif not (config.database_url or config.redis_url):
            # Others would share the database, and not hear of what happens here.
            held.enter_context(contextlib.closing(DataLock.take(config.data)))
        held.enter_context(LoopLog(log).taken())
        runner = held.enter_context(asyncio.Runner(loop_factory=_loop_factory()))
        runner.run(_serve(config, log, hubs, worker))


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """uvloop when it is installed: the same program, less CPU."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.Loop
    return None


async def _serve(config: Config, log: LogBook, hubs: Sequence[Hub], worker: Worker | None) -> None:
    app = create_app(config, signing_key=signing_key_of(config), log=log, hubs=hubs, worker=worker)
    runner = runner_of(app, config, handle_signals=False, shutdown_timeout=END_S, logger=HttpLog(log).as_logger())
    stop = _stop_signals()
    await runner.setup()
    assert runner.server is not None  # noqa: S101  # it was set up
    door = Door(runner.server, paced=app[PARTS].paced, reached=app[PARTS].metrics.reached, log=log)
    looking, pods = TaskSet("collector", log), app[PARTS].pods
    try:
        if pods is not None:
            await race(pods.joined.met(), _until(stop))
        if not stop.is_set():
            await _open(door, config, reuse_port=worker is not None)
            looking.spawn(Collector(time.monotonic).run())
            url = url_of(config.host, door.addresses[0][1])
            log.started(url=url, dev=config.dev)
            if worker is None:
                say(json.dumps({"event": "ready", "url": url}))
            else:
                worker.ready("" if pods is None else pods.internal.address)
            await stop.wait()
            await drain(app[PARTS], config)
    finally:
        await looking.close()
        await door.close()
        await runner.cleanup()
    log.stopped()


def _stop_signals() -> asyncio.Event:
    """Set by the signals that end a server in order, also while it begins."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _open(door: Door, config: Config, *, reuse_port: bool) -> None:
    """Listen. Raises ConfigError."""
    try:
        await door.open(config.host, config.port, backlog=config.listen_backlog, reuse_port=reuse_port)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such host"
        raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason}") from None


def runner_of(app: web.Application, config: Config, **options: Any) -> StrictRunner:
    """What carries an app of ours out on HTTP connections."""
    return StrictRunner(app, Deadlines.of(config, app[PARTS].metrics.reached), **options)


async def drain(parts: Parts, config: Config) -> None:
    """Refuse new work, tell everybody, close everybody with leave to come back, wait for their goodbyes."""
    parts.readiness.draining = True
    parts.paced.hurry()
    sessions = [session for hub in parts.hubs for session in tuple(hub.sessions.values())]
    parts.log.draining(connections=len(sessions))
    for hub in parts.hubs:
        hub.warn_of_drain(RETRY_AFTER_MS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(config.drain_s):
            interval_s = min(CLOSE_INTERVAL_S, config.drain_s / 2 / max(1, len(sessions)))
            for session in sessions:
                if session.is_ending:
                    # Told goodbye before: a peer that died silently must not hold us up.
                    session.transport.abort()
                else:
                    session.close("app_shutdown", "The server is shutting down.", allow_reconnect=True)
                await asyncio.sleep(interval_s)
            if parts.pods is not None:
                await parts.pods.drain()
            for hub in parts.hubs:
                await hub.emptied()
            await parts.closing.finish(config.drain_s)
            if parts.pods is not None:
                await parts.pods.emptied()
