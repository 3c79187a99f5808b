"""What every directory of pods must do.

An implementation supplies ``pod``, which gives one more pod of a shared directory that is not open yet.
"""

from collections.abc import Callable

from signaling.pods.directory import PodDirectory
from tests.eventually import eventually, eventually_asked

__all__ = ["NewPod", "PodDirectoryContract"]

NewPod = Callable[[str], PodDirectory]


class PodDirectoryContract:
    """Pods that are open are known to each other, and gone when they are closed."""

    async def test_a_pod_knows_itself_from_the_start(self, pod: NewPod) -> None:
        one = pod("one")
        assert one.pods() == ("one",)
        assert not one.has_looked
        await one.open()
        await eventually(lambda: one.has_looked)
        assert one.pods() == ("one",)
        assert one.address_of("one") is None
        one.reached_at("http://10.0.0.1:1")
        assert one.address_of("one") == "http://10.0.0.1:1"

    async def test_pods_that_are_open_know_each_other_and_where_they_are(self, pod: NewPod) -> None:
        one, two = pod("one"), pod("two")
        one.reached_at("http://10.0.0.1:1")
        for each in (one, two):
            await each.open()
            await each.looked()
            assert each.has_looked
        assert "one" in two.pods(), "whoever has looked has seen who was there before"
        await eventually(lambda: one.pods() == two.pods() == ("one", "two"))
        await eventually(lambda: two.address_of("one") == "http://10.0.0.1:1")
        # It is nowhere reached, and yet it is there.
        assert one.address_of("two") is None

    async def test_where_a_pod_is_may_be_told_later(self, pod: NewPod) -> None:
        one, two = pod("one"), pod("two")
        for each in (one, two):
            await each.open()
        await eventually(lambda: "one" in two.pods())
        one.reached_at("unix:/run/one")
        await eventually(lambda: two.address_of("one") == "unix:/run/one")

    async def test_who_is_asked_for_a_pod_looks_where_it_is(self, pod: NewPod) -> None:
        one, two = pod("one"), pod("two")
        one.reached_at("http://10.0.0.1:1")
        await one.open()
        await eventually(lambda: "one" in one.pods())

        async def found() -> bool:
            return await two.look("one") == "http://10.0.0.1:1"

        await two.open()
        await two.looked()
        await eventually_asked(found)
        assert await two.look("three") is None
        assert await one.look("one") == "http://10.0.0.1:1"

    async def test_a_pod_that_is_closed_is_gone_at_once(self, pod: NewPod) -> None:
        one, two = pod("one"), pod("two")
        one.reached_at("http://10.0.0.1:1")
        for each in (one, two):
            await each.open()
        await eventually(lambda: two.address_of("one"))
        changes: list[None] = []
        two.on_change(lambda: changes.append(None))
        await one.close()
        await eventually(lambda: two.pods() == ("two",))
        assert (two.address_of("one"), await two.look("one")) == (None, None)
        assert changes
