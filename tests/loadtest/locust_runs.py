"""Locust as a command, for a few seconds, and what its own report says afterwards."""

import asyncio
import csv
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["LocustRun", "locust_run"]

ROOT: Final = Path(__file__).parents[2]
END_S: Final = 120.0

Row = tuple[str, str]
"""Type and name of a row of the statistics."""
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LocustRun:
    """How a run ended. ``rows`` are its statistics, ``failures`` the texts of each row's failures."""

    exit_code: int
    output: str
    rows: dict[Row, Figures]
    failures: dict[Row, list[str]]

    def count(self, request_type: str, name: str) -> int:
        """How many events of that name there were, 0 for none."""
        return int(self.rows.get((request_type, name), {}).get("num_requests", 0))

    @property
    def failure_count(self) -> int:
        """Over all rows."""
        return sum(int(figures["num_failures"]) for figures in self.rows.values())


async def locust_run(
    folder: Path, url: str, *options: str, file: str = "loadtest/locustfile.py", users: int = 3, seconds: int = 3
) -> LocustRun:
    """Run ``file`` against ``url`` and read the reports that Locust writes into ``folder``.

    The JSON report is exact; the CSV files have the texts of failures, up to a second before the end.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", str(ROOT / file), "--host", url, "--headless"),
        *("-u", str(users), "-r", "100", "-t", f"{seconds}s", "--csv", str(folder / "run")),
        *("--json-file", str(folder / "run"), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        # Nobody's key but the one that a test names.
        env={name: value for name, value in os.environ.items() if not name.startswith(("AURICLE_", "LOCUST_"))},
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), END_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return LocustRun(process.returncode, output.decode(), _rows(folder / "run.json"), _failures(folder))


def _rows(report: Path) -> dict[Row, Figures]:
    entries = json.loads(report.read_text()) if report.exists() else []
    return {(entry["method"], entry["name"]): entry for entry in entries}


def _failures(folder: Path) -> dict[Row, list[str]]:
    failures: dict[Row, list[str]] = {}
    path = folder / "run_failures.csv"
    if path.exists():
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                failures.setdefault((line["Method"], line["Name"]), []).append(line["Error"])
    return failures
