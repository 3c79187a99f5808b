"""What every backplane must do.

An implementation supplies ``join``, which gives one more pod's connection to a shared bus, and ``settled``, which
returns when all that was asked of pods so far has come about.
"""

from collections.abc import Awaitable, Callable

from signaling.backplane import Backplane, BusState

__all__ = ["BackplaneContract", "Join", "Settled", "given"]

Join = Callable[[], Awaitable[Backplane]]
Settled = Callable[..., Awaitable[None]]


def given(text: bytes) -> Callable[[], bytes]:
    return lambda: text


class BackplaneContract:
    """At most once, in order per publisher and channel, never to the publisher itself."""

    async def test_a_message_reaches_every_other_pod_that_listens(self, join: Join, settled: Settled) -> None:
        pods = {name: await join() for name in ("one", "two", "three", "deaf")}
        heard: list[tuple[str, bytes]] = []
        for name, pod in pods.items():
            channel = "elsewhere" if name == "deaf" else "c"
            pod.subscribe(channel, lambda body, name=name: heard.append((name, body)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        await settled(*pods.values())
        pods["one"].publish("c", given(b"x"))
        await settled(*pods.values())
        assert sorted(heard) == [("three", b"x"), ("two", b"x")]

    async def test_channels_do_not_mix_and_order_is_kept(self, join: Join, settled: Settled) -> None:
        one, two = await join(), await join()
        heard: list[bytes] = []
        two.subscribe("c", heard.append)
        await settled(one, two)
        for number in range(2_000):
            one.publish("c", given(b"%d" % number))
            one.publish("other", given(b"no"))
        await settled(one, two)
        assert heard == [b"%d" % number for number in range(2_000)]

    async def test_after_unsubscribe_and_close_nothing_is_heard(self, join: Join, settled: Settled) -> None:
        one, two, three = await join(), await join(), await join()
        heard: list[bytes] = []
        two.subscribe("c", heard.append)
        three.subscribe("c", heard.append)
        await settled(one, two, three)
        two.unsubscribe("c")
        two.unsubscribe("never-subscribed")
        await three.close()
        one.publish("c", given(b"x"))
        await settled(one, two)
        assert heard == []

    async def test_a_second_subscription_replaces_the_first(self, join: Join, settled: Settled) -> None:
        one, two = await join(), await join()
        first: list[bytes] = []
        second: list[bytes] = []
        two.subscribe("c", first.append)
        two.subscribe("c", second.append)
        await settled(one, two)
        one.publish("c", given(b"x"))
        await settled(one, two)
        assert (first, second) == ([], [b"x"])

    async def test_whoever_comes_goes_and_comes_again_hears_once(self, join: Join, settled: Settled) -> None:
        one, two = await join(), await join()
        heard: list[bytes] = []
        for _ in range(5):
            two.subscribe("c", heard.append)
            two.unsubscribe("c")
        two.subscribe("c", heard.append)
        await settled(one, two)
        one.publish("c", given(b"x"))
        await settled(one, two)
        assert heard == [b"x"]

    async def test_any_bytes_on_any_channel(self, join: Join, settled: Settled) -> None:
        one, two = await join(), await join()
        channels = ("", " ", "a\0b", "{slot}", "*", "ünï", "\r\n$3", "\ud800", "x" * 1_000)
        heard: dict[str, list[bytes]] = {channel: [] for channel in channels}
        for channel, messages in heard.items():
            two.subscribe(channel, messages.append)
        await settled(one, two)
        bodies = [b"", b"\r\n", bytes(range(256)), b"x" * 300_000]
        for channel in channels:
            for body in bodies:
                one.publish(channel, given(body))
            await settled(one, two)
        assert heard == dict.fromkeys(channels, bodies)

    async def test_it_says_that_it_is_connected(self, join: Join) -> None:
        assert (await join()).state is BusState.CONNECTED
