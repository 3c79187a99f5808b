"""What the commands by hand have in common: how they reach a server, how they speak, and how they end.

Must not know what a command does. Read ``run`` first.
"""

import argparse
import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from clients.hub_errors import HubCallError
from protocol.errors import AuricleError

__all__ = ["connection_parser", "run", "say"]


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its exit code; what it could not do is said in one line."""
    try:
        return asyncio.run(work)
    except (AuricleError, HubCallError, ConnectionError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def connection_parser(module: str, description: str) -> argparse.ArgumentParser:
    """What every command needs to reach a server."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the server (default %(default)s)")
    parser.add_argument("--token", required=True, help="made by `auricle token`")
    parser.add_argument("--device", required=True, help="as registered")
    parser.add_argument("--protocol", choices=("json", "messagepack"), default="json", help="of SignalR")
    parser.add_argument("--transport", choices=("signalr", "socketio"), default="signalr", help="(default %(default)s)")
    return parser


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
