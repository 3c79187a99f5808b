"""What happens to an aid with nobody fitting it: a restart, another app, the wearer's own hand on the button.

Each reading is compared with the one before; what differs is noted, to be told to the server with a read-back. Must not
know deliveries: what those change is ``settled`` and no news. Read ``AidWatch.look`` first.
"""

from collections.abc import Collection

from clients.ear_hands import EarHands, Reading
from clients.journal import Notice
from clients.phone_book import PhoneBook
from protocol.contract.base import Ear
from protocol.contract.sessions import DeviceCause

__all__ = ["AidWatch"]


class AidWatch:
    """``moved``: ears whose wearer has chosen another program, until the server has been told."""

    def __init__(self, book: PhoneBook, hands: EarHands) -> None:
        self._book, self._hands = book, hands
        self._known: dict[Ear, Reading] = {}
        self._is_shown = False
        self._owed: set[Ear] = set()
        self.moved: set[Ear] = set()

    def look(self) -> None:
        """Compare what was read now with what was known."""
        for ear, reading in self._hands.readings.items():
            known = self._known.get(ear)
            if ear in self._owed or (known is None and self._is_shown):
                # It was out of reach when the server was last told what is in the aids.
                self._book.note("read_back")
                self._owed.discard(ear)
            if known is not None:
                for cause in _news(known, reading):
                    self._book.note(cause)
                if known.identity.slot != reading.identity.slot:
                    self.moved.add(ear)
        self.settle()

    def shown(self) -> None:
        """The server is shown what was read now; an aid that is read for the first time later is news."""
        self.settle()
        self._is_shown = True

    def reported(self, worn: Collection[Ear], read: Collection[Ear]) -> None:
        """The server is told of these; one that could not be read then is news as soon as it can be."""
        self._owed = set(worn) - set(read)

    def settle(self) -> None:
        """What was read now is as it should be."""
        self._known |= self._hands.readings

    def differs(self) -> None:
        """An aid is not at the base of what was offered: the server gets to see it, if it does not already."""
        if all(notice.cause not in ("other_app", "reboot") for notice in self._book.record.notices):
            self._book.note("read_back")

    def told(self, notice: Notice) -> None:
        """The server knows."""
        if notice.cause == "user_state":
            self.moved.clear()


def _news(known: Reading, reading: Reading) -> list[DeviceCause]:
    before, after = known.identity, reading.identity
    news: list[DeviceCause] = []
    if before.boots != after.boots:
        news.append("reboot")
    elif (known.images.ram, known.images.nvm) != (reading.images.ram, reading.images.nvm):
        news.append("other_app")
    if (before.slot, before.volume_ddb, before.muted) != (after.slot, after.volume_ddb, after.muted):
        news.append("user_state")
    return news
