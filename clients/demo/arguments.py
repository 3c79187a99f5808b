"""The demo's command line, and what is wrong with it in one line. Read ``parse`` first."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NoReturn

from clients.hub_client import TransportName
from fitting.audiogram import STANDARD_AUDIOGRAMS, Audiogram, AudiogramError, parse_audiogram
from protocol.signalr.codec import ProtocolName

__all__ = ["BadInput", "DemoOptions", "parse"]

Backend = Literal["webrtc", "acs"]
_DEFAULT_PATIENT = "N3"
_MAX_FILE_BYTES = 1_048_576


class BadInput(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``label`` names the audiogram in the output: a standard one, or the file."""

    audiogram: Audiogram
    label: str
    protocol: ProtocolName
    phone_transport: TransportName
    json: bool
    backend: Backend = "webrtc"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def parse(argv: Sequence[str]) -> DemoOptions:
    """Raises BadInput; ``--help`` prints and exits."""
    given = _parser().parse_args(argv)
    if given.backend == "acs" and find_spec("azure.communication.rooms") is None:
        raise BadInput("--backend acs needs what auricle[azure] installs")
    if given.audiogram is not None:
        return _options(_from_file(given.audiogram), given.audiogram.name, given)
    patient = _DEFAULT_PATIENT if given.patient is None else given.patient
    audiogram = STANDARD_AUDIOGRAMS.get(patient.upper())
    if audiogram is None:
        known = ", ".join(STANDARD_AUDIOGRAMS)
        raise BadInput(f"unknown patient {patient[:40]!r}, choose one of {known}")
    return _options(audiogram, audiogram.name, given)


def _options(audiogram: Audiogram, label: str, given: argparse.Namespace) -> DemoOptions:
    return DemoOptions(audiogram, label, given.protocol, given.phone_transport, given.json, given.backend)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="auricle demo",
        description="One scripted fitting: a server, a fitter, a phone, and virtual aids that are measured.",
        epilog="Exit 0: every check held. 1: one did not. 2: the input cannot be used.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--audiogram",
        type=Path,
        metavar="FILE",
        help='JSON: {"right": {"500": 35, "1000": 40, "2000": 50, "4000": 60}, "left": {...}}, in dB HL; '
        "one ear fits one aid",
    )
    source.add_argument(
        "--patient",
        metavar="NAME",
        help=f"a standard audiogram of IEC 60118-15: {', '.join(STANDARD_AUDIOGRAMS)} (default {_DEFAULT_PATIENT})",
    )
    parser.add_argument(
        "--protocol", choices=("json", "messagepack"), default="json", help="wire format (default %(default)s)"
    )
    parser.add_argument(
        "--phone-transport",
        choices=("signalr", "socketio"),
        default="signalr",
        help="what the phone speaks; the fitter speaks SignalR (default %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=("webrtc", "acs"),
        default="webrtc",
        help="acs: play one visit more, whose call and chat go over a stand-in for Azure Communication Services",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    return parser


def _from_file(path: Path) -> Audiogram:
    try:
        with path.open("rb") as file:
            return parse_audiogram(file.read(_MAX_FILE_BYTES))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except AudiogramError as error:
        raise BadInput(f"{path.name}: {error.public_message}") from None
