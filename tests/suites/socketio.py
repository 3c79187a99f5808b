"""``python -m tests.suites.socketio FOLDER...``: the public suites of engine.io-protocol and socket.io-protocol.

A FOLDER is the ``test-suite`` of a checkout of one of the two, which you have; nothing of it is part of this project.
What it needs from npm is installed there. Each suite starts our server for it on port 3000, which it has built in, and
prints one JSON object: how many cases passed of how many, and of those that did not the reason, if one is known.
Exit 1: a case failed for no known reason. Exit 2: a folder holds neither suite.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.e2e.node_client import install, node_executable
from tests.suites.socketio_servers import engine_server, socket_server

PORT = 3_000
LIMIT_S = 180.0
# Cases that are known not to pass, each with its reason: none.
KNOWN_MISSES: Mapping[str, str] = MappingProxyType({})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.suites.socketio", description=__doc__.partition(":")[2])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    folders: list[Path] = parser.parse_args(arguments).folders
    code = 0
    for folder in folders:
        report = asyncio.run(run(folder))
        if report is None:
            print(f"{folder}: neither of the two suites", file=sys.stderr)
            return 2
        print(json.dumps(report), flush=True)
        code = max(code, int(any(reason is None for reason in report["missed"].values())))
    return code


async def run(folder: Path) -> dict[str, Any] | None:
    """Run the suite of a folder; None when there is none."""
    try:
        name: str = json.loads((folder / "package.json").read_text())["name"]
    except (OSError, ValueError, KeyError):
        return None
    server = {"engine.io-protocol-test-suite": engine_server, "socket.io-protocol-test-suite": socket_server}.get(name)
    if server is None:
        return None
    await install(folder)
    async with server(PORT), asyncio.timeout(LIMIT_S):
        process = await asyncio.create_subprocess_exec(
            node_executable(),
            str(Path("node_modules") / ".bin" / "mocha"),
            *("--reporter", "json", "--exit", "test-suite.js"),
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1"},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    result = json.loads(output)
    missed = [test["fullTitle"] for test in result["failures"]]
    return {
        "suite": name,
        "passed": result["stats"]["passes"],
        "of": result["stats"]["tests"],
        "missed": {title: KNOWN_MISSES.get(title) for title in missed},
        "errors": {test["fullTitle"]: test["err"].get("message", "") for test in result["failures"]},
    }


if __name__ == "__main__":
    sys.exit(main())
