"""The page about hubs of one's own is true: its program runs as it is printed, and Microsoft's client finds it so."""

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.node_client import NodeDriver, NodeError
from tests.running import Server, script

PAGE = Path(__file__).parents[2] / "docs" / "write-a-hub.md"
PATH = "/hubs/chat"


def program() -> str:
    """The one Python block of the page."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Server]:
    file = tmp_path / "chat.py"
    file.write_text(program())
    async with script(tmp_path, file) as running:
        yield running


async def connect(node: NodeDriver, chat: Server, connection: str, user: str, role: str, **options: str) -> None:
    token = await chat.token(user, role)
    await node.call("connect", connection=connection, url=chat.url + PATH, token=token, **options)
    for method in ("came", "joined", "said"):
        await node.on(connection, method)


def test_the_class_has_twenty_lines() -> None:
    (hub,) = [node for node in ast.walk(ast.parse(program())) if isinstance(node, ast.ClassDef)]
    assert hub.end_lineno is not None
    lines = program().splitlines()[hub.lineno - 1 : hub.end_lineno]
    assert len([line for line in lines if line.strip()]) == 20


async def test_the_program_of_the_page_is_a_hub(chat: Server, node: NodeDriver) -> None:
    await connect(node, chat, "ann", "ann", "clinician", protocol="json")
    await connect(node, chat, "pat", "pat", "patient", protocol="messagepack", transport="LongPolling")

    assert await node.push("ann", "came") == ["pat"]
    await node.invoke("ann", "Join", "kitchen")
    await node.invoke("pat", "Join", "kitchen")
    assert await node.push("ann", "joined") == ["pat"]
    assert await node.invoke("pat", "Say", "kitchen", "good morning") == 1
    assert await node.push("ann", "said") == await node.push("pat", "said") == ["pat", "good morning"]
    assert node.seen("push", "pat", method="joined") == 0

    await node.subscribe("ann", "h", "History")
    assert await node.items("ann", "h", 1) == ["good morning"]
    assert await node.completed("ann", "h") is None
    await node.subscribe("pat", "h", "History")
    assert "unauthorized" in str(await node.completed("pat", "h"))
    with pytest.raises(NodeError, match="Method does not exist"):
        await node.invoke("ann", "on_connected")

    assert await chat.terminate() == 0
    assert "crashed" not in chat.log_text
