"""What every push notifier must do; an implementation supplies ``desk``: a notifier, its log and its counters."""

from fitting.push import Later, Sent
from tests.signaling.push_desk import ANDROID, APPLE, PACKAGE, QUESTION, SECRETS, Desk

__all__ = ["PushNotifierContract"]


class PushNotifierContract:
    """One attempt a call, each counted once, nothing told of whom it was for."""

    async def test_a_push_of_each_kind_to_each_platform_is_sent(self, desk: Desk) -> None:
        for to in (ANDROID, APPLE):
            for note in (PACKAGE, QUESTION):
                assert await desk.notifier.send(to, note) == Sent()

    async def test_a_duplicate_is_sent_as_well(self, desk: Desk) -> None:
        assert [await desk.notifier.send(APPLE, PACKAGE) for _ in range(2)] == [Sent(), Sent()]

    async def test_each_is_counted_once(self, desk: Desk) -> None:
        for to in (ANDROID, ANDROID, APPLE):
            await desk.notifier.send(to, PACKAGE)
        samples = [sample for family in desk.metrics.pushes.collect() for sample in family.samples]
        assert {sample.labels["platform"]: sample.value for sample in samples} == {"fcm": 2, "apns": 1}

    async def test_neither_log_nor_metrics_tell_for_whom_it_was(self, desk: Desk) -> None:
        for to in (ANDROID, APPLE):
            await desk.notifier.send(to, PACKAGE)
            await desk.notifier.send(to, QUESTION)
        told = desk.log.getvalue() + desk.metrics.page().decode()
        assert [secret for secret in SECRETS if secret in told] == []

    async def test_after_closing_a_push_must_wait(self, desk: Desk) -> None:
        await desk.notifier.send(APPLE, PACKAGE)
        await desk.notifier.close()
        await desk.notifier.close()
        assert isinstance(await desk.notifier.send(APPLE, PACKAGE), Later)
