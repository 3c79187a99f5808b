"""What becomes of a call, told to those who know what that means for live work on the aids of whoever is in it.

A call that fitter and wearer talked in ends their live work when it is over; one in which either is lost, or that is
too bad to be understood, freezes it. ``fitting.mode`` decides that; ``media`` knows nothing of it. Read ``made`` first.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from media.call import Call, Leg
from media.call_quality import Verdict
from media.call_relay import behind
from media.call_talk import is_over, talk
from protocol.errors import Unavailable
from signaling.flows.endings import Endings
from signaling.stores.visits import VisitStore
from signaling.tasks import TaskSet

__all__ = ["CallsAndLiveWork"]


@dataclass(frozen=True, slots=True)
class _About:
    """Whose aids the visit of a call is about."""

    device: str
    wearer: str


class CallsAndLiveWork:
    """Of the calls of this pod's people. ``max_calls`` are remembered; ``now_s`` gives Unix seconds."""

    def __init__(
        self, visits: VisitStore, ends: Endings, tasks: TaskSet, *, max_calls: int, now_s: Callable[[], float]
    ) -> None:
        self._visits = visits
        self._ends = ends
        self._tasks = tasks
        self._max_calls = max_calls
        self._now_s = now_s
        # By call: known before the database is away, since who hangs up does not wait for it.
        self._about: dict[str, _About] = {}
        # By call: who reports of whom that no live work should go on. No more than there are about.
        self._bad: dict[str, set[tuple[int, int]]] = {}

    def changed(self, before: Call | None, after: Call) -> None:
        """A call is another, wherever that was made: somebody in it is lost, or is back."""
        legs = () if before is None else before.legs
        is_elsewhere = before is not None and before.relay != after.relay
        if after.ended is not None or (_places(after.legs) == _places(legs) and not is_elsewhere):
            return
        moved = {
            n for n, leg in enumerate(after.legs) if is_elsewhere or n >= len(legs) or _place(leg) != _place(legs[n])
        }
        ways = self._bad.get(after.call_id, set())
        # Over another connection, or through the server, nobody has reported anything yet.
        ways -= {way for way in ways if way[0] in moved}
        anew = {after.legs[number].user for number in moved}

        def do(about: _About) -> None:
            for is_away in (True, False):
                self._ends.call_is(
                    about.device,
                    lambda fitter: (talk(after, fitter, about.wearer) == "away") is is_away,  # noqa: B023  # asked at once
                    is_away=is_away,
                )
            self._ends.call_is(about.device, anew.__contains__, is_unseen=False)
            self._tell_bad(after, about)

        self._with(after, do)

    def made(self, before: Call | None, after: Call) -> None:
        """A call has become another here: it may be over, for all or for one of them."""
        if before is None:
            return

        def do(about: _About) -> None:
            def has_ended(fitter: str) -> bool:
                return is_over(before, after, fitter, about.wearer)

            if any(has_ended(leg.user) for leg in before.legs):
                self._ends.call_over(about.device, has_ended)

        if after.ended is not None or _places(after.legs) != _places(before.legs):
            self._with(after, do, is_last=after.ended is not None)

    def gone(self, call: Call, seen_s: float) -> None:
        """Another pod has ended it, and may have died over that."""
        ago_s = max(0.001, self._now_s() - seen_s)

        def do(about: _About) -> None:
            def has_ended(fitter: str) -> bool:
                return is_over(call, None, fitter, about.wearer)

            if any(has_ended(leg.user) for leg in call.legs):
                self._ends.call_over(about.device, has_ended, ago_s=ago_s)

        self._with(call, do, is_last=True)

    def told(self, call: Call, peer: int, to: int, verdict: Verdict) -> None:
        """How good the way between two people is by now."""
        ways = self._bad.setdefault(call.call_id, set())
        if "no_live_tuning" in verdict.advice:
            ways.add((peer, to))
        else:
            ways.discard((peer, to))
        self._with(call, lambda about: self._tell_bad(call, about))

    def seen(self, call: Call, peer: int, to: int, is_seen: bool) -> None:
        """Whether the picture of one peer comes to another."""
        fitter = call.legs[peer].user
        shown = {call.legs[number].user: call.legs[number].camera for number in behind(call, peer, to)}

        def do(about: _About) -> None:
            if about.wearer in shown:
                is_unseen = not is_seen and shown[about.wearer]
                self._ends.call_is(about.device, lambda one: one == fitter, is_unseen=is_unseen)

        self._with(call, do)

    def _tell_bad(self, call: Call, about: _About) -> None:
        """Too bad for live work in one of the two ways is too bad."""
        legs, ways = call.legs, self._bad.get(call.call_id, set())
        bad = [{legs[peer].user, legs[other].user} for peer, to in ways for other in behind(call, peer, to)]
        for is_bad in (True, False):
            self._ends.call_is(
                about.device,
                lambda fitter: ({fitter, about.wearer} in bad) is is_bad,  # noqa: B023  # asked at once
                is_bad=is_bad,
            )

    def _with(self, call: Call, do: Callable[[_About], None], *, is_last: bool = False) -> None:
        """At once when it is known what the call is about, else as soon as that is."""
        about = self._about.get(call.call_id)
        if is_last:
            self._about.pop(call.call_id, None)
            self._bad.pop(call.call_id, None)
        if about is not None:
            do(about)
        else:
            self._tasks.spawn(self._find(call, do, is_last=is_last))

    async def _find(self, call: Call, do: Callable[[_About], None], *, is_last: bool) -> None:
        # With the database away what is not known cannot be acted on; whoever fits tells of his call himself as well.
        with suppress(Unavailable):
            visit = await self._visits.get(call.visit)
            if visit is None:
                return
            about = _About(visit.device, visit.patient)
            if not is_last:
                if len(self._about) >= self._max_calls:
                    oldest = next(iter(self._about))
                    del self._about[oldest]
                    self._bad.pop(oldest, None)
                self._about[call.call_id] = about
            do(about)


def _place(leg: Leg) -> tuple[str, str]:
    return leg.state, leg.connection


def _places(legs: tuple[Leg, ...]) -> list[tuple[str, str]]:
    return [_place(leg) for leg in legs]
