"""The bugs that are seeded into the fake, one per run, to prove that the checker sees each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

__all__ = ["BUGS", "Bug", "Mutation"]


class Mutation(Enum):
    """What goes wrong."""

    DROP_AN_OFFER = auto()
    RESEND_WITHOUT_JOURNAL = auto()
    SWAP_TWO_SEQS = auto()
    DELIVER_TO_A_NEIGHBOUR = auto()
    ACCEPT_AN_OLD_FENCE = auto()
    ACK_BEFORE_COMMIT = auto()
    APPLIED_WITHOUT_VERIFY = auto()
    REUSE_A_SEQ_AFTER_RESTART = auto()
    LEFT_NEW_RIGHT_OLD = auto()
    RESURRECT_AN_EXPIRED_ONE = auto()
    LOSE_AN_AUDIT_ROW = auto()
    BREAK_THE_CHAIN = auto()
    LEAK_A_CANARY = auto()
    GRANT_ONE_FENCE_TWICE = auto()
    FORGET_A_KEY = auto()
    OFFER_TO_THE_REPLACED_ONE = auto()
    ALLOT_BACKWARDS = auto()
    RESURRECT_A_SUPERSEDED_ONE = auto()
    INSTALL_WITHOUT_A_YES = auto()
    CALL_SOMEBODY_AWAY = auto()
    STALL_AFTER_ALL_FAULTS = auto()
    STALL_WITHOUT_BUS = auto()
    REFUSE_WITHOUT_BUS = auto()
    LEAK_WHEN_THE_BUS_IS_LOST = auto()
    FORGET_WHO_MAY_COME_BACK = auto()
    SEND_AGAIN_WHAT_WAS_HEARD = auto()
    ACCEPT_FROM_A_POD_THAT_SLEPT = auto()
    COUNT_ATTACHMENTS_APART = auto()


@dataclass(frozen=True, slots=True)
class Bug:
    """``chance`` of striking where it can; ``broken`` are the invariants of which one must be seen to break."""

    chance: float
    broken: frozenset[str]


def _bug(chance: float, *broken: str) -> Bug:
    return Bug(chance, frozenset(broken))


BUGS: Final[Mapping[Mutation, Bug]] = {
    Mutation.DROP_AN_OFFER: _bug(0.001, "I1"),
    Mutation.RESEND_WITHOUT_JOURNAL: _bug(1.0, "I2"),
    Mutation.SWAP_TWO_SEQS: _bug(0.05, "I3"),
    Mutation.DELIVER_TO_A_NEIGHBOUR: _bug(0.01, "I14"),
    Mutation.ACCEPT_AN_OLD_FENCE: _bug(0.2, "I6"),
    Mutation.ACK_BEFORE_COMMIT: _bug(0.5, "I1", "I11"),
    Mutation.APPLIED_WITHOUT_VERIFY: _bug(1.0, "I1"),
    Mutation.REUSE_A_SEQ_AFTER_RESTART: _bug(0.3, "I11"),
    Mutation.LEFT_NEW_RIGHT_OLD: _bug(0.02, "I5"),
    Mutation.RESURRECT_AN_EXPIRED_ONE: _bug(0.3, "I1", "I3"),
    Mutation.LOSE_AN_AUDIT_ROW: _bug(0.002, "I15"),
    Mutation.BREAK_THE_CHAIN: _bug(0.002, "I15"),
    Mutation.LEAK_A_CANARY: _bug(0.002, "I16"),
    Mutation.GRANT_ONE_FENCE_TWICE: _bug(0.2, "I6"),
    Mutation.FORGET_A_KEY: _bug(0.2, "I8"),
    Mutation.OFFER_TO_THE_REPLACED_ONE: _bug(0.3, "I7"),
    Mutation.ALLOT_BACKWARDS: _bug(0.05, "RT"),
    Mutation.RESURRECT_A_SUPERSEDED_ONE: _bug(0.3, "I1", "I15"),
    Mutation.INSTALL_WITHOUT_A_YES: _bug(0.3, "I4"),
    Mutation.CALL_SOMEBODY_AWAY: _bug(0.1, "I9"),
    Mutation.STALL_AFTER_ALL_FAULTS: _bug(0.01, "I10"),
    Mutation.STALL_WITHOUT_BUS: _bug(0.1, "I10"),
    Mutation.REFUSE_WITHOUT_BUS: _bug(0.3, "I12"),
    Mutation.LEAK_WHEN_THE_BUS_IS_LOST: _bug(1.0, "I13"),
    Mutation.FORGET_WHO_MAY_COME_BACK: _bug(0.1, "RS"),
    Mutation.SEND_AGAIN_WHAT_WAS_HEARD: _bug(0.1, "RS"),
    Mutation.ACCEPT_FROM_A_POD_THAT_SLEPT: _bug(1.0, "I6"),
    Mutation.COUNT_ATTACHMENTS_APART: _bug(0.3, "I7"),
}
