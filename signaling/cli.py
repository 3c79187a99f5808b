"""The ``auricle`` command. Imports only what a subcommand needs, so that ``auricle --help`` is quick."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["main"]

EXIT_USAGE = 2
EXIT_NOT_READ = 1
MAX_LIFETIME_S = 1e10
_CLIENTS: Final = {"demo": "clients.demo", "fake-acs": "clients.fake_acs", "probe": "clients.probe"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 2 means that its words or its configuration cannot be used."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _CLIENTS:
        # A client runs as a process of its own and has options of its own.
        os.execv(sys.executable, [sys.executable, "-m", _CLIENTS[given[0]], *given[1:]])  # noqa: S606  # our own module, no shell
    options = _parser().parse_args(given)
    from protocol.errors import AuricleError

    try:
        return _COMMANDS[options.command](options)
    except AuricleError as error:
        print(f"auricle: {error.public_message}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever read has enough; nothing more is written when Python ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOT_READ


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="auricle", description="Real-time backend for remote hearing care.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _serve_options(commands.add_parser("serve", help="run the server"))
    token = commands.add_parser("token", help="print one development token")
    token.add_argument("--user", required=True, metavar="NAME", help="user id")
    token.add_argument("--clinic", required=True, metavar="ID", help="clinic id")
    token.add_argument("--role", required=True, action="append", metavar="ROLE", help="role; may be repeated")
    token.add_argument("--expires-in", type=float, default=3_600.0, metavar="SECONDS", help="lifetime (default 3600)")
    token.add_argument("--data", type=Path, metavar="DIR", help="data folder of the server (default ~/.auricle)")

    asyncapi = commands.add_parser("asyncapi", help="print the AsyncAPI document of the care hub, as JSON")
    asyncapi.add_argument(
        "--url", default="ws://127.0.0.1:8080", help="where clients reach the server (default ws://127.0.0.1:8080)"
    )
    openapi = commands.add_parser("openapi", help="print the OpenAPI document of the resources, as JSON")
    for document in (asyncapi, openapi):
        document.add_argument(
            "--indent", type=int, default=2, choices=range(9), metavar="N", help="spaces, 0 for one line (default 2)"
        )
        document.add_argument("--output", type=Path, metavar="FILE", help="write it there instead of printing it")
    migrate = commands.add_parser("migrate", help="bring the database to the schema of this version")
    migrate.add_argument("--data", type=Path, metavar="DIR", help="data folder of the server (default ~/.auricle)")
    migrate.add_argument("--database-url", metavar="URL", help="database (default: SQLite in the data folder)")
    migrate.add_argument("--check", action="store_true", help="change nothing; 1 means that there is something to do")
    migrate.add_argument(
        "--restored", action="store_true", help="say that the database was restored from a copy: phones read back"
    )

    audit = commands.add_parser("audit", help="verify what was recorded")
    verify = audit.add_subparsers(dest="audit", required=True, metavar="COMMAND").add_parser(
        "verify", help="follow every device's chain of hashes; 1 means that something was changed, cut or moved"
    )
    _verify_options(verify)

    config = commands.add_parser("config", help="what a server would go by")
    show = config.add_subparsers(dest="config", required=True, metavar="COMMAND").add_parser(
        "show", help="print every field with its value and where that comes from, as TOML; secrets are masked"
    )
    _serve_options(show)
    show.add_argument("--json", action="store_true", help="as one JSON object")

    _recording_options(commands.add_parser("recording", help="list, decrypt or delete recordings of calls"))
    commands.add_parser("demo", help="run one scripted visit against real parts", add_help=False)
    commands.add_parser("fake-acs", help="run a stand-in for Azure Communication Services", add_help=False)
    commands.add_parser("probe", help="look at a deployment from outside, as its clients reach it", add_help=False)
    return parser


def _serve_options(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--dev", action="store_true", default=None, help="development tokens: for a machine of your own")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 picks a free one (default 8080)")
    serve.add_argument("--data", type=Path, metavar="DIR", help="data folder (default ~/.auricle)")
    serve.add_argument(
        "--conformance", action="store_true", default=None, help="serve the conformance hub for client tests"
    )
    serve.add_argument(
        "--workers",
        metavar="N",
        help="processes on the one port, with a supervisor that starts them again; auto: one per core (default 1)",
    )


def _verify_options(verify: argparse.ArgumentParser) -> None:
    verify.add_argument("--device", metavar="ID", help="one device (default: all)")
    verify.add_argument(
        "--heads", type=Path, metavar="FILE", help="write down where each chain ends, to keep elsewhere"
    )
    verify.add_argument("--against", type=Path, metavar="FILE", help="what --heads wrote earlier must still hold")
    verify.add_argument("--data", type=Path, metavar="DIR", help="data folder of the server (default ~/.auricle)")
    verify.add_argument("--database-url", metavar="URL", help="database (default: SQLite in the data folder)")


def _recording_options(recording: argparse.ArgumentParser) -> None:
    words = recording.add_subparsers(dest="recording", required=True, metavar="COMMAND")
    decrypt = words.add_parser("decrypt", help="write one in the clear; 1 means that it is not whole")
    decrypt.add_argument("file", type=Path, metavar="FILE", help="the recording")
    decrypt.add_argument("--output", type=Path, required=True, metavar="FILE", help="a new Matroska file")
    listing = words.add_parser("list", help="what there is")
    delete = words.add_parser("delete", help="delete all recordings of a visit, and their keys with them")
    delete.add_argument("--visit", required=True, metavar="ID", help="whose")
    delete.add_argument("--data", type=Path, metavar="DIR", help="data folder of the server (default ~/.auricle)")
    delete.add_argument("--database-url", metavar="URL", help="database (default: SQLite in the data folder)")
    for one in (listing, delete):
        one.add_argument("--folder", type=Path, metavar="DIR", help="where they are (default: AURICLE_RECORDINGS)")


def _serve(options: argparse.Namespace) -> int:
    from .config import config_from
    from .workers.command import supervised

    config = config_from(**_said(options))
    # First: what looks after others needs nothing of a server.
    if not supervised(config):
        from .server import serve

        serve(config)
    return 0


def _said(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a server; None where it says nothing."""
    return {name: getattr(options, name) for name in ("dev", "host", "port", "data", "conformance", "workers")}


