"""``python -m clients.probe URL``: look at a deployment from outside and say what works, a line for each check.

Exit 0: nothing failed. Exit 1: something did. Exit 2: the input cannot be used. Read ``main`` first, then
``catalogue`` for what is looked at.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from clients.probe.arguments import BadInput, ProbeOptions, parse
from clients.probe.dev_token import NoDevToken, dev_token
from clients.probe.probing import probed
from clients.probe.verdicts import ProbeReport, line

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the probe and return the exit code."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv, os.environ if environ is None else environ)
        report = asyncio.run(_probe(options))
    except (BadInput, NoDevToken) as error:
        sys.stderr.write(f"auricle probe: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read has enough; nothing more is written when Python ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0 if report.ok else 1


async def _probe(options: ProbeOptions) -> ProbeReport:
    target = options.target
    if options.dev_key:
        target = replace(target, token=await dev_token(options.data))
    findings = []
    async for finding in probed(target, options.only):
        findings.append(finding)
        if not options.json:
            sys.stdout.write(line(finding) + "\n")
            sys.stdout.flush()
    report = ProbeReport(target.base, all(finding.outcome != "fail" for finding in findings), findings)
    if options.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        sys.stdout.flush()
    return report


if __name__ == "__main__":
    sys.exit(main())
