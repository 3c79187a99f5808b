"""The one or two aids that a patient wears, by ear.

Knows no phone. Read ``VirtualPair`` first.
"""

from clients.virtual_aid.aid import VirtualAid
from protocol.contract.base import EARS, Ear

__all__ = ["VirtualPair"]


class VirtualPair:
    """One or two virtual aids. Raises ValueError for none, or for two of one ear."""

    def __init__(self, *aids: VirtualAid) -> None:
        self._aids = {aid.ear: aid for aid in aids}
        if not aids or len(self._aids) != len(aids):
            raise ValueError("a pair is one aid, or one for each ear")

    @property
    def ears(self) -> tuple[Ear, ...]:
        """The ears that wear an aid, right first."""
        return tuple(ear for ear in EARS if ear in self._aids)

    def aid(self, ear: Ear) -> VirtualAid:
        """The aid of an ear. Raises KeyError where there is none."""
        return self._aids[ear]

    def get(self, ear: Ear) -> VirtualAid | None:
        """The aid of an ear, or None."""
        return self._aids.get(ear)
