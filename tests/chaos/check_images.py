"""I5 no half write: what both aids hold belongs together whenever no write is under way, and the server knows it."""

from collections.abc import Iterator

from tests.chaos.history import Event
from tests.chaos.images import Held, replay
from tests.chaos.story import Key, Story, key_of
from tests.chaos.violation import Violation

__all__ = ["no_half_write", "truth_is_known"]


class _Settled:
    """What each ear is to hold in RAM while no journal is open.

    A delivery that ends settles every ear on what it held before or on what was asked for, both ears alike. What
    changes outside of a delivery, by a restart of the aid or by a restore, settles where it is.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self._offers = {key_of(offer): offer for offer in story.facts["offer_in"]}
        self._held: dict[str, str] = {}
        self._last_look = story.facts["read_aids"][-1] if story.facts["read_aids"] else None
        digests = [op.answer["digests"] for op in story.accepted.values()]
        digests += [event.v["digests"] for event in story.facts["read_revision"]]
        self._whole = {pair for each in digests for pair in each.items()}
        self._pairs = digests

    def _is_whole(self, event: Event) -> bool:
        """Whether an ear was put back to something that it was meant to hold at some time."""
        return (event.v["ear"], event.v["digest"]) in self._whole

    def _belongs_together(self, now: dict[str, str]) -> bool:
        """Whether both ears hold one revision: put back, an ear that held it already in part was not touched."""
        return any(all(pair.get(ear) == digest for ear, digest in now.items()) for pair in self._pairs)

    def after(self, event: Event, held: Held, key: Key | None) -> str | None:
        """What is wrong after an event, None for nothing. ``key`` is the delivery that was open before it."""
        now = {ear: digest for (ear, memory), digest in held.digests.items() if memory == "ram"}
        for ear in now.keys() - self._held.keys():
            self._held[ear] = now[ear]  # the first look at it
            self._whole.add((ear, now[ear]))
        if event.f == "reboot" or (event.f == "restore" and (key is None or self._is_whole(event))):
            self._held[event.v["ear"]] = now[event.v["ear"]]
        over = _over(event, held, key)
        # A look at the aids in between may fall into the middle of putting a session's base back.
        if event is not self._last_look and over is None:
            return None
        wrong = None if over is None else self._end(over, now)
        strays = sorted(ear for ear, digest in now.items() if digest != self._held[ear])
        self._held = now  # told once
        return f"the {' and the '.join(strays)} aid holds a part of a change" if strays else wrong

    def _end(self, key: Key, now: dict[str, str]) -> str | None:
        expected, offer = self._story.expected(key), self._offers.get(key)
        if offer is None or any(ear not in now for ear in offer.v["ears"]):
            return None  # of an ear that nobody has looked at yet nothing can be said
        reached = [ear for ear in offer.v["ears"] if now[ear] == expected.get(ear)]
        moved = [ear for ear in reached if now[ear] != self._held[ear]]
        self._held |= {ear: now[ear] for ear in reached}
        if moved and len(reached) < len(offer.v["ears"]) and not self._belongs_together(now):
            return f"seq {key[1]} is in the {moved[0]} aid alone"
        return None


def _over(event: Event, held: Held, key: Key | None) -> Key | None:
    """The delivery that is over with an event; ``key`` was open before it."""
    if event.f != "journal":
        return None
    if held.key is None:
        return key_of(event)
    # The phone was killed between writing down that the one before had ended and telling of it.
    return key if key is not None and key != held.key else None


def no_half_write(story: Story) -> Iterator[Violation]:
    """I5: outside an open journal every delivery is in all of its ears or in none, and nothing is in them in part."""
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
