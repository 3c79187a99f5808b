"""``python -m loadtest.fuzz``: feed everything that reads what a client sends, for a while, and say what broke.

Exit code 0: nothing did; 1: something did, and how to repeat it is printed; 2: unusable options. Read ``main`` first.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence

import msgspec

from loadtest.bare import loop_factory
from loadtest.bench_websocket import BenchFailed

from .campaign import Campaign, Outcome
from .live import LiveOutcome, fuzz_server

__all__ = ["main"]

SHARE_OF_SERVER = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    seed = options.seed or str(random.SystemRandom().randrange(10**9))
    print(f"fuzz: seed {seed}", file=sys.stderr, flush=True)
    seconds = options.seconds * (SHARE_OF_SERVER if options.server else 1.0)
    outcome = Campaign(seed).run(seconds, first=options.case or 0, only_one=options.case is not None)
    live = None
    if options.server and outcome.failure is None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                live = runner.run(fuzz_server(seed, seconds))
        except BenchFailed as error:
            live = LiveOutcome(0, 0, 0, str(error))
    if options.json:
        print(msgspec.json.encode({"inProcess": outcome, "server": live}).decode())
    else:
        print(_text(outcome, live))
    return int(outcome.failure is not None or bool(live and live.failure))


def _text(outcome: Outcome, live: LiveOutcome | None) -> str:
    lines = [
        f"{outcome.cases} cases, {outcome.steps} steps, {outcome.bytes / 2**20:.1f} MiB in {outcome.seconds:.1f} s "
        f"({', '.join(f'{name} {count}' for name, count in outcome.subjects.items())}); "
        f"memory grew by {outcome.grown_kib} KiB."
    ]
    if outcome.failure is not None:
        failure = outcome.failure
        lines += [
            f"FAILED: {failure.subject}: {failure.reason}",
            *(f"  {step}" for step in failure.steps),
            f"again: python -m loadtest.fuzz --seed {failure.seed} --case {failure.case}",
        ]
    if live is not None:
        lines.append(
            f"server: {live.connections} connections, {live.probes} probes answered; "
            f"its memory grew by {live.grown_kib} KiB."
        )
        if live.failure:
            lines.append(f"FAILED: {live.failure}")
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.fuzz", description="Structure-aware fuzzing.")
    parser.add_argument("--seconds", type=_seconds, default=60.0, help="of the whole run (default 60)")
    parser.add_argument("--seed", help="any text; a run is repeated by its seed (default: a random one)")
    parser.add_argument("--case", type=int, metavar="N", help="only this case")
    parser.add_argument("--server", action="store_true", help="half of the time against a server process")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError("must be 0.1 to 86400")
    return value


if __name__ == "__main__":
    sys.exit(main())
