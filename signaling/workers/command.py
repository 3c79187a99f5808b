"""``auricle serve --workers N``: what is looked at and taken before there is a worker, and given back at the end.

What cannot work is said here in one line, not by each worker. Read ``supervised`` first.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import ExitStack, closing

from signaling.auth import signing_key_of
from signaling.config import MEMORY, Config, ConfigError
from signaling.config_environ import is_worker
from signaling.config_pods import UNIX, host_and_port
from signaling.log import LogBook, say
from signaling.schema import newest_event_s, prepare

from .charge import Charge
from .children import Child, ValkeyKind, WorkerKind
from .guard import Guard
from .ports import hold, url_of
from .run_folder import RunFolder
from .signals import Signals
from .supervisor import Supervisor
from .valkey import EmbeddedValkey, valkey_program

__all__ = ["supervised"]


def supervised(config: Config) -> bool:
    """Run the workers that are configured until SIGTERM or SIGINT; False at once when this process is to serve itself.

    Nothing of a server is loaded before that is known.

    Raises:
        ConfigError: what is configured cannot be used, or not by several processes.
        Unavailable: the database is away.
        SystemExit: a worker ended again and again, or could not be started.
    """
    if is_worker() or config.worker_count == 1:
        return False
    _check(config)
    signing_key_of(config)
    if code := _supervise(config):
        raise SystemExit(code)
    return True


def _check(config: Config) -> None:
    """Raises ConfigError for what is one process's own."""
    if config.database_url == MEMORY:
        raise ConfigError(f"workers: several processes cannot share {MEMORY}, use 1 or another database_url")
    listen = config.internal_listen
    if config.internal_address or (listen and (listen.startswith(UNIX) or host_and_port(listen)[1])):
        raise ConfigError("internal_listen: each worker needs its own, give host:0 and no internal_address, or nothing")


def _supervise(config: Config) -> int:
    """The exit code."""
    with ExitStack() as taken:
        folder = taken.enter_context(closing(RunFolder.take(config.data))).path
        held = taken.enter_context(closing(hold(config.host, config.port)))
        valkey = None if config.redis_url else EmbeddedValkey(folder, valkey_program())
        charge = Charge(
            workers=config.worker_count,
            supervisor=os.getpid(),
            port=held.port,
            redis_url="" if valkey is None else valkey.url,
            folder=str(folder),
            ahead_s=_ahead_s(config),
        )
        log = LogBook()
        guard = taken.enter_context(closing(Guard()))
        reached: dict[str, int] = {}

        def count(bound: str) -> None:
            reached[bound] = reached.get(bound, 0) + 1

        def child(kind: WorkerKind | ValkeyKind) -> Child:
            # What is no worker has nobody to say goodbye to.
            limits = config.child_limits(config.drain_s if isinstance(kind, WorkerKind) else 0.0)
            return Child(kind, limits, guard, log, count)

        workers = [child(WorkerKind(charge.of(number))) for number in range(config.worker_count)]
        supervisor = Supervisor(
            None if valkey is None else child(ValkeyKind(valkey)),
            workers,
            log=log,
            reached=reached,
            monotonic=time.monotonic,
        )
        url = url_of(config.host, held.port)

        def ready() -> None:
            if sys.platform != "linux":
                # There the kernel may give connections to a socket that nobody listens on.
                held.close()
            log.started(url=url, dev=config.dev)
            say(json.dumps({"event": "ready", "url": url, "workers": len(workers)}))

        with Signals() as signals:
            code = supervisor.run(signals, ready)
        if code == 0:
            log.stopped()
        return code


def _ahead_s(config: Config) -> float:
    """Make sure of the database; what the clock of its log is ahead of the one that only rises.

    In one SQLite file there is one time, also for a worker that is started when the host's clock has been set.
    """
    asyncio.run(prepare(config))
    newest_s = 0.0 if config.database_url else newest_event_s(config.sqlite_file)
    return max(time.time(), newest_s) - time.monotonic()
