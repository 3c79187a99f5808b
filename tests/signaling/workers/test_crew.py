"""A server with workers, as one who runs it sees it: real processes, real clients, real kills."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from clients.reconnect import Link
from protocol.contract.devices import AttachAnswer, DeliveryChanged, Offer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.session import WhoAmIAnswer
from tests.eventually import eventually
from tests.redis_server import redis_server
from tests.running import script
from tests.signaling.care import CLAIM, apply, change, live, submit
from tests.signaling.visit import Told
from tests.signaling.workers.crew import BODY, KEY, PATIENT, Crew, crew, token

pytestmark = pytest.mark.timeout(180)  # each starts several servers, on a machine that may be busy
PROGRAM = """
from signaling.config import config_from
from signaling.hub import Caller, Hub, hub_method
from signaling.policy import ANYONE
from signaling.server import serve

class Room(Hub):
    path, name = "/hubs/room", "room"
    policy = {"Say": ANYONE, "WhoAmI": ANYONE}

    @hub_method("Say")
    def say(self, caller: Caller, text: str) -> int:
        caller.clients.all.send("said", text)
        return 1

    @hub_method("WhoAmI")
    def who(self, caller: Caller) -> dict[str, object]:
        return {"ok": True, "user": caller.user, "clinic": "c1", "roles": [], "connectionId": caller.connection_id}

