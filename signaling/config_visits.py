"""The part of the configuration that is about visits and what is written in them."""

from dataclasses import dataclass

from media.chat import ChatTimes
from media.visit import VisitTimes

__all__ = ["VisitConfig"]


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class VisitConfig:
    """Fields of ``Config``.

    ``visit_opens_s``: how long before a visit its waiting room opens. ``visit_no_show_s``: how long after its beginning
    a visit is missed for which nobody has come, and after its end one for which somebody still waits.
    ``visit_live_s``: how long after its end one is ended that nobody has ended.
    ``visit_link_s``: how long the link of somebody without an account may be redeemed. ``visit_guest_s``: how long the
    token that it gives lasts, after the end of the visit or from now.
    ``visit_text``: what calendars show of a visit; never about health.
    ``max_visits``: visits that the memory store holds. ``max_open_visits``: those of one device that are to come or
    live. ``max_due_visits``: visits of one look with which time does something.
    ``max_visit_messages``: messages of one visit. ``max_visit_signals``: messages, signs of typing and groups of
    keystrokes of one connection in 10 seconds. ``chat_push_after_s``: how long a message may stay unread before the
    patient's phone is woken; ``chat_push_every_s``: how often it is at most. ``max_due_chats``: phones of one look.
    ``max_untold_departures``: connections that left a visit while the store was away, and of which it still must hear.
    """

    visit_opens_s: float = 900.0
    visit_no_show_s: float = 1_800.0
    visit_live_s: float = 14_400.0
    visit_link_s: float = 3_600.0
    visit_guest_s: float = 1_800.0
    visit_text: str = "Appointment"
    max_visits: int = 10_000
    max_open_visits: int = 50
    max_due_visits: int = 64
    max_visit_messages: int = 10_000
    max_visit_signals: int = 200
    max_due_chats: int = 64
    chat_push_after_s: float = 5.0
    chat_push_every_s: float = 300.0
    max_untold_departures: int = 1_024

    @property
    def visit_times(self) -> VisitTimes:
        """When the waiting room opens, and what time alone brings about."""
        return VisitTimes(self.visit_opens_s, self.visit_no_show_s, self.visit_live_s)

    @property
    def chat_times(self) -> ChatTimes:
        """When the phone of somebody is woken who is written to."""
        return ChatTimes(push_after_s=self.chat_push_after_s, push_every_s=self.chat_push_every_s)
