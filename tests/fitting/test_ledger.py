"""From the log's moments to budgets: what came about counts, what was only asked for does not begin anything."""

from typing import Any

import msgspec
from msgspec.structs import replace

from fitting import ledger
from fitting.budgets import Budgets, Held
from fitting.digest import content_digests
from fitting.ledger import budgets_of_saving, kept, was_in_nvm
from fitting.limits import WEEK_S
from fitting.log_values import DeviceHead, LiveSession, Moment, Revision
from protocol.contract.devices import EarTruth, InAid
from protocol.contract.fitting import Content, EarProgram, SafetySummary
from tests.fitting.contents import content, flat


def at(gain_ddb: int) -> Content:
    return content(right=flat(g50_ddb=gain_ddb))


def revision(gain_ddb: int, at_s: float, origin: Any = "fitting") -> Revision:
    held = at(gain_ddb)
    return Revision(
        revision_id=f"r-{gain_ddb}-{at_s}",
        parent="r",
        origin=origin,
        author="ann",
        reason="too soft",
        content=held,
        digests=content_digests(held),
        safety=SafetySummary(rules=()),
        at_s=at_s,
    )


def moment(gain_ddb: int, at_s: float, origin: Any = "fitting") -> Moment:
    return Moment(at_s, revision(gain_ddb, at_s, origin))


def head(
    newest: Revision | None = None, *, held: tuple[Moment, ...] = (), active: tuple[Moment, ...] = ()
) -> DeviceHead:
    """A device; with ``held`` in a session that began with the first of it."""
    live = LiveSession(1, "s", "ann", held[0].revision, held[0].at_s, held) if held else None
    return DeviceHead(
        device="d",
        epoch="e",
        aids={},
        revision=newest or revision(100, 0.0),
        at_s=0.0,
        in_aid=InAid(),
        lease=None,
        fence=1,
        generation=1,
        last_seq=1,
        last_terminal=1,
        live=live,
        active=active,
    )


def budgets_of(here: DeviceHead, now_s: float) -> Budgets:
    return ledger.budgets_of(replace(here, at_s=now_s))


def gains(known: Budgets) -> tuple[int | None, ...]:
    """The gain for soft sounds that session, 10 s, active and 7 days are counted from."""
    found: list[int | None] = []
    for levels in (known.session_base, known.lowest_10s, known.active, known.lowest_active_7d):
        program = None if levels is None else levels[1, "right"]
        assert program is None or isinstance(program, EarProgram)
        found.append(None if program is None else program.g50_ddb[0])
    return tuple(found)


READ = moment(100, 0.0, "readback")
BEGAN = moment(100, 50.0, "readback")


def test_without_a_session_none_is_known_and_without_a_history_nothing() -> None:
    assert gains(budgets_of(head(active=(READ,)), 5.0)) == (None, None, 100, 100)
    assert budgets_of(head(), 5.0) == Budgets()


def test_what_was_accepted_moves_the_window_and_not_where_the_session_began() -> None:
    here = head(held=(BEGAN, moment(130, 60.0), moment(160, 65.0)), active=(READ,))
    assert gains(budgets_of(here, 69.9)) == (100, 100, 100, 100)
    assert gains(budgets_of(here, 70.0)) == (100, 130, 100, 100)
    assert gains(budgets_of(here, 75.0)) == (100, 160, 100, 100)


def test_a_first_fit_that_was_only_asked_for_begins_nothing() -> None:
    asked = moment(300, 60.0, "first_fit")
    here = head(asked.revision, held=(BEGAN, asked), active=(READ,))
    assert gains(budgets_of(here, 61.0)) == (100, 100, 100, 100)


def test_a_first_fit_that_came_about_begins_the_count_though_the_session_has_forgotten_it() -> None:
    fit = Moment(61.0, revision(300, 60.0, "first_fit"))
    later = (moment(320, 90.0), moment(340, 110.0))
    here = head(later[1].revision, held=(BEGAN, *later), active=(READ, fit))
    assert gains(budgets_of(here, 111.0)) == (300, 320, 100, 300)


def test_a_first_fit_of_an_earlier_session_does_not_begin_this_one() -> None:
    fit = Moment(40.0, revision(300, 39.0, "first_fit"))
    here = head(held=(BEGAN, moment(130, 60.0)), active=(READ, fit))
    assert gains(budgets_of(here, 61.0)) == (100, 100, 100, 300)
    same = head(held=(moment(100, 40.0, "readback"), moment(130, 60.0)), active=(READ, fit))
    assert gains(budgets_of(same, 61.0))[0] == 300


