"""The bounds of one phone, in one place: how often, how many, how long.

Read ``PhoneLimits``.
"""

from dataclasses import dataclass, field

from clients.phone_session import SessionLimits

__all__ = ["PhoneLimits"]


@dataclass(frozen=True, slots=True)
class PhoneLimits:
    """``max_ended``: deliveries whose reports are kept, to give the same answer again. ``max_awaiting``: packages that
    wait for the wearer. ``connect_tries``: attempts to reach an aid in a row.

    ``max_writes`` and ``max_commits``: operations per ear and run. ``max_holds``: how often an offer that has to wait
    for an aid is looked at again before it is refused.

    ``operation_s``: the hard limit of one operation on an aid; then nobody knows, and it is read back.
    ``report_s``: how long the work on the aids waits for the server to take a report; then it is told again later.
    ``finish_write_s``: how long a write that is under way may go on once the base is wanted back.
    ``commit_retry_s``: how long the second aid of a pair may take to keep what the first has kept.
    ``rise_pause_s``: how long each step of a package that rises by more than 6 dB is heard before the next.
    ``ready_s`` and ``loudness_s``: how long the wearer may take to answer before and after a higher maximum output.
    """

    max_ended: int = 256
    max_awaiting: int = 8
    connect_tries: int = 3
    max_writes: int = 6
    max_commits: int = 3
    max_holds: int = 100
    operation_s: float = 10.0
    report_s: float = 3.0
    finish_write_s: float = 0.5
    commit_retry_s: float = 60.0
    rise_pause_s: float = 0.5
    ready_s: float = 15.0
    loudness_s: float = 15.0
    max_loudness: int = 5
    require_consent: bool = True
    session: SessionLimits = field(default_factory=SessionLimits)
