"""What every backplane must do; an implementation supplies ``join``: one pod's connection to a shared bus."""

from collections.abc import Callable

from signaling.backplane import Backplane

__all__ = ["BackplaneContract"]


def given(text: bytes) -> Callable[[], bytes]:
    return lambda: text


class BackplaneContract:
    """At most once, in order per publisher and channel, never to the publisher itself."""

    async def test_a_message_reaches_every_other_pod_that_listens(self, join: Callable[[], Backplane]) -> None:
        one, two, three = join(), join(), join()
        heard: list[tuple[str, bytes]] = []
        for name, pod in (("one", one), ("two", two), ("three", three)):
            pod.subscribe("c", lambda body, name=name: heard.append((name, body)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        one.publish("c", given(b"x"))
        assert sorted(heard) == [("three", b"x"), ("two", b"x")]

    async def test_channels_do_not_mix_and_order_is_kept(self, join: Callable[[], Backplane]) -> None:
        one, two = join(), join()
        heard: list[bytes] = []
        two.subscribe("c", heard.append)
        for number in range(20):
            one.publish("c", given(b"%d" % number))
            one.publish("other", given(b"no"))
        assert heard == [b"%d" % number for number in range(20)]

    async def test_after_unsubscribe_and_close_nothing_is_heard(self, join: Callable[[], Backplane]) -> None:
        one, two, three = join(), join(), join()
        heard: list[bytes] = []
        two.subscribe("c", heard.append)
        three.subscribe("c", heard.append)
        two.unsubscribe("c")
        two.unsubscribe("never-subscribed")
        await three.close()
        one.publish("c", given(b"x"))
        assert heard == []

    async def test_a_second_subscription_replaces_the_first(self, join: Callable[[], Backplane]) -> None:
        one, two = join(), join()
        first: list[bytes] = []
        second: list[bytes] = []
        two.subscribe("c", first.append)
        two.subscribe("c", second.append)
        one.publish("c", given(b"x"))
        assert (first, second) == ([], [b"x"])

    async def test_what_nobody_hears_is_never_encoded(self, join: Callable[[], Backplane]) -> None:
        one, two = join(), join()
        one.subscribe("c", lambda _: None)
        encoded: list[int] = []

        def payload() -> bytes:
            encoded.append(1)
            return b"x"

        one.publish("c", payload)
        assert encoded == []
        two.subscribe("c", lambda _: None)
        one.publish("c", payload)
        assert encoded == [1]
