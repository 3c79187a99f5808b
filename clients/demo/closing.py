"""The end of the script: wanted, sent, in the aid and heard, side by side. Read ``closing_table`` first."""

from msgspec import UNSET

from clients.demo.changes import gains_65, program_of
from clients.demo.delivering import DemoFailed, digest_of
from clients.demo.sound import TOLERANCE_DB, expected_db, measure, worst_error_db
from clients.demo.stage import DEVICE, Stage
from clients.demo.table import EarRow, render
from protocol.contract.audiograms import FirstFitAnswer
from protocol.contract.base import Ear
from protocol.contract.fitting import Content

__all__ = ["closing_table"]


async def closing_table(stage: Stage, fit: FirstFitAnswer, last: Content) -> None:
    """Print the table and check it: what differs from the formula was announced, and nothing else differs."""
    device = await stage.fitter.get_device(DEVICE)
    if device.head is UNSET:
        raise DemoFailed("the device has no revision")
    stage.checks.expect("the newest revision is the last one asked for", device.head.content == last)
    heard = await measure(stage.pair)
    rows = []
    for ear in stage.ears:
        aid = stage.pair.aid(ear)
        image = aid.read_image("ram")
        row = EarRow(
            ear=ear,
            bands_hz=last.bands_hz,
            wanted_ddb=_wanted(fit, last, ear),
            sent_ddb=gains_65(device.head.content, ear),
            in_aid_ddb=image.slots[0].program.g65_ddb,
            heard_db=heard[ear],
            digest_sent=digest_of(device.head.digests, ear),
            digest_in_aid=aid.read_digest("ram"),
        )
        rows.append(row)
        _check_row(stage, row, fit, worst_error_db(row.heard_db, expected_db(program_of(last, ear))))
    stage.printer.tell("table", render(rows), rows=[row.fields() for row in rows])


def _wanted(fit: FirstFitAnswer, last: Content, ear: Ear) -> tuple[int, ...]:
    """What the formula asked for, moved by the live changes."""
    fitted = gains_65(fit.content, ear)
    moved = [now - then for now, then in zip(gains_65(last, ear), fitted, strict=True)]
    return tuple(target + move for target, move in zip(fit.targets[ear].g65_ddb, moved, strict=True))


def _check_row(stage: Stage, row: EarRow, fit: FirstFitAnswer, error_db: float) -> None:
    announced = {trim.band for trim in fit.trims if trim.ear == row.ear}
    differing = {band for band, pair in enumerate(zip(row.wanted_ddb, row.sent_ddb, strict=True)) if pair[0] != pair[1]}
    expect, ear = stage.checks.expect, row.ear
    expect(f"{ear}: only announced trims differ from what was wanted", differing <= announced, str(differing))
    expect(f"{ear}: what is in the aid is what was sent", row.in_aid_ddb == row.sent_ddb)
    expect(f"{ear}: the digests are equal", row.digest_in_aid == row.digest_sent)
    expect(f"{ear}: what is heard is what is in the aid", error_db <= TOLERANCE_DB, f"{error_db:.2f} dB off")
