"""Whoever waits until channels are heard is told once: by the last of them, by time, or because none will be."""

from collections.abc import Callable

import pytest

from signaling.bus.confirming import Confirming


class Waiting:
    """Somebody waits; time passes when a test says so."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []
        self.late = 0
        self.told: list[str] = []
        self.confirming = Confirming(later=self.timers.append, on_late=self.is_late)

    def is_late(self) -> None:
        self.late += 1

    def wait(self, name: str, *channels: bytes) -> None:
        self.confirming.wait(channels, lambda: self.told.append(name))

    def pass_time(self) -> None:
        for timer in self.timers:
            timer()


@pytest.fixture
def all_() -> Waiting:
    return Waiting()


def test_he_is_told_by_the_last_of_his_channels_and_everybody_who_waits_for_it(all_: Waiting) -> None:
    all_.wait("ann", b"a", b"b")
    all_.wait("bob", b"b")
    all_.confirming.confirmed(b"c")
    all_.confirming.confirmed(b"a")
    assert all_.told == []
    all_.confirming.confirmed(b"b")
    assert all_.told == ["ann", "bob"]
    all_.pass_time()
    all_.confirming.give_up()
    assert (all_.told, all_.late, len(all_.confirming)) == (["ann", "bob"], 0, 0)


def test_after_a_while_he_is_told_all_the_same_and_never_again(all_: Waiting) -> None:
    all_.wait("ann", b"a", b"b")
    all_.pass_time()
    assert (all_.told, all_.late) == (["ann"], 1)
    all_.confirming.confirmed(b"a")
    all_.confirming.confirmed(b"b")
    assert (all_.told, len(all_.confirming)) == (["ann"], 0)


def test_when_none_will_be_confirmed_nobody_waits(all_: Waiting) -> None:
    all_.wait("ann", b"a", b"b")
    all_.wait("bob", b"b")
    all_.confirming.give_up()
    assert (sorted(all_.told), all_.late, len(all_.confirming)) == (["ann", "bob"], 0, 0)
