"""Nothing is sent to clients of the care hub that the contract does not list: there is one way to send."""

import ast
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from protocol.contract.base import Wire
from protocol.contract.devices import Settled
from protocol.contract.pushes import ANSWERS, PUSHES
from protocol.contract.session import SessionExpiring
from protocol.errors import LocalProtocolError
from signaling.pushes import ask, push

W = TypeVar("W", bound=Wire)

SIGNALING = Path(__file__).parents[2] / "signaling"
# What carries messages, whatever they say, and the hub for checking clients, whose callers choose what is sent.
CARRIERS = {
    "caller.py",
    "client_results.py",
    "connection.py",
    "far_asks.py",
    "hub_clients.py",
    "hubs/conformance_hub.py",
    "lifetime.py",
    "outbound.py",
    "pushes.py",
}
SPEAKERS = sorted(
    path
    for path in SIGNALING.rglob("*.py")
    # What sends to Redis, to other pods and to workers holds no client of the hub.
    if (name := path.relative_to(SIGNALING).as_posix()) not in CARRIERS
    and not name.startswith(("transports/", "bus/", "pods/", "workers/"))
)
SENDING = {"send", "send_here", "ask"}
MESSAGES = {"Invocation", "Outbound"}


def sends(source: str) -> list[str]:
    """The places of a module that send to clients otherwise than with ``push``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in SENDING and not _is_push_service(node.value):
            found.append(f"line {node.lineno}: .{node.attr}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MESSAGES:
            found.append(f"line {node.lineno}: {node.func.id}")
    return found


def _is_push_service(receiver: ast.expr) -> bool:
    """What wakes phones is no client of the hub."""
    return isinstance(receiver, ast.Attribute) and receiver.attr in ("_notifier", "notifier")


@pytest.mark.parametrize("path", SPEAKERS, ids=lambda path: path.relative_to(SIGNALING).as_posix())
def test_the_server_sends_only_what_the_contract_lists(path: Path) -> None:
    """What fails here is sent with ``push`` or ``ask`` of ``signaling.pushes``; its type is in ``contract.pushes``."""
    assert sends(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "caller.send('LeaseLost', payload)",
        "self._clients.group(name).send(target, payload)",
        "send = phone.caller.send",
        "await caller.ask('ConsentAsked', payload)",
        "lifetime.send(lifetime.everybody, outbound)",
        "link.put(Outbound(message))",
        "Invocation(target='LeaseLost', arguments=(payload,))",
    ],
)
def test_every_way_around_is_seen(source: str) -> None:
    assert len(sends(source)) == 1


async def test_a_push_that_asks_brings_the_answer_that_the_contract_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    class Link:
        async def ask(self, target: str, *arguments: object, result: type[W]) -> W:
            return msgspec.convert({"expiresAt": target}, result)

    settled = Settled(device="d1", epoch="e", seq=1)
    with pytest.raises(LocalProtocolError, match="Settled: the contract does not list SessionExpiring as its answer"):
        await ask(Link(), settled, answer=SessionExpiring)
    monkeypatch.setattr("signaling.pushes.ANSWERS", {"Settled": SessionExpiring})
    assert await ask(Link(), settled, answer=SessionExpiring) == SessionExpiring(expires_at="Settled")


def test_a_push_goes_to_the_client_method_of_its_name() -> None:
    sent: list[tuple[Any, ...]] = []

    class Link:
        def send(self, target: str, *arguments: object) -> None:
            sent.append((target, *arguments))

    settled = Settled(device="d1", epoch="e", seq=1)
    push(Link(), settled)
    assert sent == [("Settled", settled)]
    assert PUSHES["Settled"] is Settled
    assert ANSWERS.keys() <= PUSHES.keys()
