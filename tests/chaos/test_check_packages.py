"""What the judge makes of packages, in histories of a few steps."""

from typing import Any

import pytest

from tests.chaos.check_effects import no_phantom
from tests.chaos.check_fences import old_fences_are_dead
from tests.chaos.check_images import no_half_write
from tests.chaos.check_packages import not_after_its_time, package_counts, the_wearer_decides, undo_brings_back
from tests.chaos.history import Event
from tests.chaos.story import TAKEN_BACK, Story, stories

DEVICE, S_NS = "d-1", 1_000_000_000
OLD, NEW = {"right": "r-old", "left": "l-old"}, {"right": "r-new", "left": "l-new"}


def fact(f: str, /, at_s: float = 1.0, **values: Any) -> Event:
    return Event(int(at_s * S_NS), "p", "ok", f, DEVICE, values)


def sent(seq: int = 1, **more: Any) -> list[Event]:
    """A package that is accepted and offered."""
    asked = {"reason": f"chaos {seq}", "kind": "persist", "mode": "standard", "idem": f"k{seq}", "fence": None}
    answer = {"epoch": "e", "seq": seq, "rev": f"rev-{seq}", "digests": NEW}
    offer: dict[str, Any] = {"epoch": "e", "seq": seq, "mode": "standard", "fence": 0}
    return [
        Event(S_NS, "f", "invoke", "submit", DEVICE, asked | more),
        Event(S_NS, "f", "ok", "submit", DEVICE, answer),
        fact("offer_in", **offer, ears=["right", "left"], expect=NEW),
        fact("journal", epoch="e", seq=seq, phase="received"),
        fact("journal", epoch="e", seq=seq, phase="awaiting_install"),
    ]


def written(seq: int = 1, *, at_s: float = 2.0) -> list[Event]:
    return [
        fact("journal", at_s, epoch="e", seq=seq, phase="writing:right"),
        *(fact("side_commit", at_s, epoch="e", seq=seq, ear=ear, digest=digest) for ear, digest in NEW.items()),
        fact("journal", at_s, epoch="e", seq=seq, phase="ended"),
    ]


def story(*events: Event) -> Story:
    return stories(events)[DEVICE]


@pytest.mark.parametrize(("installs", "broken"), [("yes", 0), ("no", 1), ("never", 1)])
def test_nothing_is_written_that_its_wearer_never_agreed_to(installs: str, broken: int) -> None:
    told = story(fact("wearer", installs=installs), *sent(), *written())
    assert len(list(the_wearer_decides(told))) == broken


def test_live_work_is_not_the_wearers_to_install() -> None:
    live = [fact("offer_in", epoch="e", seq=1, mode="advanced"), *written()]
    assert not list(the_wearer_decides(story(fact("wearer", installs="no"), *live)))


@pytest.mark.parametrize(("at_s", "broken"), [(2.0, 0), (11.9, 0), (13.0, 1)])
def test_what_has_expired_is_not_begun(at_s: float, broken: int) -> None:
    told = story(*sent(expires_in_s=1), *written(at_s=at_s))
    assert len(list(not_after_its_time(told))) == broken
    assert not list(not_after_its_time(story(*sent(), *written(at_s=at_s))))


@pytest.mark.parametrize(("brought", "broken"), [(OLD, 0), (NEW | {"left": "l-other"}, 1)])
def test_what_is_taken_back_gives_way_to_what_was_there_before(brought: dict[str, str], broken: int) -> None:
    told = story(
        fact("read_revision", rev="first", reason="", digests=OLD),
        fact("read_revision", rev="rev-1", reason="chaos 1", digests=NEW),
        fact("read_revision", rev="rev-2", reason=TAKEN_BACK, digests=brought),
        fact("read_row", seq=1, rev="rev-1", kind="persist", mode="standard"),
        fact("read_row", seq=2, rev="rev-2", kind="persist", mode="standard"),
        *sent(),
        fact("offer_in", epoch="e", seq=2, mode="standard", expect=brought),
    )
    assert len(list(undo_brings_back(told))) == broken
    # Nobody at a desk has asked for it, and it is no phantom.
    assert not list(no_phantom(told))


def test_a_package_that_waits_for_its_wearer_is_no_open_write() -> None:
    def half(after: list[Event]) -> list[Event]:
        began = [fact("read_aids", aids={ear: {"ram": digest} for ear, digest in OLD.items()}), *after]
        torn = fact("side_commit", 2.0, epoch="e", seq=9, ear="right", digest="r-torn")
        return [*began, torn, fact("journal", 3.0, epoch="e", seq=1, phase="awaiting_install")]

    assert list(no_half_write(story(*half(sent()))))


def test_a_package_is_under_no_fence() -> None:
    grant = [
        Event(1, "g", "invoke", "acquire", DEVICE, {"holder": "g", "session": "g"}),
        Event(2, "g", "ok", "acquire", DEVICE, {"fence": 7}),
    ]
    live = fact("offer_in", 0.5, epoch="e", seq=0, mode="advanced", fence=7)
    begun = fact("journal", 0.5, epoch="e", seq=0, phase="received")
    assert not list(old_fences_are_dead(story(*grant, live, begun, *sent())))
    as_live = [fact("offer_in", epoch="e", seq=1, mode="advanced", fence=0), *sent()[3:]]
    assert list(old_fences_are_dead(story(*grant, live, begun, *as_live)))


def test_packages_are_counted_by_what_they_came_to() -> None:
    def row(seq: int, state: str, mode: str = "standard") -> list[Event]:
        return [
            fact("read_row", seq=seq, rev=f"rev-{seq}", kind="persist", mode=mode),
            fact("read_delivery", epoch="e", seq=seq, state=state, ears={}),
        ]

    told = story(
        *row(1, "superseded"),
        *row(2, "superseded"),
        *row(3, "active", "advanced"),
        *row(4, "expired"),
        fact("read_audit", n=1, seq=4, state="undone"),
    )
    assert package_counts(told) == {"sent": 3, "superseded": 2, "made way": 1, "expired": 1, "undone": 1}
