"""Runs schemathesis against a server that is ready: every check that it has, within a number of examples and a time."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rest_fuzz.stage import Past
from tests.running import Server

__all__ = ["Effort", "Outcome", "fuzz"]

# A body may fit its schema and not the sheet of the aid that it names, nor be an audiogram: that is for 400 to say, and
# for 422 when it is a document of another system.
REGISTER_MAY = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]
# Whether a tag is the newest, or a reason is needed from this caller, no schema can say either.
CHANGE_MAY = [*REGISTER_MAY, "412"]
MAY = {
    "POST /api/v1/devices": REGISTER_MAY,
    "POST /api/v1/devices/{device}/audiograms": [*REGISTER_MAY, "422"],
    # That a zone, a day or an hour is none no schema can say; nor that a visit is over.
    "POST /api/v1/devices/{device}/visits": [*REGISTER_MAY, "422"],
    "PUT /api/v1/visits/{visit}": [*CHANGE_MAY, "422"],
    "PUT /api/v1/visits/{visit}/cancellation": CHANGE_MAY,
    "PUT /api/v1/visits/{visit}/end": CHANGE_MAY,
    "PUT /api/v1/visits/{visit}/read-to": CHANGE_MAY,
    "POST /api/v1/visits/{visit}/messages": REGISTER_MAY,
    "POST /api/v1/visits/{visit}/participants": REGISTER_MAY,
    "DELETE /api/v1/visits/{visit}/participants/{participant}": CHANGE_MAY,
    "PATCH /api/v1/devices/{device}/on-file": CHANGE_MAY,
    "PUT /api/v1/devices/{device}/assignments/{person}": CHANGE_MAY,
    "DELETE /api/v1/devices/{device}/assignments/{person}": CHANGE_MAY,
    "PUT /api/v1/patients/{patient}": CHANGE_MAY,
    "PUT /api/v1/patients/{patient}/consents/{scope}": CHANGE_MAY,
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried. ``examples``: per route and phase. ``steps``: of one chain of requests."""

    examples: int
    seconds: int
    steps: int = 6
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit code, 0 when nothing was found, and all that was said."""

    code: int
    output: str


async def fuzz(server: Server, past: Past, effort: Effort, document: Path | None = None) -> Outcome:
    """Send generated requests, good and bad, alone and in chains; ``document`` in place of what the server says."""
    config = server.data / "schemathesis.toml"
    config.write_text(_config(await server.token("ann", "clinician"), past, effort))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color", "run"),
        *([f"{server.url}/openapi.json"] if document is None else [str(document), "--url", server.url]),
        *("--checks", "all", "--continue-on-failure", "--suppress-health-check", "all", "--seed", str(effort.seed)),
        cwd=server.data,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        async with asyncio.timeout(effort.seconds):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        return Outcome(1, f"it did not end within {effort.seconds} s\n{said.decode()}")
    return Outcome(process.returncode or 0, said.decode())


def _config(token: str, past: Past, effort: Effort) -> str:
    known: Mapping[str, tuple[Sequence[str | int], Sequence[str]]] = {
        "devices": (["d1"], ["path.device"]),
        "revisions": (past.revisions, ["path.revision", "query.from", "query.to"]),
        "seqs": (past.seqs, ["path.seq"]),
        "people": (["ann", "abe"], ["path.person"]),
        "patients": (["pat"], ["path.patient"]),
        "tags": (['"1"', '"2"'], ["header.If-Match"]),
        "models": (["ref10", "otc6"], ["path.model", "body.right.model", "body.left.model"]),
        "audiograms": (["registered"], ["path.audiogram"]),
        "visits": (past.visits, ["path.visit"]),
        "participants": (past.participants, ["path.participant"]),
        "zones": (["Europe/Berlin", "UTC", "America/New_York"], ["body.zone"]),
        "times": (past.times, ["body.startsLocal"]),
    }
    lines = [f"headers = {{ Authorization = {json.dumps('Bearer ' + token)} }}", ""]
    for name, (values, _) in known.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(list(values))}", ""]
    lines.append("[parameters]")
    for name, (_, parameters) in known.items():
        lines += [f'"{one}" = {{ dictionary = "{name}", probability = 0.6 }}' for one in parameters]
    lines += ["", "[generation]", f"max-examples = {effort.examples}", "", "[phases.stateful]"]
    lines += [f"max-steps = {effort.steps}"]
    for operation, statuses in MAY.items():
        lines += ["", "[[operations]]", f"include-name = {json.dumps(operation)}"]
        lines.append(f"checks.positive_data_acceptance.expected-statuses = {json.dumps(statuses)}")
        # That If-Match is missing has a status of its own (RFC 6585).
        lines.append('checks.missing_required_header.expected-statuses = ["400", "401", "403", "404", "428"]')
    return "\n".join(lines) + "\n"
