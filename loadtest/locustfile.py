"""Live fitting sessions as Locust users: ``locust -f loadtest/locustfile.py --host http://127.0.0.1:8080``.

Each user is one session, a fitter and the phone of the same patient, so that a change is timed by one clock from the
fitter's ``Submit`` to the phone's proof as the fitter sees it. The two share nothing but the server. Errors are rows of
the statistics and never end the run; a run that confirms nothing fails. Read ``SessionUser.change`` first.
"""

import argparse
import logging
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import gevent  # type: ignore[import-untyped]  # the library ships no types
import msgspec
from locust import events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from clients.hub_errors import HubCallError
from fitting.capability import sheet
from loadtest.carried_aids import FIRMWARE, CarriedAids
from loadtest.dev_tokens import KEY_VARIABLE, KeyMissing, find_key, mint
from loadtest.fitter_side import CHANGE, CONFIRMED, FitterSide
from loadtest.phone_side import RETRY_S, PhoneSide
from loadtest.signalr_socket import SignalRSocket
from loadtest.signalr_user import FAILURES, MeasuredHub, SignalRUser
from loadtest.slider import MAX_MOVES_PER_S, STEP_DDB, Slider, Sweep
from loadtest.socketio_user import SOCKETIO, socketio_socket
from protocol.contract.base import EARS
from protocol.contract.devices import RegisteredAid
from protocol.contract.registration import RegisterDevice
from protocol.errors import Unavailable

EXIT_USAGE: Final = 2
EXIT_NOTHING_CONFIRMED: Final = 1
MODEL: Final = "ref10"
CLINIC: Final = "loadtest"
_LOG: Final = logging.getLogger("loadtest")


class SessionUser(SignalRUser):
    """One live session. The phone runs beside it; the task is the fitter's next change."""

    step_ddb: ClassVar[int] = STEP_DDB
    aids: ClassVar[type[CarriedAids]] = CarriedAids

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        given: Any = environment.parsed_options
        self.protocol = given.hub_protocol
        self._over_socketio = given.hub_transport == "socketio"
        self.negotiates = not (given.skip_negotiation or self._over_socketio)
        self.answer_timeout_s = given.answer_timeout
        self._key = _signing_key(given)
        self._slider = Slider(given.patches_per_second)
        self._sweep: Sweep | None = None
        self._registered = self._resting = False
        # Random, so that runs and processes do not meet; no name of an event holds it.
        self._name = f"load-{secrets.token_hex(8)}"
        self._serials = {ear: f"{self._name[-12:]}-{ear}" for ear in EARS}
        self._phone = PhoneSide(
            self._opener("phone", "patient", "device"), self.aids(self._name, self._serials, sheet(MODEL))
        )
        self._fitter = FitterSide(
            self, self._opener("fitter", "clinician"), device=self._name, session=f"{self._name}-session"
        )
        self._phone_life: gevent.Greenlet | None = None

    @property
    def request_type(self) -> str:
        """See ``SignalRUser``."""
        return SOCKETIO if self._over_socketio else super().request_type

    def new_socket(self, token: str) -> SignalRSocket:
        """See ``SignalRUser``."""
        return socketio_socket(self, token) if self._over_socketio else super().new_socket(token)

    def wait_time(self) -> float:
        """Until the slider moves next, or until a failed session tries again."""
        return RETRY_S if self._resting else self._slider.wait_s(time.perf_counter())

    def phase(self) -> float:
        """After how much of an interval, 0 to 1, the slider first moves."""
        return random.random()

    @task
    def change(self) -> None:
        """Submit what the slider's moves come to and wait until the phone has proved it."""
        try:
            sweep = self._up()
            moves, moved_s = self._slider.take(time.perf_counter())
            if moves:
                self._fitter.change(sweep, moves, moved_s)
        except FAILURES as error:
            # It is in the statistics already.
            self._resting = True
            self._fitter.failed(error)
            self._registered = self._registered and not _is_unknown(error)

    def on_stop(self) -> None:
        """Leave the server as people do."""
        if self._phone_life is not None:
            self._phone_life.kill()
        self._phone.close()
        self._fitter.close()

    def _up(self) -> Sweep:
        """The session stands: device registered, phone attached, lease held. Raises what failed."""
        if not self._registered or self._phone.device_unknown:
            self._register()
        if self._phone_life is None:
            self._phone_life = gevent.spawn(self._phone.run)
            self._phone_life.link_exception(self._phone_broke)
        if not self._phone.wait_attached(self.answer_timeout_s):
            # Why not is in the statistics: the phone's calls have the same limit.
            raise Unavailable("the phone has not attached")
        content = self._fitter.ready()
        if self._sweep is None or self._resting:
            self._sweep = self._sweep or Sweep(content, step_ddb=self.step_ddb)
            self._slider.start(time.perf_counter(), self.phase())
            self._resting = False
        return self._sweep

    def _register(self) -> None:
        right, left = (RegisteredAid(serial=self._serials[ear], model=MODEL, firmware=FIRMWARE) for ear in EARS)
        body = RegisterDevice(
            device=self._name,
            patient=f"{self._name}-phone",
            assignments=(f"{self._name}-fitter",),
            left=left,
            right=right,
        )
        self.post("/api/v1/devices", token=self._token("fitter", "clinician"), body=msgspec.json.encode(body))
        self._registered, self._phone.device_unknown = True, False

    def _opener(self, who: str, *roles: str) -> Callable[[], MeasuredHub]:
        return lambda: self.hub(self._token(who, *roles))

    def _token(self, who: str, *roles: str) -> str:
        return mint(self._key, user=f"{self._name}-{who}", clinic=CLINIC, roles=roles, now_s=time.time())

    def _phone_broke(self, greenlet: gevent.Greenlet) -> None:
        """An error that no call raises is a mistake of the load test: Locust lists it and exits with 1."""
        error = greenlet.exception
        self.environment.events.user_error.fire(user_instance=self, exception=error, tb=error.__traceback__)


