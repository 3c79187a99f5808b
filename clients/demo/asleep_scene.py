"""Standard mode: a package for a phone that is asleep, over a server that dies meanwhile, and taken back by its wearer.

Read ``asleep`` first.
"""

import asyncio
from typing import Final

from clients.demo.bad_link_scene import check_sound, installed
from clients.demo.changes import program_of
from clients.demo.delivering import (
    WAIT_S,
    Chosen,
    DemoFailed,
    choose_package,
    digests_in,
    head_of,
    release,
    submit,
)
from clients.demo.push_body import TooMuchTold, pointer_in
from clients.demo.sound import TOLERANCE_DB, Heard, expected_db, measure, worst_error_db
from clients.demo.stage import CLINIC, CLINICIAN, DEVICE, PATIENT, Asked, Stage, serial_of
from protocol.contract.base import Failure
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.packages import PackageAnswered

__all__ = ["asleep"]

_TAKEN_BACK: Final = "taken back by its wearer"
_WORDS: Final = "too dull"


async def asleep(stage: Stage) -> None:
    """Send it, look at the push, kill the server, wake the phone, hear the change, and have it taken back."""
    await release(stage)
    _, before = await head_of(stage)
    held, sound = digests_in(stage, "nvm"), await measure(stage.pair)
    await stage.handset.sleep()
    stage.printer.tell("phone_asleep", "the phone is asleep: nothing of it runs, and nobody holds a lease")
    pushed = len(stage.pushes.bodies)
    chosen = await choose_package(stage, 20, -30, -20, where=" for a phone that sleeps")
    accepted = await submit(stage, chosen.change, chosen.name)
    await _look_at_push(stage, accepted, pushed)
    await stage.server.kill()
    await stage.server.start_again()
    stage.checks.expect("nothing happens to the aids meanwhile", digests_in(stage, "ram") == held)
    stage.printer.tell("server_back", "the server was killed and is back; the package waits in its log")
    await stage.handset.wake()
    heard = await installed(stage, accepted, chosen.wanted, chosen.name)
    _check_difference(stage, chosen, sound, heard)
    await _taken_back(stage, accepted)
    stage.checks.expect("the newest revision is what was there before", (await head_of(stage))[1] == before)
    for memory in ("nvm", "ram"):
        now = digests_in(stage, memory)
        stage.checks.expect(f"what was there before is in {memory} of every aid again", now == held, str(now))
    await check_sound(stage, before, "what it heard before")
    stage.printer.tell("taken_back", f"{_TAKEN_BACK}, with no second tap: every aid holds and sounds as before")
    head = (await head_of(stage))[0].revision
    stage.asked.append(Asked(_TAKEN_BACK, head, author=PATIENT))


async def _look_at_push(stage: Stage, accepted: SubmitAnswer, before: int) -> None:
    """What the platform of the phone got, word for word; it says that something waits, and not what."""
    async with asyncio.timeout(WAIT_S):
        body = await stage.pushes.first_after(before)
    text = body.decode()
    stage.printer.tell("pushed", f"what the phone's platform gets, all of it:\n{text}", body=text)
    secrets = [DEVICE, CLINIC, CLINICIAN, PATIENT, *map(serial_of, stage.ears), accepted.revision_id, accepted.epoch]
    try:
        pointer, found = pointer_in(body, (*secrets, stage.handset.push_token)), ""
    except TooMuchTold as error:
        pointer, found = "", str(error)
    stage.checks.expect("a push holds a pointer and nothing else", bool(pointer), found)
    stage.checks.expect("one package is one push", len(stage.pushes.bodies) == before + 1)


def _check_difference(stage: Stage, chosen: Chosen, before: Heard, after: Heard) -> None:
    """What has changed for each ear is what was ordered."""
    bands_hz = [chosen.before.bands_hz[band] for band in chosen.bands]
    for ear in stage.ears:
        programs = [program_of(content, ear) for content in (chosen.before, chosen.wanted)]
        was, wanted = (expected_db(program) for program in programs)
        ordered = tuple(b - a for a, b in zip(was, wanted, strict=True))
        difference = tuple(b - a for a, b in zip(before[ear], after[ear], strict=True))
        error_db = worst_error_db(difference, ordered)
        stage.checks.expect(f"the {ear} ear hears the package", error_db <= TOLERANCE_DB, f"{error_db:.2f} dB off")
        told = [difference[band] for band in chosen.bands]
        stage.printer.tell(
            "heard",
            f"{chosen.name}: {ear} ear hears "
            + ", ".join(f"{db:+.1f} dB at {hz} Hz" for db, hz in zip(told, bands_hz, strict=True)),
            ear=ear,
            bandsHz=bands_hz,
            differenceDb=[round(db, 2) for db in told],
        )


async def _taken_back(stage: Stage, accepted: SubmitAnswer) -> None:
    """The wearer does not want it any longer, and says so on the phone."""
    heard = len(stage.news.news)
    answer = await stage.phone.questions.take_back(accepted.epoch, accepted.seq, words=_WORDS)
    if isinstance(answer, Failure):
        raise DemoFailed(f"the package cannot be taken back: {answer.error.message}")
    async with asyncio.timeout(WAIT_S):
        told = await stage.news.first(PackageAnswered, heard, lambda said: not said.keep)
    stage.checks.expect("the fitter hears that it was taken back", (told.seq, told.words) == (accepted.seq, _WORDS))
    stage.printer.tell("not_wanted", f"its wearer takes it back: {_WORDS!r}, which the fitter hears", seq=accepted.seq)
    async with asyncio.timeout(2 * WAIT_S):
        for ear in stage.ears:
            await stage.news.wait_for(int(answer.seq or 0), ear, "active")
