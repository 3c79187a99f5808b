"""``python -m clients.fake_acs``: run the stand-in until SIGTERM, and say on stdout where it is, as one JSON object."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .event_tokens import AUDIENCE
from .events import TOPIC
from .service import FakeAcs, fake_acs
from .throttle import Throttle, parse_limit

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 2: its options cannot be used."""
    given = _parser().parse_args(argv)
    try:
        limits = dict(map(parse_limit, given.throttle))
    except ValueError as error:
        print(f"auricle fake-acs: {error}", file=sys.stderr)
        return 2
    service = FakeAcs()
    service.throttle = Throttle({**service.throttle.limits, **limits})
    if given.key:
        service.resource.keys[:] = [given.key]
    asyncio.run(_run(service, given.host, given.port, given.folder))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="auricle fake-acs",
        description="A stand-in for Azure Communication Services, for people without a subscription. Not for patients.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port, 0 picks a free one (default)")
    parser.add_argument("--key", help="access key, base64 (default: a new one each time)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="write ca.pem there, the certificate to trust")
    parser.add_argument(
        "--throttle",
        action="append",
        default=[],
        metavar="WHAT=MOST/SECONDS",
        help="create, token, revoke, delete, chat or rooms, like token=100/10; may be repeated",
    )
    return parser


async def _run(service: FakeAcs, host: str, port: int, folder: Path | None) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    async with fake_acs(service, host=host, port=port, folder=folder):
        ready = {
            "event": "ready",
            "url": service.url,
            "connectionString": service.connection_string,
            "ca": str(service.ca),
            "tenant": service.directory.tenant,
            "client": service.directory.client,
            "secret": service.directory.secret,
            "discovery": service.discovery,
            "topic": TOPIC,
            "audience": AUDIENCE,
        }
        print(json.dumps(ready), flush=True)
        await ending.wait()


if __name__ == "__main__":
    sys.exit(main())
