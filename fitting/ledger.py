"""From what the device log keeps of a session and of NVM to what the safety kernel counts budgets from.

Three things must not be mixed up: what was asked for, what came about, and what NVM holds. A first fit begins the
count anew when it has come about, not when it is asked for; what is saved never does; and what was only in RAM was
not active. This module must not know where moments are kept. Read ``budgets_of`` first.
"""

from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter

from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, EarTruth
from protocol.contract.fitting import Content
from protocol.errors import BadArgument

from .budgets import NOTHING_KNOWN, Budgets, Held, budgets, levels_of
from .delivery import digest_of
from .log_moments import was_held
from .log_values import DeviceHead, Moment, Revision
from .model import content_from_images, ear_image, ears_of

__all__ = ["budgets_of", "budgets_of_saving", "kept", "was_in_nvm"]


def budgets_of(head: DeviceHead) -> Budgets:
    """What a change on ``head`` is counted from, at its time; without a live session no session is known."""
    begun = [Held(moment.at_s, moment.revision.content, _is_first_fit(moment)) for moment in head.active]
    saved = was_in_nvm(head)
    known = budgets(head.at_s, session=_session(head), active=begun)
    return replace(known, active=levels_of(saved[-1].content) if saved else None)


def was_in_nvm(head: DeviceHead) -> tuple[Held, ...]:
    """What NVM held in the last 7 days: ``head.active`` without first fits that were confirmed in RAM only."""
    held = (m for m in head.active if m.revision.origin != "first_fit" and was_held(m))
    return tuple(Held(m.at_s, m.revision.content) for m in held)


def kept(head: DeviceHead, earlier: Iterable[Revision] = ()) -> Content | None:
    """What NVM is known to hold, as one configuration; None when that is not known.

    A read-back tells of NVM by digest only, so it is known when it is something that this log has seen: what ``head``
    remembers, or one of ``earlier``.
    """
    if head.revision is None:
        return None
    seen = [head.revision, *(moment.revision for moment in head.active), *earlier]
    if head.live is not None:
        seen += [head.live.base, *(moment.revision for moment in head.live.held)]
    images: dict[Ear, EarImage] = {}
    for ear in ears_of(head.revision.content):
        truth = getattr(head.in_aid, ear)
        digest = truth.nvm if isinstance(truth, EarTruth) else None
        holds = [revision for revision in seen if digest is not None and digest_of(revision.digests, ear) == digest]
        if not holds:
            return None
        images[ear] = ear_image(holds[0].content, ear)
    try:
        return content_from_images(images)
    except BadArgument:
        return None


def budgets_of_saving(head: DeviceHead, *, is_known: bool) -> Budgets:
    """What is counted from when RAM is to be kept: as for any change, if what it replaces is known.

    Else only a first fit that came about meanwhile says what may be kept, for everything is counted from there.
    """
    begun_at_s = head.at_s if head.live is None else head.live.at_s
    is_fitted = any(_is_first_fit(moment) and moment.at_s >= begun_at_s for moment in head.active)
    return budgets_of(head) if is_known or is_fitted else NOTHING_KNOWN


def _session(head: DeviceHead) -> list[Held]:
    """What RAM held since the session began: what was accepted, what was read back, and first fits that came about."""
    live = head.live
    if live is None:
        return []
    held = [Held(moment.at_s, moment.revision.content) for moment in live.held]
    if head.revision is not None:
        # What was read back in between is in no moment.
        held.append(Held(head.revision.at_s, head.revision.content))
    fits = [m for m in head.active if _is_first_fit(m) and m.at_s >= live.at_s]
    held += [Held(fit.at_s, fit.revision.content, begins=True) for fit in fits]
    # A sort that is stable: of two at the same time the fit, which is the later news, comes last.
    return sorted(held, key=attrgetter("at_s"))


def _is_first_fit(moment: Moment) -> bool:
    return moment.revision.origin == "first_fit"
