"""A time as people at a place write it down, in UTC: what zones are and when clocks are set is in the tz database."""

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from protocol.contract.base import Refusal

__all__ = ["unix_seconds"]


def unix_seconds(local: str, zone: str, fold: int) -> float | Refusal:
    """``2026-03-29T09:30`` in an IANA zone as Unix seconds.

    ``fold`` 1 means the second of an hour that comes twice. Refused: a zone that is none, a day that is none, and an
    hour that clocks leave out.
    """
    if zone not in _zones():
        return Refusal(code="unknown_zone", message="zone: is none of the IANA database")
    try:
        naive = datetime.fromisoformat(local)
    except ValueError:
        return Refusal(code="no_such_time", message="startsLocal: there is no such day")
    at = naive.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
    if at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != naive:
        return Refusal(code="no_such_time", message="startsLocal: clocks leave out this hour there")
    return at.timestamp()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