def test_saving_begins_nothing() -> None:
    fit = Moment(61.0, revision(300, 60.0, "first_fit"))
    saved = moment(420, 100.0, "save")
    here = head(saved.revision, held=(BEGAN,), active=(READ, fit, saved))
    assert gains(budgets_of(here, 101.0)) == (300, 300, 420, 300)


def test_a_read_back_in_the_session_counts_as_what_ram_held() -> None:
    lost = revision(100, 80.0, "readback")
    here = head(lost, held=(BEGAN, moment(200, 60.0)), active=(READ,))
    assert gains(budgets_of(here, 85.0)) == (100, 100, 100, 100)
    assert gains(budgets_of(here, 79.0))[1] == 100
    changed = head(revision(200, 80.0), held=(BEGAN, moment(200, 60.0)), active=(READ,))
    assert gains(budgets_of(changed, 85.0))[1] == 200


def test_a_later_read_back_does_not_begin_anew() -> None:
    found = moment(400, 50.0, "readback")
    here = head(active=(READ, found))
    assert gains(budgets_of(here, 60.0)) == (None, None, 400, 100)
    assert gains(budgets_of(here, 50.0 + WEEK_S)) == (None, None, 400, 400)


def test_what_was_in_ram_only_was_not_active() -> None:
    fit = Moment(61.0, revision(300, 60.0, "first_fit"))
    assert was_in_nvm(head(active=(READ, fit))) == (Held(0.0, at(100)),)
    saved = moment(300, 70.0, "save")
    assert was_in_nvm(head(active=(READ, fit, saved)))[-1] == Held(70.0, at(300))
    assert gains(budgets_of(head(active=(fit,)), 62.0)) == (None, None, None, 300)


def test_before_the_first_read_back_nothing_is_known() -> None:
    assert budgets_of(replace(head(held=(BEGAN,)), revision=None), 60.0).session_base is not None
    assert budgets_of(replace(head(), revision=None), 60.0) == Budgets()


def keeping(here: DeviceHead, gain_ddb: int) -> DeviceHead:
    """The same device, whose NVM was read to hold that."""
    digest = content_digests(at(gain_ddb)).right
    assert isinstance(digest, str)
    truth = EarTruth(ram=digest, nvm=digest, cause="read_back", at="2026-01-01T00:00:00.000Z")
    return replace(here, in_aid=InAid(right=truth))


def test_what_nvm_holds_is_known_when_the_log_has_seen_it() -> None:
    tried = (BEGAN, moment(200, 60.0))
    here = head(revision(210, 61.0), held=tried, active=(moment(90, 0.0),))
    assert [kept(keeping(here, gain)) for gain in (90, 100, 200, 210)] == [at(90), at(100), at(200), at(210)]
    assert kept(keeping(here, 220)) is None
    assert kept(keeping(here, 220), (revision(220, 3.0),)) == at(220)
    assert kept(here) is None
    assert kept(replace(here, revision=None)) is None


def test_two_ears_that_keep_different_programs_are_no_configuration() -> None:
    base = revision(100, 0.0)
    one = content(right=flat(), left=flat())
    other = msgspec.structs.replace(one, programs=(msgspec.structs.replace(one.programs[0], name="Other"),))
    pair = replace(base, content=one, digests=content_digests(one))
    named = replace(base, content=other, digests=content_digests(other))
    here = head(pair, active=(Moment(0.0, named),))
    truths = {
        ear: EarTruth(ram=digest, nvm=digest, cause="read_back", at="2026-01-01T00:00:00.000Z")
        for ear, digest in (("right", pair.digests.right), ("left", named.digests.left))
        if isinstance(digest, str)
    }
    assert kept(replace(here, in_aid=InAid(**truths))) is None


def test_in_place_of_something_unknown_only_a_first_fit_of_this_session_is_counted_from() -> None:
    here = head(held=(BEGAN,), active=(READ,))
    assert budgets_of_saving(here, is_known=True) == ledger.budgets_of(here)
    assert budgets_of_saving(here, is_known=False) == Budgets()
    fits = [Moment(at_s, revision(300, at_s, "first_fit")) for at_s in (40.0, 60.0)]
    early, late = (replace(here, active=(READ, fit)) for fit in fits)
    assert budgets_of_saving(early, is_known=False) == Budgets()
    assert budgets_of_saving(late, is_known=False) == ledger.budgets_of(late)