def _config(options: argparse.Namespace) -> int:
    from .config import config_from
    from .config_shown import as_json, as_toml, shown, unread

    entries = shown(config_from(**_said(options)), os.environ, _said(options))
    print(as_json(entries) if options.json else as_toml(entries), end="")
    for name in unread(os.environ):
        print(f"auricle: {name} is set, and nothing reads it", file=sys.stderr)
    return 0


def _token(options: argparse.Namespace) -> int:
    import time

    from .auth import ROLES, DevTokens, find_signing_key
    from .config import ConfigError, config_from

    config = config_from(data=options.data)
    unknown = sorted(set(options.role) - ROLES)
    if unknown:
        raise ConfigError(f"unknown role {', '.join(unknown)}; known are {', '.join(sorted(ROLES))}")
    if not all(name and name.isprintable() for name in (options.user, options.clinic)):
        raise ConfigError("user and clinic must be printable and not empty")
    if not abs(options.expires_in) < MAX_LIFETIME_S:
        raise ConfigError(f"expires-in must be a number of seconds below {MAX_LIFETIME_S:.0e}")
    key = find_signing_key(config.dev_signing_key, config.data)
    if key is None:
        raise ConfigError(
            f"no signing key in {config.data}: set AURICLE_DEV_SIGNING_KEY or start `auricle serve --dev` once"
        )
    tokens = DevTokens(key, time.time)
    print(
        tokens.mint(
            user=options.user,
            clinic=options.clinic,
            roles=frozenset(options.role),
            expires_in_s=options.expires_in,
        )
    )
    return 0


def _recording(options: argparse.Namespace) -> int:
    from .config import config_from
    from .recordings_command import run

    places: dict[str, Any] = {name: getattr(options, name, None) for name in ("data", "database_url")}
    return run(config_from(**places), options)


def _asyncapi(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    from protocol.contract.pushes import ANSWERS, PUSHES

    from .asyncapi import asyncapi
    from .hubs.care_hub import CareHub

    return _written(options, asyncapi(CareHub, PUSHES, ANSWERS, url=options.url, version=version("auricle")))


def _openapi(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    from .rest.catalogue import RESOURCES
    from .rest.openapi import openapi

    return _written(options, openapi(RESOURCES, version=version("auricle")))


def _written(options: argparse.Namespace, document: Mapping[str, object]) -> int:
    """Print a document, or write it where it was asked for."""
    import json

    from .config import ConfigError

    text = json.dumps(document, indent=options.indent or None, ensure_ascii=False)
    if options.output is None:
        print(text)
        return 0
    try:
        options.output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {options.output}: {error.strerror}") from None
    return 0


def _migrate(options: argparse.Namespace) -> int:
    import asyncio

    from .config import config_from
    from .schema import migrate

    config = config_from(data=options.data, database_url=options.database_url)
    return asyncio.run(migrate(config, check=options.check, restored=options.restored))


def _audit(options: argparse.Namespace) -> int:
    import asyncio

    from .audit import verify
    from .config import config_from

    config = config_from(data=options.data, database_url=options.database_url)
    return asyncio.run(verify(config, options.device, heads=options.heads, against=options.against))


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "serve": _serve,
    "token": _token,
    "migrate": _migrate,
    "audit": _audit,
    "config": _config,
    "recording": _recording,
    "asyncapi": _asyncapi,
    "openapi": _openapi,
}
