"""What every presence must do.

An implementation supplies ``pod``, which gives one more pod that is open, counting together with the others.
"""

from collections.abc import Awaitable, Callable, Sequence

from signaling.presence import Mark, Presence
from tests.eventually import eventually, eventually_asked

__all__ = ["NewPresence", "PresenceContract"]

NewPresence = Callable[[], Awaitable[Presence]]


def is_counted(pod: Presence, marks: Sequence[Mark], counts: tuple[int, ...]) -> Callable[[], Awaitable[bool]]:
    async def counted() -> bool:
        return await pod.count(marks) == counts

    return counted


class PresenceContract:
    """Every connection counts, wherever it is; a pod that is closed counts none any more."""

    async def test_connections_are_counted_over_all_pods(self, pod: NewPresence) -> None:
        one, two = await pod(), await pod()
        ann, bob, nobody = one.person("c1", "ann"), one.person("c1", "bob"), one.person("c1", "nobody")
        assert two.person("c1", "ann") == ann
        for presence, mark in ((one, ann), (one, ann), (two, ann), (two, bob)):
            presence.came(mark)
        assert (one.here(ann), two.here(ann), one.here(bob)) == (2, 1, 0)
        for presence in (one, two):
            await eventually_asked(is_counted(presence, (ann, bob, nobody), (3, 1, 0)))
        one.left(ann)
        two.left(ann)
        await eventually_asked(is_counted(two, (ann, bob), (1, 1)))
        assert await one.count(()) == ()

    async def test_marks_do_not_mix(self, pod: NewPresence) -> None:
        one = await pod()
        marks = {
            *(one.person(clinic, user) for clinic in ("c1", "c2", "c1\0a", "\ud800") for user in ("a", "", "\0a")),
            *(one.device(name) for name in ("a", "c1\0a", "")),
        }
        assert len(marks) == 15

    async def test_who_leaves_oftener_than_he_came_is_gone_and_no_more(self, pod: NewPresence) -> None:
        one, two = await pod(), await pod()
        ann = one.person("c1", "ann")
        one.came(ann)
        for _ in range(3):
            one.left(ann)
        two.came(ann)
        await eventually_asked(is_counted(one, (ann,), (1,)))

    async def test_a_pod_that_is_closed_counts_nobody(self, pod: NewPresence) -> None:
        one, two = await pod(), await pod()
        ann = one.person("c1", "ann")
        one.came(ann)
        await eventually_asked(is_counted(two, (ann,), (1,)))
        await one.close()
        await eventually_asked(is_counted(two, (ann,), (0,)))

    async def test_the_first_to_come_and_the_last_to_go_are_told(self, pod: NewPresence) -> None:
        one, two = await pod(), await pod()
        ann, moved = one.person("c1", "ann"), list[Mark]()
        two.on_moved(moved.extend)
        one.came(ann)
        await eventually(lambda: moved == [ann])
        one.came(ann)
        one.left(ann)
        await eventually_asked(is_counted(two, (ann,), (1,)))
        one.left(ann)
        await eventually(lambda: moved == [ann, ann])

    async def test_as_many_as_there_may_be(self, pod: NewPresence) -> None:
        one, two = await pod(), await pod()
        marks = [one.device(str(number)) for number in range(2_500)]
        for mark in marks:
            one.came(mark)
        await eventually_asked(is_counted(two, marks, (1,) * len(marks)))
