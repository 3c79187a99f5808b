"""The probe of a hub over Socket.IO: on one pod, on two without sticky sessions, and what it says when it fails."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from clients.probe.verdicts import Finding
from tests.clients.fronts import front, port_of, stranger
from tests.clients.test_probe import found, outcomes, target
from tests.running import Server, server
from tests.signaling.pods_around import around

BOTH = {"socketio-websocket", "socketio-polling"}


@pytest.fixture(scope="module")
async def auricle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with server(tmp_path_factory.mktemp("probed")) as running:
        yield running


async def asked(url: str, token: str) -> dict[str, Finding]:
    return await found(target(url, token), "socketio")


async def test_a_good_server_is_entered_and_answers(auricle: Server) -> None:
    findings = await asked(auricle.url, await auricle.token("ann"))
    assert outcomes(findings) == dict.fromkeys(BOTH, "ok"), findings


async def test_pods_need_no_sticky_sessions() -> None:
    async with around() as scene:
        ports = [port_of(pod.url) for pod in scene.pods]
        came: list[bytes] = []

        def in_turn(head: bytes) -> int:
            came.append(head)
            return ports[len(came) % 2]

        async with front(in_turn) as port:
            findings = await asked(f"http://127.0.0.1:{port}", scene.east.token())
        assert outcomes(findings) == dict.fromkeys(BOTH, "ok"), findings


@pytest.mark.parametrize(("but_for", "outcome"), [(b"\xff", "fail"), (b"pod=1", "warn")])
async def test_a_balancer_that_sends_polls_anywhere_is_told(auricle: Server, but_for: bytes, outcome: str) -> None:
    polled: list[bytes] = []

    def choose(head: bytes) -> int:
        polled.append(head)
        return right if len(polled) % 2 or but_for in head else wrong

    def with_cookie(answer: bytes) -> bytes:
        return answer.replace(b"\r\n", b"\r\nSet-Cookie: pod=1; Path=/\r\n", 1)

    right = port_of(auricle.url)
    unknown = {"code": 1, "message": "Session ID unknown"}
    async with (
        stranger(lambda _: web.json_response(unknown, status=400)) as wrong,
        front(choose, reword=with_cookie) as port,
    ):
        findings = await found(target(f"http://127.0.0.1:{port}", await auricle.token("ann")), "socketio-polling")
    assert findings["socketio-polling"].outcome == outcome, findings
    if outcome == "fail":
        assert "400: it did not reach the pod that holds the session" in findings["socketio-polling"].what


async def test_who_is_refused_is_told_and_his_token_is_not(auricle: Server) -> None:
    token = "no.good.token"
    findings = await asked(auricle.url, token)
    assert outcomes(findings) == dict.fromkeys(BOTH, "fail"), findings
    assert all("refused the token" in one.what and token not in one.what for one in findings.values())


async def test_a_server_without_it_is_no_failure(tmp_path: Path) -> None:
    async with server(tmp_path, AURICLE_SOCKETIO="false") as running:
        findings = await asked(running.url, await running.token("ann"))
    assert outcomes(findings) == dict.fromkeys(BOTH, "skip"), findings


async def test_what_is_no_engine_io_fails() -> None:
    async with stranger(lambda _: web.Response(text="<html>")) as port:
        findings = await asked(f"http://127.0.0.1:{port}", "a.good.token")
    assert outcomes(findings) == dict.fromkeys(BOTH, "fail"), findings