serve(config_from(dev=True), hubs=[Room()])
"""


async def fits(workers: Crew, fitter: int, phone: int) -> None:
    """One change from a fitter on one worker to the phone on another, and its proof back."""
    told, heard = Told(), Told()
    await workers.running.register(token("ann", "clinician"), BODY)
    pat = await workers.client(phone, "pat", "patient", "device", heard=heard)
    assert isinstance(await pat.ask("AttachDevice", CLAIM, answer=AttachAnswer), AttachAnswer)
    ann = await workers.client(fitter, "ann", "clinician", heard=told)
    leased = await live(ann)
    accepted = await submit(ann, change(leased))
    assert isinstance(accepted, SubmitAnswer), accepted
    await apply(pat, await heard.first(Offer))
    proven = (accepted.seq, "confirmed")
    await eventually(lambda: proven in [(one.seq, one.state) for one in told.of(DeliveryChanged)])


async def polls(workers: Crew) -> None:
    """Calls over long polling, each request over a connection of its own: nothing keeps a client on its worker."""

    async def asked(method: str, path: str, body: bytes = b"") -> bytes:
        head = {"Authorization": f"Bearer {token('ann', 'clinician')}"}
        async with (
            aiohttp.ClientSession(headers=head) as http,
            http.request(method, workers.url + path, data=body) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return await answer.read()

    negotiated = json.loads(await asked("POST", "/hub/negotiate?negotiateVersion=1"))
    path = f"/hub?id={quote(negotiated['connectionToken'])}"
    assert await asked("GET", path) == b""
    await asked("POST", path, b'{"protocol":"json","version":1}\x1e')
    assert await asked("GET", path) == b"{}\x1e"
    for number in range(12):
        call = f'{{"type":1,"invocationId":"{number}","target":"WhoAmI","arguments":[]}}\x1e'
        await asked("POST", path, call.encode())
        answer = json.loads((await asked("GET", path)).rstrip(b"\x1e"))
        assert (answer["invocationId"], answer["result"]["user"]) == (str(number), "ann")


async def test_it_serves_and_ends_in_order(tmp_path: Path) -> None:
    async with crew(tmp_path, **PATIENT) as workers:
        await fits(workers, fitter=0, phone=1)
        found = await workers.metrics()
        for number in ("0", "1"):
            assert found["auricle_worker_up", frozenset({("worker", number)})] == 1
            assert found["auricle_worker_restarts_total", frozenset({("worker", number)})] == 0
            calls = {"worker": number, "hub": "care", "method": "WhoAmI", "outcome": "ok"}
            assert found["auricle_hub_invocations_total", frozenset(calls.items())] >= 1
        await workers.until_well()
        await polls(workers)
        assert len(workers.valkey()) == 1
        assert not [one for child in workers.valkey() for one in child.net_connections("inet")]
        assert await workers.running.terminate() == 0
        await workers.until_nobody_is_left()
        process = workers.running.process
        assert process.stdout is not None
        # The line that said that it is ready was the only one.
        assert await process.stdout.read() == b""
        events = [(one["event"], one.get("worker")) for one in workers.log()]
        assert {("draining", 0), ("draining", 1), ("stopped", 0), ("stopped", 1)} <= set(events)
        assert events[-1] == ("stopped", None)


async def test_what_is_killed_is_started_again_and_the_others_go_on(tmp_path: Path) -> None:
    async with crew(tmp_path, **PATIENT) as workers:
        stays = await workers.client(0, "ann", "clinician")
        comes_back = await workers.client(1, "bob", "clinician", lasting=True)
        killed = workers.worker(1)
        killed.kill()
        await eventually(lambda: comes_back.state is Link.RECONNECTING)
        assert (await stays.invoke("WhoAmI", result=WhoAmIAnswer)).user == "ann"
        await eventually(lambda: comes_back.state is Link.CONNECTED)
        assert (await comes_back.invoke("WhoAmI", result=WhoAmIAnswer)).user == "bob"
        await workers.until_logged("child_back", child="worker 1")
        [ended] = [one for one in workers.log() if one["event"] == "child_ended"]
        assert (ended["child"], ended["code"]) == ("worker 1", -signal.SIGKILL)
        assert workers.worker(1).pid != killed.pid
        await workers.until_well()
        found = await workers.metrics()
        assert found["auricle_worker_restarts_total", frozenset({("worker", "1")})] == 1
        assert found["auricle_worker_up", frozenset({("worker", "1")})] == 1
        assert (await (await workers.client(1, "ann", "clinician")).invoke("WhoAmI", result=WhoAmIAnswer)).user == "ann"
        [valkey] = workers.valkey()
        valkey.kill()
        await workers.until_logged("child_back", child="valkey")
        await workers.until_well()
        await fits(workers, fitter=1, phone=0)
        # And nobody is left behind by a supervisor that is killed, nor one that cannot notice anything.
        assert len(workers.children()) == 3
        workers.worker(1).suspend()
        workers.running.process.kill()
        await workers.until_nobody_is_left()


async def test_a_worker_that_hangs_holds_up_neither_the_metrics_nor_the_end(tmp_path: Path) -> None:
    quick = {"AURICLE_WORKER_METRICS_S": "0.2", "AURICLE_DRAIN_S": "0.5", "AURICLE_WORKER_END_S": "0.5"}
    async with crew(tmp_path, AURICLE_WORKER_HANG_S="100", **quick) as workers:
        awake = await workers.client(0, "ann", "clinician")
        workers.worker(1).suspend()
        found = await workers.metrics()
        assert found["auricle_worker_up", frozenset({("worker", "0")})] == 1
        assert found["auricle_worker_up", frozenset({("worker", "1")})] == 0
        missed = {"bound": "worker_metrics_s", "worker": "0"}
        assert found["auricle_bound_reached_total", frozenset(missed.items())] >= 1
        assert (await awake.invoke("WhoAmI", result=WhoAmIAnswer)).user == "ann"
        assert await workers.running.terminate() == 0
        await workers.until_nobody_is_left()
        killed = [(one["child"], one["state"]) for one in workers.log() if one["event"] == "child_killed"]
        assert ("worker 1", "draining") in killed


async def test_a_worker_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    async with crew(tmp_path, AURICLE_WORKER_HANG_S="6", **PATIENT) as workers:
        awake = await workers.client(0, "ann", "clinician")
        hanging = workers.worker(1)
        hanging.suspend()
        await workers.until_logged("child_back", child="worker 1")
        [killed] = [one for one in workers.log() if one["event"] == "child_killed"]
        assert (killed["child"], killed["state"]) == ("worker 1", "up")
        assert workers.worker(1).pid != hanging.pid
        await workers.until_well()
        found = await workers.metrics()
        bound = {"bound": "worker_hang_s", "worker": "supervisor"}
        assert found["auricle_bound_reached_total", frozenset(bound.items())] == 1
        assert (await (await workers.client(1, "bob", "clinician")).invoke("WhoAmI", result=WhoAmIAnswer)).user == "bob"
        # The one that does its work was left alone.
        assert (await awake.invoke("WhoAmI", result=WhoAmIAnswer)).user == "ann"


async def test_a_valkey_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    async with crew(tmp_path, AURICLE_WORKER_HANG_S="3", **PATIENT) as workers:
        [hanging] = workers.valkey()
        hanging.suspend()
        await workers.until_logged("child_back", child="valkey")
        [killed] = [one for one in workers.log() if one["event"] == "child_killed"]
        assert (killed["child"], killed["state"]) == ("valkey", "up")
        [valkey] = workers.valkey()
        assert valkey.pid != hanging.pid
        await workers.until_well()
        bound = {"bound": "worker_hang_s", "worker": "supervisor"}
        assert (await workers.metrics())["auricle_bound_reached_total", frozenset(bound.items())] == 1
        await fits(workers, fitter=1, phone=0)


async def test_a_worker_that_ends_again_and_again_ends_the_server(tmp_path: Path) -> None:
    few = {"AURICLE_MAX_WORKER_RESTARTS": "1", "AURICLE_WORKER_RESTART_WINDOW_S": "600"}
    async with crew(tmp_path, **few) as workers:
        workers.worker(1).kill()
        await workers.until_logged("child_back", child="worker 1")
        workers.worker(1).kill()
        assert await asyncio.wait_for(workers.running.process.wait(), 60) == 3
        lines = workers.running.log_text.splitlines()
        assert "auricle: worker 1 has ended 2 times within 600 s: the server ends" in lines
        await workers.until_nobody_is_left()


async def test_a_redis_that_is_given_takes_the_place_of_the_embedded_valkey(tmp_path: Path) -> None:
    with redis_server() as bus:
        async with crew(tmp_path, AURICLE_REDIS_URL=bus.url, **PATIENT) as workers:
            assert len(workers.children()) == 2
            assert workers.valkey() == []
            await workers.until_well()
            assert await workers.running.terminate() == 0


async def test_two_servers_share_neither_a_port_nor_a_data_folder(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with crew(tmp_path) as workers:
        port = workers.url.rpartition(":")[2]
        said = await asyncio.to_thread(refused_start, other, "--workers", "2", "--port", port)
        assert said == f"auricle: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        for number in ("1", "2"):
            said = await asyncio.to_thread(refused_start, tmp_path, "--workers", number, "--port", "0")
            assert said == f"auricle: data: another server runs in {tmp_path}\n"


def test_what_no_worker_can_work_with_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first of them: the others are not tried."""
    limits = tmp_path / "limits.json"
    limits.write_text("{")
    monkeypatch.setenv("AURICLE_CLINIC_LIMITS", str(limits))
    assert refused_start(tmp_path, "--workers", "3", "--port", "0") == f"auricle: clinic_limits: {limits} is not JSON\n"


def refused_start(data: Path, *arguments: str) -> str:
    """What a server that cannot start says."""
    command = [sys.executable, "-m", "signaling", "serve", "--dev", "--data", str(data), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


async def test_workers_serve_the_hubs_of_the_program_that_started_them(tmp_path: Path) -> None:
    program = tmp_path / "own.py"
    program.write_text(PROGRAM)
    environ = {"AURICLE_WORKERS": "2", "AURICLE_DEV_SIGNING_KEY": KEY}
    async with script(tmp_path, program, **environ) as running, AsyncExitStack() as stack:
        workers = Crew(running, stack)
        heard: list[list[str]] = [[], []]
        rooms = [await workers.client(number, f"u{number}", "clinician", path="/hubs/room") for number in (0, 1)]
        for room, words in zip(rooms, heard, strict=True):
            room.on("said", words.append, str)
        async with asyncio.timeout(20):
            # That one listens is told to the other worker, and nobody tells when it knows.
            while not all(heard):
                await rooms[0].invoke("Say", "hello", result=int)
                await asyncio.sleep(0.02)  # polling
