"""What a patient has agreed to, and what a consent that was taken back keeps from being done.

A scope that nobody has decided upon refuses nothing: live work asks the patient each time anyway, and a package waits
until he installs it. This module must not know who decided, nor where that is kept. Read ``consent_refusal``.
"""

from collections.abc import Mapping
from typing import Final, get_args

from protocol.contract.base import Refusal
from protocol.contract.sessions import ConsentScope

__all__ = ["SCOPES", "consent_refusal"]

SCOPES: Final[tuple[ConsentScope, ...]] = get_args(ConsentScope)
_WHAT: Final[Mapping[ConsentScope, str]] = {
    "live_tuning": "live work",
    "video": "video",
    "recording": "recordings",
    "datalog": "reading the aids' data log",
    "standard_delivery": "packages",
    "support_view": "the maker's support",
}


def consent_refusal(standing: Mapping[ConsentScope, bool], scope: ConsentScope) -> Refusal | None:
    """Why something of this scope may not be done now; ``standing`` holds what was decided last, per scope."""
    if standing.get(scope, True):
        return None
    return Refusal(code="consent_withdrawn", message=f"the patient has withdrawn the consent to {_WHAT[scope]}")
