"""What every device log does when live work ends: what was heard and is lost has a name, and a phone may end it."""

from typing import Any

import pytest

from fitting.log_values import LastEnd, Learned, LiveSession, SessionEnded
from fitting.mode import TOLD_BY_PHONE
from protocol.contract.sessions import ReportDevice
from tests.contracts.device_log_bench import BOTH_LOUDER, DEVICE, FRESH, Bench, images

__all__ = ["EndContract"]


async def tell(bench: Bench, cause: str, **more: Any) -> Learned:
    """The phone has given both aids their base back."""
    left, right = images(FRESH, "left"), images(FRESH, "right")
    told = ReportDevice(device=DEVICE, cause=cause, left=left, right=right, **more)  # type: ignore[arg-type]  # a test names causes as text
    learned = await bench.log.report_device(told)
    assert isinstance(learned, Learned), learned
    return learned


class EndContract:
    async def test_what_was_heard_and_is_lost_can_be_read_by_its_name(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply()
        newest = await bench.apply(BOTH_LOUDER)
        await bench.submit()
        ended = await bench.log.end_session(DEVICE, cause="token_expired", actor="server")
        assert isinstance(ended, SessionEnded)
        assert ended.draft == newest.revision_id
        kept = await bench.log.revision(DEVICE, newest.revision_id)
        assert kept is not None
        assert kept.content == BOTH_LOUDER

    @pytest.mark.parametrize("cause", TOLD_BY_PHONE)
    async def test_a_phone_that_has_restored_by_itself_ends_it(self, bench: Bench, cause: str) -> None:
        await bench.fitted()
        tried = await bench.apply(BOTH_LOUDER)
        session = (await tell(bench, cause, fence=bench.fence)).session
        assert isinstance(session, SessionEnded)
        # The base is back already, so nothing is left to restore, and what was heard before is lost all the same.
        assert (session.cause, session.draft, session.restore) == (TOLD_BY_PHONE[cause], tried.revision_id, False)  # type: ignore[index]  # ditto
        head = await bench.head()
        assert head.revision is not None
        assert (head.live, head.revision.content) == (None, FRESH)
        events = [(one.kind, one.state, one.actor) for one in await bench.log.changed_since(DEVICE, 0)]
        assert events[-2:] == [("session", session.cause, "phone"), ("device", cause, "phone")]

    async def test_how_it_ended_is_kept_for_whoever_was_away_until_another_begins(self, bench: Bench) -> None:
        await bench.fitted()
        assert (await bench.head()).last_end is None
        newest = await bench.apply(BOTH_LOUDER)
        await bench.log.end_session(DEVICE, cause="link_slow", actor="server")
        wanted = LastEnd("link_slow", bench.fence, "ann", newest.revision_id)
        assert (await bench.head()).last_end == wanted
        assert (await bench.attach()).last_end == wanted
        await bench.acquire()
        head = await bench.head()
        assert (head.live is not None, head.last_end) == (True, None)

    async def test_a_phone_that_could_not_restore_one_ear_is_told_to(self, bench: Bench) -> None:
        await bench.fitted()
        await bench.apply(BOTH_LOUDER)
        told = ReportDevice(device=DEVICE, cause="dead_man", left=images(FRESH, "left"))
        learned = await bench.log.report_device(told)
        assert isinstance(learned, Learned)
        assert learned.session is not None
        assert learned.session.restore

    @pytest.mark.parametrize(("cause", "off"), [("undo", 0), ("reboot", 0), ("lease_lost", 0), ("dead_man", 1)])
    async def test_an_undo_or_the_end_of_another_session_ends_nothing(self, bench: Bench, cause: str, off: int) -> None:
        await bench.fitted()
        assert (await tell(bench, cause, fence=bench.fence - off)).session is None
        assert isinstance((await bench.head()).live, LiveSession)
