"""What the pods weigh, written down while a run goes on, and how late this machine is.

Memory, files and threads are asked of the kernel, tasks and connections of the pod; nothing of it is judged here.
Read ``sample`` first.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.chaos.fleet import Fleet
from tests.chaos.history import HistoryFile
from tests.chaos.waiting import PATIENCE

__all__ = ["lag", "sample"]

EVERY_S: Final = 1.0
LAG_EVERY_S: Final = 0.05
TIMEOUT: Final = aiohttp.ClientTimeout(total=0.9 * PATIENCE)
_STATUS: Final = re.compile(r"^(VmRSS|Threads):\s+(\d+)", re.MULTILINE)
_TASKS: Final = re.compile(r"^auricle_tasks (\S+)", re.MULTILINE)
_CONNECTIONS: Final = re.compile(r"^signalr_server_active_connections\{.*\} (\S+)", re.MULTILINE)


async def sample(fleet: Fleet, history: HistoryFile) -> None:
    """For ever, one line of each pod a second; one that does not answer has none."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session, asyncio.TaskGroup() as tasks:
        for lane in fleet.pods:
            tasks.create_task(_sample(fleet, lane, session, history))


async def _sample(fleet: Fleet, lane: str, session: aiohttp.ClientSession, history: HistoryFile) -> None:
    pod = fleet.pods[lane]
    while True:
        await asyncio.sleep(EVERY_S)
        life = pod.life
        try:
            values = _of_kernel(pod.pid)
            async with session.get(f"{pod.url}/metrics") as answer:
                values |= _of_page(await answer.text())
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError):
            continue  # it is down, stands still, or is dead and not yet buried: such a one weighs nothing
        if life == pod.life:
            history.write("ok", "sample", pod=lane, life=life, **values)


def _of_kernel(pid: int) -> dict[str, Any]:
    process = Path(f"/proc/{pid}")
    found = {name: int(value) for name, value in _STATUS.findall((process / "status").read_text())}
    files = sum(1 for _ in (process / "fd").iterdir())
    return {"rss_kib": found["VmRSS"], "threads": found["Threads"], "files": files}


def _of_page(text: str) -> dict[str, Any]:
    tasks = _TASKS.search(text)
    connections = sum(float(value) for value in _CONNECTIONS.findall(text))
    return {"connections": int(connections)} | ({"tasks": int(float(tasks[1]))} if tasks else {})


async def lag(history: HistoryFile) -> None:
    """For ever, how late this process was woken at worst in a second: what a machine cannot do proves nothing."""
    loop = asyncio.get_running_loop()
    while True:
        worst_s, end = 0.0, loop.time() + EVERY_S
        while loop.time() < end:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            worst_s = max(worst_s, loop.time() - due)
        history.write("ok", "lag", worst_ms=round(worst_s * 1_000))
