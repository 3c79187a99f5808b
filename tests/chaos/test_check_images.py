"""What I5 takes for a half write, and what it does not, in histories of a few steps."""

from itertools import count
from typing import Any

from tests.chaos.check_images import no_half_write
from tests.chaos.history import Event
from tests.chaos.story import stories

DEVICE = "d-1"
BASE, BETWEEN = {"right": "r-base", "left": "l-base"}, {"right": "r-between", "left": "l-between"}


def history(*steps: tuple[str, str, str, dict[str, Any]]) -> list[Event]:
    times = count(1)
    return [Event(next(times), p, kind, f, DEVICE, v) for p, kind, f, v in steps]  # type: ignore[arg-type]  # words


def accepted(seq: int, digests: dict[str, str]) -> list[tuple[str, str, str, dict[str, Any]]]:
    asked = {"reason": f"change {seq}", "kind": "volatile"}
    offer = {"epoch": "e", "seq": seq, "ears": ["right", "left"]}
    return [
        ("f", "invoke", "submit", asked),
        ("f", "ok", "submit", {"epoch": "e", "seq": seq, "digests": digests}),
        ("p", "ok", "offer_in", offer),
        ("p", "ok", "journal", {"epoch": "e", "seq": seq, "phase": "received"}),
    ]


def wrote(seq: int, f: str, ear: str, digest: str) -> tuple[str, str, str, dict[str, Any]]:
    return ("p", "ok", f, {"epoch": "e", "seq": seq, "ear": ear, "digest": digest})


def ended(seq: int) -> tuple[str, str, str, dict[str, Any]]:
    return ("p", "ok", "journal", {"epoch": "e", "seq": seq, "phase": "ended"})


def looked(held: dict[str, str]) -> tuple[str, str, str, dict[str, Any]]:
    return ("p", "ok", "read_aids", {"aids": {ear: {"ram": digest} for ear, digest in held.items()}})


def through(seq: int, digests: dict[str, str]) -> list[tuple[str, str, str, dict[str, Any]]]:
    writes = [wrote(seq, "side_commit", ear, digest) for ear, digest in digests.items()]
    return [*accepted(seq, digests), *writes, ended(seq)]


def begin(wanted: dict[str, str]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Two changes done, so that the base is one that the log knows, and a third begun."""
    return [looked(BASE), *through(1, BASE), *through(2, BETWEEN), *accepted(3, wanted)]


def broken(*steps: tuple[str, str, str, dict[str, Any]]) -> list[str]:
    return [one.message for one in no_half_write(stories(history(*steps))[DEVICE])]


def test_one_ear_that_holds_the_change_and_one_that_does_not_is_a_half_write() -> None:
    wanted = {"right": "r-new", "left": "l-new"}
    [what] = broken(*begin(wanted), wrote(3, "side_commit", "right", "r-new"), ended(3))
    assert what == "seq 3 is in the right aid alone, and no write is open"


def test_a_phone_that_was_killed_before_it_told_of_an_end_has_ended_it_when_it_goes_on_with_the_next() -> None:
    wanted = {"right": "r-new", "left": "l-new"}
    written = [wrote(3, "side_commit", ear, digest) for ear, digest in wanted.items()]
    refused = [*accepted(4, {"right": "r-4", "left": "l-4"}), ended(4)]
    assert broken(*begin(wanted), *written, *refused) == []
    [what] = broken(*begin(wanted), *written[:1], *refused)
    assert what == "seq 3 is in the right aid alone, and no write is open"


def test_an_ear_that_was_to_get_what_it_had_in_the_base_is_put_back_by_leaving_it() -> None:
    wanted = {"right": BASE["right"], "left": "l-new"}
    done = [wrote(3, "side_commit", "right", BASE["right"]), wrote(3, "restore", "left", BASE["left"])]
    assert broken(*begin(wanted), *done, ended(3)) == []
