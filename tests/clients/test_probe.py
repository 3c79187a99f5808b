"""The probe against real servers, and against what is in their place: each fault is told, and told as what it is."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from clients.probe.catalogue import NAMES, matching
from clients.probe.probing import probed
from clients.probe.target import Target, target_of
from clients.probe.verdicts import Finding
from tests.clients.fronts import Choose, front, identity, port_of, stranger
from tests.coturn import SECRET, coturn, needs_coturn
from tests.eventually import eventually_asked
from tests.running import Server, server

# A name needs no resolver, and this machine no encryption; and there is no TURN server.
ACS = {"acs-identities", "acs-chat", "acs-rooms", "acs-events"}
SKIPPED = {"dns", "tls", "turn"} | ACS
HUB = ("negotiate", "websockets", "event-stream", "long-polling", "resume", "balancer", "socketio")


@pytest.fixture(scope="module")
async def auricle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with server(tmp_path_factory.mktemp("probed")) as running:
        yield running


def target(url: str, token: str | None = None, *, timeout_s: float = 20.0, ca_file: Path | None = None) -> Target:
    named = None if ca_file is None else str(ca_file)
    return target_of(url, hub_path="/hub", token=token, timeout_s=timeout_s, ca_file=named)


async def found(one: Target, *only: str) -> dict[str, Finding]:
    chosen = frozenset[str]().union(*(matching(word) for word in only))
    return {finding.name: finding async for finding in probed(one, chosen)}


def outcomes(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.outcome for name, finding in findings.items()}


async def command(*words: str, **environ: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signaling", "probe", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"AURICLE_PROBE_TOKEN": "", **environ},
    )
    output, errors = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_a_good_server_gets_a_line_for_each_check_and_exit_code_0(auricle: Server) -> None:
    code, output, errors = await command(auricle.url, "--dev-key", "--data", str(auricle.data))
    assert (code, errors) == (0, ""), output
    lines = [line.split(maxsplit=2) for line in output.splitlines()]
    assert [name for _, name, _ in lines] == list(NAMES)
    assert {name for outcome, name, _ in lines if outcome == "skip"} == SKIPPED
    assert {outcome for outcome, name, _ in lines if name not in SKIPPED} == {"ok"}, output
    assert "skip  turn                      not configured" in output


@needs_coturn
@pytest.mark.parametrize(("secret", "outcome"), [(SECRET, "ok"), ("another", "fail")])
async def test_turn_servers_are_asked_for_what_they_are_there_for(tmp_path: Path, secret: str, outcome: str) -> None:
    with coturn() as turn:
        plan = tmp_path / "ice.json"
        plan.write_text(json.dumps({"regions": {"here": {"turn": [turn.url]}}, "default": "here"}))
        environ = {"AURICLE_ICE_SERVERS": str(plan), "AURICLE_TURN_SECRET": secret}
        async with server(tmp_path, **environ) as running:
            one = target(running.url)

            async def asked() -> bool:
                return outcomes(await found(one, "turn"))["turn"] != "skip"

            # It asks them as soon as it runs.
            await eventually_asked(asked)
            assert outcomes(await found(one, "turn")) == {"turn": outcome}


async def test_the_json_of_a_good_server_is_one_object(auricle: Server) -> None:
    token = await auricle.token("ann")
    code, output, errors = await command(auricle.url, "--json", "--only", "ready,resume", AURICLE_PROBE_TOKEN=token)
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert (report["url"], report["ok"]) == (auricle.url, True)
    assert [check["name"] for check in report["checks"]] == ["ready", "resume-json", "resume-messagepack"]
    assert {check["outcome"] for check in report["checks"]} == {"ok"}
    assert all(check["ms"] > 0 for check in report["checks"])


async def test_a_wrong_token_fails_once_and_is_never_printed(auricle: Server) -> None:
    token = await auricle.token("ann")
    wrong = f"{token[:-6]}AAAAAA"
    code, output, errors = await command(auricle.url, "--token", wrong)
    assert (code, errors) == (1, "")
    assert [line.split()[1] for line in output.splitlines() if line.startswith("FAIL")] == ["negotiate"]
    assert "the token is refused (401)" in output
    assert "skip  resume-json               needs negotiate" in output
    assert wrong not in output
    assert wrong.rpartition(".")[2] not in output


async def test_without_a_token_it_says_so_and_looks_at_everything_else(auricle: Server) -> None:
    findings = await found(target(auricle.url))
    assert findings["token"].outcome == "warn"
    skipped = {name for name, finding in findings.items() if finding.what == "needs a token"}
    assert skipped == frozenset().union(*(matching(word) for word in HUB))
    others = {name: finding.outcome for name, finding in findings.items() if name not in skipped | SKIPPED | {"token"}}
    assert set(others.values()) == {"ok"}, findings


async def test_a_server_that_misses_its_redis_is_a_warning_that_names_it(tmp_path: Path) -> None:
    async with server(tmp_path, AURICLE_REDIS_URL=f"unix://{tmp_path}/nobody") as running:
        findings = await found(target(running.url, await running.token("ann")))
    assert outcomes(findings) | {"ready": "warn", "redis": "warn"} == outcomes(findings)
    assert "redis" in findings["ready"].what
    others = {finding.outcome for name, finding in findings.items() if name not in SKIPPED | {"ready", "redis"}}
    assert others == {"ok"}, findings


async def test_a_server_that_is_about_to_end_fails() -> None:
    def draining(_: web.Request) -> web.Response:
        return web.json_response({"status": "draining"}, status=503)

    async with stranger(draining) as port:
        findings = await found(target(f"http://127.0.0.1:{port}"), "ready", "database")
    assert outcomes(findings) == {"ready": "fail", "database": "skip"}


async def test_a_private_authority_has_to_be_named(auricle: Server, tmp_path: Path) -> None:
    ours = identity(tmp_path, good_for=timedelta(days=60))
    token = await auricle.token("ann")
    async with front(lambda _: port_of(auricle.url), tls=ours.context) as port:
        url = f"https://localhost:{port}"
        trusted = await found(target(url, token, ca_file=ours.ca_file))
        distrusted = await found(target(url, token))
    # The name may lead to an address of IPv6 too, where nobody listens.
    assert trusted["tcp"].outcome in ("ok", "warn")
    assert {outcome for name, outcome in outcomes(trusted).items() if name not in ACS | {"turn", "tcp"}} == {"ok"}, (
        trusted
    )
    assert "TLSv1.3, the certificate is good for 59 days more" in trusted["tls"].what
    assert distrusted["tls"].outcome == "fail"
    assert "the certificate is not good" in distrusted["tls"].what
    assert distrusted["websockets-json"].what == "needs negotiate"


@pytest.mark.parametrize(("days", "outcome"), [(13.5, "warn"), (15.5, "ok"), (-1, "fail")])
async def test_a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_fails(
    tmp_path: Path, days: float, outcome: str
) -> None:
    ours = identity(tmp_path, good_for=timedelta(days=days))
    async with front(lambda _: 1, tls=ours.context) as port:
        findings = await found(target(f"https://localhost:{port}", ca_file=ours.ca_file), "tls")
    assert findings["tls"].outcome == outcome, findings


async def test_a_port_that_is_closed_is_one_failure() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        findings = await found(target(f"http://127.0.0.1:{reserved.getsockname()[1]}", "a.b.c"))
    failed = [name for name, outcome in outcomes(findings).items() if outcome == "fail"]
    assert failed == ["tcp"]
    assert "refused" in findings["tcp"].what.lower()
    assert findings["http"].what == "needs tcp"
    assert findings["balancer"].what == "needs negotiate"


async def test_a_black_hole_is_one_failure_that_names_the_time() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(16)  # the kernel takes the connection, and nobody ever reads
        findings = await found(target(f"http://127.0.0.1:{hole.getsockname()[1]}", timeout_s=1.0))
    assert [name for name, outcome in outcomes(findings).items() if outcome == "fail"] == ["http"]
    assert findings["http"].what == "nothing within 1 s"
    assert findings["alive"].what == "needs http"


async def test_a_server_that_is_no_auricle_fails_and_says_what_it_is_not() -> None:
    def missing(_: web.Request) -> web.Response:
        return web.Response(status=404, text="nothing here")

    async with stranger(missing) as port:
        findings = await found(target(f"http://127.0.0.1:{port}", "a.b.c"))
    assert findings["http"].outcome == "ok"
    failed = {name for name, outcome in outcomes(findings).items() if outcome == "fail"}
    assert failed == {"alive", "ready", "foreign-origin", "missing-token", "forged-token", "negotiate"}
    assert "is not Auricle's" in findings["alive"].what
    assert "there is no hub at that path" in findings["negotiate"].what


async def test_whoever_is_let_in_and_should_not_be_is_told() -> None:
    def everybody(_: web.Request) -> web.Response:
        return web.json_response({"connectionToken": "x"})

    async with stranger(everybody) as port:
        findings = await found(target(f"http://127.0.0.1:{port}"), "foreign-origin", "missing-token", "forged-token")
    assert set(outcomes(findings).values()) == {"fail"}
    assert all("LET IN (200)" in finding.what for finding in findings.values())


@pytest.mark.parametrize(
    ("date", "words"),
    [("Thu, 01 Jan 2099 00:00:00 GMT", "ahead of"), ("Thu, 01 Jan 2015 00:00:00 GMT", "behind")],
)
async def test_a_clock_that_differs_is_a_warning(date: str, words: str) -> None:
    async with stranger(lambda _: web.Response(headers={"Date": date})) as port:
        findings = await found(target(f"http://127.0.0.1:{port}"), "clock")
    assert findings["clock"].outcome == "warn"
    assert words in findings["clock"].what


async def test_an_address_that_leads_elsewhere_fails() -> None:
    async with stranger(lambda _: web.Response(status=308, headers={"Location": "https://else.invalid/"})) as port:
        findings = await found(target(f"http://127.0.0.1:{port}"), "http")
    assert findings["http"].outcome == "fail"
    assert "sent elsewhere (308)" in findings["http"].what


def _polls_go_astray(right: int, wrong: int, *, but_for: bytes = b"\xff") -> tuple[list[bytes], Choose]:
    """Every other poll goes to another backend, unless it shows ``but_for``."""
    polled: list[bytes] = []

    def choose(head: bytes) -> int:
        if not head.startswith(b"GET /hub?") or but_for in head:
            return right
        polled.append(head)
        return wrong if len(polled) % 2 == 0 else right

    return polled, choose


async def test_a_balancer_that_sends_polls_anywhere_fails(auricle: Server) -> None:
    async with stranger(lambda _: web.Response(status=404)) as other:
        polled, choose = _polls_go_astray(port_of(auricle.url), other)
        async with front(choose) as port:
            findings = await found(target(f"http://127.0.0.1:{port}", await auricle.token("ann")), "balancer")
    assert polled
    assert findings["balancer"].outcome == "fail"
    assert "404: it did not reach the pod that holds the connection" in findings["balancer"].what


async def test_a_balancer_that_needs_its_cookie_is_a_warning(auricle: Server) -> None:
    def with_cookie(answer: bytes) -> bytes:
        return answer.replace(b"\r\n", b"\r\nSet-Cookie: pod=1\r\n", 1)

    async with stranger(lambda _: web.Response(status=404)) as other:
        _, choose = _polls_go_astray(port_of(auricle.url), other, but_for=b"pod=1")
        async with front(choose, reword=with_cookie) as port:
            findings = await found(target(f"http://127.0.0.1:{port}", await auricle.token("ann")), "balancer")
    assert findings["balancer"].outcome == "warn", findings


async def test_a_connection_that_cannot_come_back_fails(auricle: Server) -> None:
    upgrades: list[bytes] = []

    async with stranger(lambda _: web.Response(status=404)) as other:

        def choose(head: bytes) -> int:
            upgrades.extend([head] * (b"upgrade" in head.lower()))
            return port_of(auricle.url) if len(upgrades) % 2 else other

        async with front(lambda head: choose(head) if b"GET /hub" in head else port_of(auricle.url)) as port:
            findings = await found(target(f"http://127.0.0.1:{port}", await auricle.token("ann")), "resume-json")
    assert findings["resume-json"].outcome == "fail"
    assert "the WebSocket was refused with 404" in findings["resume-json"].what


async def test_a_server_without_stateful_reconnect_is_no_failure(tmp_path: Path) -> None:
    async with server(
        tmp_path, AURICLE_STATEFUL_RECONNECT="false", AURICLE_TRANSPORTS="WebSockets,LongPolling"
    ) as running:
        findings = await found(target(running.url, await running.token("ann")), *HUB)
    skipped = {name for name, outcome in outcomes(findings).items() if outcome == "skip"}
    assert skipped == {"resume-json", "resume-messagepack", "event-stream-json"}
    assert {outcome for name, outcome in outcomes(findings).items() if name not in skipped} == {"ok"}, findings
