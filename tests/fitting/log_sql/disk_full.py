"""A process of its own on a file system that is full: what may still be written there, and what not.

Run as ``python -m tests.fitting.log_sql.disk_full FOLDER`` on a file system of a few MiB; prints one JSON object.
"""

import asyncio
import json
import sys
from itertools import count
from pathlib import Path

from fitting.log_chain import verify
from protocol.errors import StorageFull
from tests.contracts.device_log_bench import DEVICE, Bench, Clock, registered
from tests.databases import new_sqlite
from tests.fitting.log_sql.appender import log_on

ENOUGH = 20_000


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


async def main(folder: Path) -> None:
    log, database = await log_on(new_sqlite(folder), "one")
    ballast = folder / "auricle.db.ballast"
    assert await log.create(DEVICE, registered()) is None
    bench = Bench(log, Clock())
    await bench.fitted()
    await bench.submit()
    offered = await bench.offer()
    fill(folder / "filler")
    told: dict[str, object] = {"ballast before": ballast.exists()}
    try:
        for number in count():
            await log.create(f"d-x{number}", registered())
            assert number < ENOUGH, "it never gets full"
    except StorageFull as error:
        told["new work"] = error.code
    told["away"] = database.is_away
    told["read"] = (await bench.head()).last_seq
    told["ended"] = (await bench.confirm(offered)).ended
    told["ballast while full"] = ballast.exists()
    (folder / "filler").unlink()
    told["new work afterwards"] = (await bench.submit()).seq
    await log.close()
    await database.close()
    again, database = await log_on(folder / "auricle.db", "two")
    told["chain"] = verify(DEVICE, await again.changed_since(DEVICE, 0, limit=1_000))
    told["ballast afterwards"] = ballast.exists()
    await database.close()
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
