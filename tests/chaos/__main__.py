"""``python -m tests.chaos``: one run with faults, or several, and a verdict in JSON. Exit codes are in ``--help``."""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from pathlib import Path
from typing import Final

from tests.chaos.checker import check, report
from tests.chaos.plan import Plan, plan_of
from tests.chaos.plan_clients import CLIENT, CLIENTS
from tests.chaos.profile import DATABASES, PROFILES
from tests.chaos.runner import Result, history_of, run
from tests.chaos.shrink import shrink

EXIT: Final = {"ok": 0, "violation": 1, "invalid": 3}
USAGE: Final = 2
MAX_SHRINK_RUNS: Final = 20
PODS: Final = (1, 2, 3)
EPILOG: Final = """exit codes: 0 every promise was kept; 1 one was broken, the witness is on stderr;
2 the command line cannot be used; 3 the run is invalid: a fault did not land, or too little was done.
The result is one JSON object on stdout. A run is replayed by its seed, profile, database, pods and client."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the worst verdict is the exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.judge is not None:
        return _judge(given.judge)
    if given.pods > 1 and given.database != "postgres":
        parser.error("several pods share a database that is a server: --database postgres")
    seeds = range(given.seed, given.seed + given.runs)
    plans = [plan_of(seed, PROFILES[given.profile], given.database, given.pods, given.client) for seed in seeds]
    if given.only is not None:
        plans = [plan.only(given.only) for plan in plans]
    return max(_one(plan, given) for plan in plans)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Real processes, real faults, and a judge that knows nothing of the product.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", choices=sorted(PROFILES), default="smoke", help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what the plan is drawn from (default %(default)s)")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="this seed and the next ones (default 1)")
    parser.add_argument("--database", choices=DATABASES, default="sqlite", help="(default %(default)s)")
    parser.add_argument(
        "--pods",
        type=int,
        choices=PODS,
        default=1,
        help="server processes, several on postgres only (default 1)",
    )
    parser.add_argument(
        "--client",
        choices=CLIENTS,
        default=CLIENT,
        help="what the phones speak; mixed: every third Socket.IO, the others SignalR (default %(default)s)",
    )
    parser.add_argument(
        "--folder", type=Path, help="keep everything there (default: a temporary folder, gone when all is well)"
    )
    parser.add_argument("--only", type=_places, metavar="I,J,..", help="only these faults of the plan, by their place")
    parser.add_argument("--shrink", action="store_true", help="look for fewer faults that break the same promise")
    parser.add_argument("--minutes", type=float, default=inf, help="leave out the faults that come later than that")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="run nothing, judge what a run has left there")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def _places(text: str) -> list[int]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError("numbers with commas between them, for example 0,3,7")
    return [int(part) for part in text.split(",")]


def _judge(folder: Path) -> int:
    history = history_of(folder)
    violations = check(history)
    broken = dict(sorted(Counter(each.invariant for each in violations).items()))
    print(json.dumps({"verdict": "violation" if broken else "ok", "broken": broken, "events": len(history)}))
    print(report(history, violations), file=sys.stderr)
    return EXIT["violation" if broken else "ok"]


def _one(plan: Plan, given: argparse.Namespace) -> int:
    folder = _folder(given.folder, plan.seed)
    result = _run(plan, folder, given.quiet, 60 * given.minutes)
    if result is None:
        return EXIT["invalid"]
    print(json.dumps(result.as_json()), flush=True)
    if result.broken:
        print(f"{result.witness}\n\nreplay: {replay(plan)}\nkept in {folder}", file=sys.stderr)
        if given.shrink:
            places = asyncio.run(_shrunk(plan, result, folder, given.quiet))
            print(f"still broken with {len(places)} of {len(plan.faults)} faults: {replay(plan)} "
                  f"--only {','.join(map(str, places))}", file=sys.stderr)  # fmt: skip
    elif result.missing:
        print(f"invalid, not met: {result.missing}\nkept in {folder}", file=sys.stderr)
    elif given.folder is None:
        shutil.rmtree(folder)
    return EXIT[result.verdict]


def replay(plan: Plan) -> str:
    """The command that runs the same plan again."""
    return (
        f"python -m tests.chaos --profile {plan.profile.name} --seed {plan.seed} --database {plan.database} "
        f"--pods {plan.pods} --client {plan.client}"
    )


def _run(plan: Plan, folder: Path, quiet: bool, for_s: float) -> Result | None:
    """None for a run that came to no verdict; its processes have ended all the same."""
    try:
        return asyncio.run(interruptible(run(plan, folder, _teller(quiet), for_s=for_s)))
    except Interrupted:
        print(f"interrupted, kept in {folder}", file=sys.stderr)
    except (Exception, asyncio.CancelledError):  # noqa: BLE001  # the suite itself went wrong: nothing is proven or broken
        print(f"invalid, kept in {folder}\n{traceback.format_exc()}", file=sys.stderr)
    return None


class Interrupted(Exception):
    """Somebody wants the run to end."""


async def interruptible(work: Awaitable[Result]) -> Result:
    """SIGTERM and SIGINT end a run by ending everything that it has started first. Raises Interrupted for them."""
    task, told = asyncio.current_task(), []
    assert task is not None

    def interrupt(number: int) -> None:
        told.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    try:
        return await work
    except asyncio.CancelledError:
        # A mistake in the suite can look like this too.
        if told:
            raise Interrupted from None
        raise


async def _shrunk(plan: Plan, first: Result, folder: Path, quiet: bool) -> list[int]:
    async def fails(places: Sequence[int]) -> bool:
        tried = folder / "shrink" / "-".join(map(str, places[:8]))
        tried = tried.with_name(f"{tried.name}-{time.monotonic_ns()}")
        tried.mkdir(parents=True)
        result = await run(plan.only(places), tried, _teller(quiet))
        return bool(first.broken.keys() & result.broken.keys())

    return await shrink(range(len(plan.faults)), fails, max_runs=MAX_SHRINK_RUNS)


def _folder(given: Path | None, seed: int) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix=f"auricle-chaos-{seed}-"))
    folder = given / f"seed-{seed}"
    folder.mkdir(parents=True)
    return folder


def _teller(quiet: bool) -> Callable[[str], None]:
    began = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
