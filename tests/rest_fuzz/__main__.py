"""``python -m tests.rest_fuzz``: the longer run. Exit code 0 when nothing was found."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.rest_fuzz.runner import Effort, fuzz
from tests.rest_fuzz.stage import live_through
from tests.running import server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.rest_fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="per route and phase (default 300)")
    parser.add_argument("--seconds", type=int, default=1_800, help="longer is a failure (default 1800)")
    parser.add_argument("--steps", type=int, default=10, help="of one chain of requests (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is generated (default 1)")
    options = parser.parse_args()
    return asyncio.run(_run(Effort(options.examples, options.seconds, options.steps, options.seed)))


async def _run(effort: Effort) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with server(Path(folder)) as running:
            outcome = await fuzz(running, await live_through(running), effort)
            crashed = "request_crashed" in running.log_text
    print(outcome.output)
    if crashed:
        print("the server logged request_crashed", file=sys.stderr)
    return int(outcome.code != 0 or crashed)


if __name__ == "__main__":
    sys.exit(main())
