"""The probe's command line, and what is wrong with it in one line. Read ``parse`` first."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from clients.probe.catalogue import NAMES, matching
from clients.probe.target import BadTarget, Target, target_of
from media.acs import read_address
from media.entra import discovery_of, issuers_of

__all__ = ["TOKEN_VARIABLE", "BadInput", "ProbeOptions", "parse"]

TOKEN_VARIABLE: Final = "AURICLE_PROBE_TOKEN"  # noqa: S105  # a variable's name
# The server's own variables: whoever has them may ask with them.
_ACS: Final = "AURICLE_ACS_"
_DEFAULT_TIMEOUT_S: Final = 10.0
_LONGEST_S: Final = 600.0


class BadInput(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """``dev_key``: a token is still to be made, with the key in the data folder ``data`` (None: the usual one)."""

    target: Target
    only: frozenset[str]
    json: bool
    dev_key: bool
    data: str | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> ProbeOptions:
    """Raises BadInput; ``--help`` prints and exits."""
    given = _parser().parse_args(argv)
    token = given.token or environ.get(TOKEN_VARIABLE) or None
    if given.dev_key and given.token:
        raise BadInput("--token and --dev-key exclude each other")
    try:
        target = target_of(
            given.url,
            hub_path=given.hub,
            token=None if given.dev_key else token,
            timeout_s=given.timeout,
            ca_file=given.ca_file,
        )
        acs = read_address(environ.get(f"{_ACS}CONNECTION_STRING", ""), environ.get(f"{_ACS}ENDPOINT", ""))
    except BadTarget as error:
        raise BadInput(str(error)) from None
    except ValueError as error:
        raise BadInput(f"{_ACS}CONNECTION_STRING, {_ACS}ENDPOINT: {error}") from None
    target = replace(target, acs=acs, acs_ca=environ.get(f"{_ACS}CA", ""), acs_keys=_keys(environ))
    return ProbeOptions(target, _chosen(given.only), given.json, given.dev_key, given.data)


def _keys(environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    tenant = environ.get(f"{_ACS}EVENT_TENANT", "").lower()
    discovery = environ.get(f"{_ACS}EVENT_DISCOVERY", "") or discovery_of(tenant)
    issuers = tuple(one.strip() for one in environ.get(f"{_ACS}EVENT_ISSUERS", "").split(",") if one.strip())
    return (discovery, issuers or issuers_of(tenant, discovery)) if tenant else ("", ())


def _chosen(only: Sequence[str]) -> frozenset[str]:
    chosen: set[str] = set()
    for word in (word.strip() for words in only for word in words.split(",")):
        found = matching(word)
        if not found:
            raise BadInput(f"--only: there is no such check; there are {', '.join(NAMES)}")
        chosen |= found
    return frozenset(chosen)


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or not 0 < value <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {_LONGEST_S:g} seconds")
    return value


_seconds.__name__ = "number"  # argparse names it when the text is no number at all


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="auricle probe",
        description="Look at a deployment from outside, as its clients reach it: one line for each check. "
        "Credentials of ACS in AURICLE_ACS_CONNECTION_STRING, or AURICLE_ACS_ENDPOINT and Entra's, are tried.",
        epilog="Exit 0: nothing failed. 1: something did. 2: the input cannot be used. Warnings do not fail.",
    )
    add = parser.add_argument
    add("url", metavar="URL", help="where clients reach it, for example https://hearing.example")
    add("--token", help=f"bearer token; better in {TOKEN_VARIABLE}, which no list of processes shows")
    add("--dev-key", action="store_true", help="make a development token, as `auricle token` does")
    add("--data", metavar="DIR", help="data folder with that key (default ~/.auricle)")
    add("--hub", default="/hub", metavar="PATH", help="path of the hub (default %(default)s)")
    add("--ca-file", metavar="FILE", help="certificates that the server's is held to (default: the system's)")
    add(
        "--timeout",
        type=_seconds,
        default=_DEFAULT_TIMEOUT_S,
        metavar="S",
        help="seconds for each check (default %(default)g)",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only these checks, by name or by its beginning (websockets, resume); may be repeated",
    )
    add("--json", action="store_true", help="print one JSON object at the end")
    return parser
