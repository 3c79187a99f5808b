"""The greenlets' connection against a real server process: calls, pushes, keep-alive, bounds, and every kind of end.

gevent runs in a thread of its own, unpatched, as the test's loop runs in another.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import gevent  # type: ignore[import-untyped]  # the library ships no types
import pytest
from gevent.event import AsyncResult, Event  # type: ignore[import-untyped]  # the library ships no types

from clients.hub_errors import HubCallError, HubOverloaded, HubRefused, LinkLost, NotConnected
from loadtest.signalr_socket import SignalRSocket, SocketOptions
from protocol.signalr.codec import ProtocolName
from protocol.signalr.endpoint import HubLimits
from tests.eventually import eventually
from tests.running import Server, server

T = TypeVar("T")
SOON_S = 30.0
PATIENT = SocketOptions(call_timeout_s=SOON_S, connect_timeout_s=SOON_S, tick_s=0.05, max_pending_calls=2)


async def in_greenlets(work: Callable[[], T], *hubs: SignalRSocket) -> T:
    """Run ``work`` beside the loop, in a thread with a gevent hub, and close ``hubs`` there."""

    def run() -> T:
        try:
            return work()
        finally:
            for hub in hubs:
                hub.close()
            gevent.get_hub().destroy()

    return await asyncio.to_thread(run)


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with server(tmp_path_factory.mktemp("data"), "--conformance") as started:
        yield started


@pytest.fixture(params=["json", "messagepack"])
def protocol(request: pytest.FixtureRequest) -> ProtocolName:
    chosen: ProtocolName = request.param
    return chosen


@pytest.fixture
async def hub(running: Server, protocol: ProtocolName) -> SignalRSocket:
    """A connection that is yet to be opened."""
    return await new_socket(running, protocol)


async def new_socket(
    running: Server, protocol: ProtocolName = "json", options: SocketOptions = PATIENT, token: str | None = None
) -> SignalRSocket:
    token = await running.token("ann", "clinician") if token is None else token
    headers = {"Authorization": f"Bearer {token}"}
    return SignalRSocket(f"{running.url}/hubs/conformance", protocol=protocol, headers=headers, options=options)


def opened(hub: SignalRSocket) -> SignalRSocket:
    hub.open()
    return hub


def result(hub: SignalRSocket, target: str, *arguments: object) -> Any:
    raw = hub.invoke(target, *arguments)
    return None if raw is None else hub.codec.free(raw)


async def test_calls_are_answered_with_their_own_results(hub: SignalRSocket) -> None:
    def work() -> list[object]:
        opened(hub)
        calls = [gevent.spawn(result, hub, "Echo", {"n": number, "text": "ä" * number}) for number in range(2)]
        gevent.joinall(calls, timeout=SOON_S, raise_error=True)
        return [call.value for call in calls] + [result(hub, "Add", 1, 2), result(hub, "Blob", 70_000)]

    first, second, total, blob = await in_greenlets(work, hub)
    assert (first, second, total) == ({"n": 0, "text": ""}, {"n": 1, "text": "ä"}, 3)
    assert blob == "x" * 70_000


async def test_an_error_of_the_call_is_raised_and_the_connection_goes_on(hub: SignalRSocket) -> None:
    def work() -> object:
        opened(hub)
        with pytest.raises(HubCallError, match="on purpose"):
            hub.invoke("Fail", "on purpose")
        with pytest.raises(HubCallError):
            hub.invoke("NoSuchMethod")
        return result(hub, "Echo", "still here")

    assert await in_greenlets(work, hub) == "still here"


async def test_pushes_reach_their_handlers_typed_and_client_results_are_answered(hub: SignalRSocket) -> None:
    def work() -> tuple[object, ...]:
        heard = AsyncResult()
        hub.on("Told", lambda *arguments: heard.set(arguments), int)
        hub.on("Asked", lambda text: text.upper(), str)
        opened(hub)
        hub.send("CallMe", "tOLD", 1, 2)
        with pytest.raises(HubCallError, match="Client didn't provide a result"):
            hub.invoke("AskMe", "Unknown")
        return heard.get(timeout=SOON_S), result(hub, "AskMe", "Asked", "loud")

    assert await in_greenlets(work, hub) == ((1, 2), "LOUD")


async def test_a_push_that_cannot_be_understood_ends_the_connection_with_a_reason(
    hub: SignalRSocket, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> str:
        lost = AsyncResult()
        hub.on("Told", lambda _: None, int)
        hub.on_lost = lost.set
        opened(hub)
        hub.send("CallMe", "Told", "not a number")
        reason: str = lost.get(timeout=SOON_S)
        with pytest.raises(NotConnected):
            hub.invoke("Echo", 1)
        return reason

    assert await in_greenlets(work, hub) == "a handler failed: BadArgument"
    # gevent shows where.
    assert "BadArgument" in capfd.readouterr().err


async def test_a_call_without_an_answer_in_time_is_given_up_and_its_late_answer_ignored(hub: SignalRSocket) -> None:
    def work() -> object:
        gate, left = Event(), Event()

        def wait(_: str) -> str:
            # The one thing that a handler must not do: nothing is read meanwhile.
            gate.wait(SOON_S)
            left.set()
            return "late"

        hub.on("Asked", wait, str)
        opened(hub)
        with pytest.raises(TimeoutError, match=r"no answer within 0\.3 s"):
            hub.invoke("AskMe", "Asked", "x", timeout_s=0.3)
        gate.set()
        left.wait(SOON_S)
        return result(hub, "Echo", "next")

    assert await in_greenlets(work, hub) == "next"


async def test_no_more_calls_than_the_bound_are_out(hub: SignalRSocket) -> None:
    def work() -> None:
        gate = Event()
        hub.on("Asked", lambda _: gate.wait(SOON_S), str)
        opened(hub)
        calls = [gevent.spawn(hub.invoke, "AskMe", "Asked", "x", timeout_s=SOON_S) for _ in range(2)]
        gevent.idle()
        with pytest.raises(HubOverloaded, match="2 calls wait"):
            hub.invoke("Echo", 1)
        gate.set()
        gevent.joinall(calls, timeout=SOON_S, raise_error=True)

    await in_greenlets(work, hub)


async def test_a_connection_that_says_nothing_is_kept_alive_beyond_the_servers_time_out(
    tmp_path: Path, protocol: ProtocolName
) -> None:
    async with server(tmp_path, "--conformance", AURICLE_CLIENT_TIMEOUT_S="3", AURICLE_SWEEP_S="0.05") as brisk:
        await only_the_lively_one_lives(brisk, protocol)


async def only_the_lively_one_lives(running: Server, protocol: ProtocolName) -> None:
    limits = HubLimits(max_message_bytes=1_048_576, keep_alive_s=0.2)
    lively = await new_socket(running, protocol, SocketOptions(limits=limits, tick_s=0.05))
    # After its first ping, which is due at once, this one stays silent for longer than the server waits.
    silent = await new_socket(running, protocol)

    def work() -> tuple[str, object]:
        lost = AsyncResult()
        silent.on_lost = lost.set
        opened(lively)
        opened(silent)
        reason = lost.get(timeout=SOON_S)
        answer = result(lively, "Echo", "alive")
        return reason, answer

    reason, answer = await in_greenlets(work, lively, silent)
    assert reason.startswith("the server closed")
    assert answer == "alive"


async def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    limits = HubLimits(client_timeout_s=0.3)
    async with server(tmp_path, "--conformance", AURICLE_KEEP_ALIVE_S="60") as quiet:
        hub = await new_socket(quiet, options=SocketOptions(limits=limits, tick_s=0.05))

        def work() -> str:
            lost = AsyncResult()
            hub.on_lost = lost.set
            opened(hub)
            reason: str = lost.get(timeout=SOON_S)
            return reason

        assert await in_greenlets(work, hub) == "the server was silent for too long"


async def test_calls_that_are_out_when_the_server_ends_the_connection_fail(hub: SignalRSocket) -> None:
    def work() -> tuple[str, str]:
        reasons: list[str] = []
        hub.on_lost = reasons.append
        opened(hub)
        with pytest.raises(LinkLost) as failed:
            hub.invoke("Abort")
        assert reasons == [hub.lost]
        return str(failed.value), hub.lost

    said, lost = await in_greenlets(work, hub)
    assert said == lost == "the server closed it"


async def test_a_killed_server_is_a_connection_that_broke_off(tmp_path: Path, protocol: ProtocolName) -> None:
    async with server(tmp_path, "--conformance") as killed:
        hub = await new_socket(killed, protocol)

        def work() -> str:
            lost = AsyncResult()
            hub.on_lost = lost.set
            opened(hub)
            killed.process.kill()
            reason: str = lost.get(timeout=SOON_S)
            return reason

        assert await in_greenlets(work, hub) == "the connection broke off"


async def test_a_close_from_here_is_a_goodbye_that_nobody_is_told_of(running: Server) -> None:
    hub = await new_socket(running)
    reasons: list[str] = []

    def work() -> None:
        hub.on_lost = reasons.append
        opened(hub)
        hub.close()
        hub.close()
        with pytest.raises(NotConnected, match="closed here"):
            hub.invoke("Echo", 1)

    def causes() -> list[str]:
        """Why the newest connection ended, as the server saw it."""
        whole, _, _ = running.log_text.rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        newest = [line["connection"] for line in lines if line["event"] == "connection_opened"][-1]
        return [
            line["cause"] for line in lines if line["event"] == "connection_closed" and line["connection"] == newest
        ]

    await in_greenlets(work, hub)
    await eventually(causes)
    assert causes() == ["client_closed"]
    assert reasons == []
    assert hub.lost == "closed here"


async def test_who_may_not_in_is_refused_with_the_status_and_without_the_token(running: Server) -> None:
    hub = await new_socket(running, token="not-a-token")
    with pytest.raises(HubRefused) as refused:
        await in_greenlets(hub.open, hub)
    assert refused.value.status == 401
    assert str(refused.value) == "the WebSocket was refused with 401"


async def test_an_unknown_connection_token_is_refused(running: Server) -> None:
    hub = await new_socket(running)
    with pytest.raises(HubRefused, match="refused with 404"):
        await in_greenlets(lambda: hub.open("no such connection & token"), hub)


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        hub = SignalRSocket(
            f"http://127.0.0.1:{mute.getsockname()[1]}/hub", options=SocketOptions(connect_timeout_s=0.5)
        )
        with pytest.raises(HubRefused, match=r"no connection within 0\.5 s"):
            await in_greenlets(hub.open, hub)


async def test_a_server_that_is_away_is_refused_by_its_cause() -> None:
    hub = SignalRSocket("http://127.0.0.1:9/hub", options=PATIENT)
    with pytest.raises(HubRefused, match="no connection: ConnectionRefusedError"):
        await in_greenlets(hub.open, hub)
