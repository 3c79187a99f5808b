"""What fitting software asks for, as a value: live under a lease, or as a package for a phone that may be asleep.

Must not know a connection. Read ``Change`` first.
"""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from protocol.contract.fitting import Base, Content, Patch, Submit

__all__ = ["Change"]


@dataclass(frozen=True, slots=True)
class Change:
    """What to ask for: a ``patch``, a whole ``content``, or an earlier ``revision`` to go back to, on ``base``.

    ``fence``: that of the lease it is done live under; 0 for a ``package``, which needs none, waits for its wearer, and
    expires after ``expires_in_s`` (a week where that is not said).
    """

    device: str
    fence: int
    base: Base
    reason: str
    patch: Patch | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    revision: str | UnsetType = UNSET
    first_fit: bool = False
    package: bool = False
    expires_in_s: int | UnsetType = UNSET

    def submit(self, key: str) -> Submit:
        """The request. What was tried live is kept by ``Fitter.save``; a package is kept when it is installed."""
        return Submit(
            device=self.device,
            kind="persist" if self.package else "volatile",
            mode="standard" if self.package else "advanced",
            base=self.base,
            reason=self.reason,
            idempotency_key=key,
            fence=UNSET if self.package else self.fence,
            origin="first_fit" if self.first_fit else "fitting",
            patch=self.patch,
            content=self.content,
            revision=self.revision,
            expires_in_s=self.expires_in_s,
        )
