"""The first part of the script: attach, first fit, live changes, and a change that is refused.

Each scene asks, waits, reads the aids back, measures, and checks. Read ``first_fit`` first.
"""

import aiohttp
from msgspec import UNSET

from clients.demo.changes import program_of, unsafe_raise
from clients.demo.delivering import DemoFailed, apply, base_of, choose, lease
from clients.demo.sound import TOLERANCE_DB, Heard, expected_db, measure, worst_error_db
from clients.demo.stage import DEVICE, Stage
from clients.first_fit import ask_first_fit
from clients.fitter import Change
from fitting.capability import SHEETS
from protocol.contract.audiograms import FirstFitAnswer
from protocol.contract.base import Ear, Failure
from protocol.contract.devices import LeaseAnswer
from protocol.contract.fitting import Content, Finding, SubmitAnswer

__all__ = ["attach", "first_fit", "live_change", "refused_change"]


async def attach(stage: Stage) -> None:
    """The phone reads its aids back and says hello; the fitter takes the device."""
    await stage.phone.attached.wait()
    hello = await stage.fitter.hello()
    stage.printer.tell(
        "connected",
        f"fitter and phone are connected over {stage.options.protocol} to {hello.server}",
        server=hello.server,
        protocol=stage.options.protocol,
    )
    granted = await lease(stage)
    for ear in stage.ears:
        digest = stage.pair.aid(ear).read_digest("ram")
        stage.checks.expect(f"the server knows what the {ear} aid holds", _known(granted, ear) == digest)
        stage.printer.tell("read_back", f"{ear} aid read back: {digest[:19]}…", ear=ear, digest=digest)
    stage.printer.tell("lease", f"the fitter holds the aids, fence {granted.fence}", fence=granted.fence)


async def first_fit(stage: Stage) -> FirstFitAnswer:
    """Have the server fit the audiogram by formula, show what had to be trimmed, and hear the result."""
    async with aiohttp.ClientSession() as http:
        fit = await ask_first_fit(http, stage.server.url, stage.fitter_token, DEVICE)
    if isinstance(fit, Failure):
        raise DemoFailed(f"no first fit: {fit.error.message}")
    stage.printer.tell(
        "prescribed",
        f"{fit.rationale} for {stage.options.label}, {len(fit.trims)} values trimmed "
        f"({fit.label}, not a clinical claim)",
        rationale=fit.rationale,
        audiogram=stage.options.label,
        trims=len(fit.trims),
    )
    for trim in fit.trims:
        _tell_trim(stage, trim)
    stage.checks.expect("the kernel passes the first fit", fit.accepted and not fit.fitted)
    granted = await lease(stage)
    base, _ = base_of(granted)
    change = Change(DEVICE, granted.fence, base, "first fit", content=fit.content, first_fit=True)
    await apply(stage, change, fit.content, "first fit")
    return fit


async def live_change(stage: Stage, *by_ddb: int) -> None:
    """Change some bands of all ears by the first of these amounts that fits, and hear the difference."""
    chosen = await choose(stage, *by_ddb)
    name = chosen.name
    bands_hz = [chosen.before.bands_hz[band] for band in chosen.bands]
    before = await measure(stage.pair)
    after = await apply(stage, chosen.change, chosen.wanted, name)
    for ear in stage.ears:
        _check_difference(stage, name, ear, (chosen.before, chosen.wanted), (before, after))
        heard = [after[ear][band] - before[ear][band] for band in chosen.bands]
        stage.printer.tell(
            "heard",
            f"{name}: {ear} ear hears "
            + ", ".join(f"{db:+.1f} dB at {hz} Hz" for db, hz in zip(heard, bands_hz, strict=True)),
            ear=ear,
            bandsHz=bands_hz,
            differenceDb=[round(db, 2) for db in heard],
        )


async def refused_change(stage: Stage) -> None:
    """Ask for far too much at once; see it refused by rule and number, and nothing changed."""
    granted = await lease(stage)
    base, content = base_of(granted)
    ear = stage.ears[0]
    before = _state_of(stage)
    band, patch = unsafe_raise(content, ear, 80)
    answer = await stage.fitter.submit(Change(DEVICE, granted.fence, base, "much too much", patch=patch))
    if isinstance(answer, SubmitAnswer):
        stage.checks.expect("an unsafe change is refused", False, "it was accepted")
        return
    refusal = next((error for error in answer.errors if error.rule == "K7"), answer.error)
    value = 0 if refusal.value is UNSET else refusal.value
    limit = 0 if refusal.limit is UNSET else refusal.limit
    stage.printer.tell(
        "refused",
        f"+8 dB at {content.bands_hz[band]} Hz refused by {refusal.rule}: {value / 10:g} dB, "
        f"the limit is {limit / 10:g} dB",
        code=refusal.code,
        rule=None if refusal.rule is UNSET else refusal.rule,
        valueDdb=value,
        limitDdb=limit,
    )
    found = f"{refusal.code} {refusal.rule}"
    stage.checks.expect("an unsafe change names rule and limit", (refusal.rule, limit) == ("K7", 30), found)
    stage.checks.expect("a refused change changes nothing", before == _state_of(stage))
    device = await stage.fitter.get_device(DEVICE)
    stage.checks.expect(
        "a refused change is not in the log", device.head is not UNSET and device.head.content == content
    )


def _tell_trim(stage: Stage, trim: Finding) -> None:
    bands_hz = SHEETS["ref10"].bands_hz
    value, limit = (None if number is UNSET else number for number in (trim.value, trim.limit))
    stage.printer.tell(
        "trimmed",
        trim.message,
        rule=trim.rule,
        ear=None if trim.ear is UNSET else trim.ear,
        bandHz=None if trim.band is UNSET else bands_hz[trim.band],
        valueDdb=value,
        limitDdb=limit,
    )


def _check_difference(
    stage: Stage, name: str, ear: Ear, contents: tuple[Content, Content], heard: tuple[Heard, Heard]
) -> None:
    """The difference that is heard must be the difference that was asked for, in every band."""
    wanted_db, is_db = (
        tuple(after - before for before, after in zip(*pair, strict=True))
        for pair in (
            [expected_db(program_of(content, ear)) for content in contents],
            [sound[ear] for sound in heard],
        )
    )
    error_db = worst_error_db(is_db, wanted_db)
    stage.checks.expect(f"{name}: the {ear} ear hears the change", error_db <= TOLERANCE_DB, f"{error_db:.2f} dB off")


def _known(granted: LeaseAnswer, ear: Ear) -> str | None:
    truth = granted.in_aid.left if ear == "left" else granted.in_aid.right
    return None if truth is UNSET else truth.ram


def _state_of(stage: Stage) -> list[tuple[str, int]]:
    aids = [stage.pair.aid(ear) for ear in stage.ears]
    return [(aid.read_digest("ram"), aid.writes_completed) for aid in aids]
