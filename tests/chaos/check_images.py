"""I5 no half write: what both aids hold belongs together whenever no write is under way, and the server knows it."""

from collections.abc import Iterator

from tests.chaos.history import Event
from tests.chaos.images import Held, replay
from tests.chaos.story import Key, Story, key_of
from tests.chaos.violation import Violation

__all__ = ["no_half_write", "truth_is_known"]


class _Settled:
    """What each ear is to hold in RAM while no journal is open: the end of the last delivery that reached all its ears.

    An ear that went back to something by itself, or was put back outside of a delivery, is settled there.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self._ears = {key_of(offer): offer.v["ears"] for offer in story.facts["offer_in"]}
        self._held: dict[str, str] = {}

    def after(self, event: Event, held: Held, key: Key | None) -> str | None:
        """What is wrong after an event, None for nothing. ``key`` is the delivery that was open before it."""
        now = {ear: digest for (ear, memory), digest in held.digests.items() if memory == "ram"}
        if event.f == "reboot" or (event.f == "restore" and key is None):
            self._held[event.v["ear"]] = now[event.v["ear"]]
        if held.key is not None or event.f not in {"journal", "read_aids"}:
            return None
        if not self._held:
            self._held = now
        if event.f == "journal":
            self._end(key_of(event), now)
        strays = sorted(ear for ear, digest in now.items() if digest != self._held[ear])
        return f"the {' and the '.join(strays)} aid holds a part of a change" if strays else None

    def _end(self, key: Key, now: dict[str, str]) -> None:
        expected = self._story.expected(key)
        ears = self._ears.get(key, ())
        if ears and all(now[ear] == expected.get(ear) for ear in ears):
            self._held |= {ear: now[ear] for ear in ears}


def no_half_write(story: Story) -> Iterator[Violation]:
    """I5: outside an open journal every delivery is in all of its ears or in none, and nothing else is in them."""
    settled = _Settled(story)
    key: Key | None = None
    for event, held in replay(story):
        wrong = settled.after(event, held, key)
        if wrong is not None:
            yield Violation("I5", story.device, f"{wrong}, and no write is open", (event,))
        key = held.key


def truth_is_known(story: Story) -> Iterator[Violation]:
    """I5, at the end: what the server says is in each memory is in it."""
    for read in story.facts["read_device"][-1:]:
        for aids in story.facts["read_aids"][-1:]:
            for ear, memories in aids.v["aids"].items():
                if read.v["in_aid"].get(ear) != memories:
                    yield Violation("I5", story.device, f"the server is wrong about the {ear} aid", (aids, read))