def _is_unknown(error: Exception) -> bool:
    return isinstance(error, HubCallError) and error.code == "not_found"


def add_options(parser: LocustArgumentParser) -> None:
    """The options of this scenario, beside Locust's own."""
    group = parser.add_argument_group("Auricle live sessions")
    add = group.add_argument
    add(
        "--hub-protocol",
        choices=("json", "messagepack"),
        default="json",
        env_var="LOCUST_HUB_PROTOCOL",
        help="format of the hub protocol (default json)",
    )
    add(
        "--hub-transport",
        choices=("signalr", "socketio"),
        default="signalr",
        env_var="LOCUST_HUB_TRANSPORT",
        help="what fitters and phones speak; Socket.IO over WebSockets, in JSON (default signalr)",
    )
    add(
        "--patches-per-second",
        type=_within(0.01, MAX_MOVES_PER_S),
        default=4.0,
        metavar="N",
        env_var="LOCUST_PATCHES_PER_SECOND",
        help="moves of each session's slider; those that must wait are joined into one patch (default 4)",
    )
    add(
        "--answer-timeout",
        type=_within(0.1, 600),
        default=10.0,
        metavar="S",
        env_var="LOCUST_ANSWER_TIMEOUT",
        help="limit of every connect, call and change, in seconds (default 10)",
    )
    add(
        "--skip-negotiation",
        action="store_true",
        env_var="LOCUST_SKIP_NEGOTIATION",
        help="open WebSockets without POST .../negotiate",
    )
    add(
        "--signing-key-file",
        metavar="FILE",
        env_var="LOCUST_SIGNING_KEY_FILE",
        help=f"holds the server's key of development tokens; without it the key is taken from {KEY_VARIABLE}, "
        "else from dev-signing-key in the server's data folder (AURICLE_DATA, default ~/.auricle)",
    )


def _within(lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be {lowest:g} to {highest:g}")
        return value

    parse.__name__ = "number"  # argparse names it when the text is no number at all
    return parse


def prepare(environment: Environment, **_: object) -> None:
    """Without a signing key end before anybody is spawned; a master has no users and needs none."""
    # To gevent it is still the time before everything was imported, and --run-time would end that much too early.
    gevent.get_hub().loop.update_now()
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        _signing_key(environment.parsed_options)
    except KeyMissing as error:
        _LOG.error("%s; start `auricle serve --dev` once, or set %s", error, KEY_VARIABLE)
        sys.exit(EXIT_USAGE)


def _signing_key(given: Any) -> bytes:
    return find_key(os.environ, Path(given.signing_key_file) if given.signing_key_file else None)


def judge_run(environment: Environment, **_: object) -> None:
    """A run in which no change was confirmed has not measured anything, whatever else went well."""
    runner = environment.runner
    if runner is None or isinstance(runner, WorkerRunner):
        return
    confirmed = runner.stats.entries.get((CONFIRMED, CHANGE))
    if confirmed is None or confirmed.num_requests == confirmed.num_failures:
        _LOG.error("not one change was confirmed by a phone")
        environment.process_exit_code = EXIT_NOTHING_CONFIRMED


def main(arguments: Sequence[str]) -> None:
    """``python -m loadtest.locustfile``: Locust with this file; ``--help`` tells what Locust's own help leaves out."""
    if not {"-h", "--help"} & set(arguments):
        os.execv(sys.executable, [sys.executable, "-m", "locust", "-f", __file__, *arguments])
    parser = LocustArgumentParser(
        prog="python -m loadtest.locustfile",
        usage="%(prog)s [options of Locust] [options below]",
        description="Live fitting sessions of a fitter and a phone each, timed from Submit to the phone's proof.",
        epilog="All other options are Locust's: locust --help.",
        add_help=False,
    )
    add_options(parser)
    parser.print_help()


def _register() -> None:
    # Locust types only part of itself.
    events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]  # see above
    events.init.add_listener(prepare)  # type: ignore[no-untyped-call]  # see above
    events.quitting.add_listener(judge_run)  # type: ignore[no-untyped-call]  # see above


if __name__ == "__main__":
    main(sys.argv[1:])
else:
    _register()
