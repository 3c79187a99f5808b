"""The closing table: what was wanted, what was sent, what is in each aid, and what is heard of it.

All four come from different places: the prescription and the changes asked for, the log's head, the aid's
own read-back, and a sound meter. It must not know how they were got. Read ``EarRow`` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.contract.base import Ear

__all__ = ["EarRow", "render"]


@dataclass(frozen=True, slots=True)
class EarRow:
    """One ear at 65 dB SPL, a value per band: tenths of a decibel, ``heard_db`` in decibels."""

    ear: Ear
    bands_hz: tuple[int, ...]
    wanted_ddb: tuple[int, ...]
    sent_ddb: tuple[int, ...]
    in_aid_ddb: tuple[int, ...]
    heard_db: tuple[float, ...]
    digest_sent: str
    digest_in_aid: str

    def fields(self) -> dict[str, object]:
        """For programs."""
        return {
            "ear": self.ear,
            "bandsHz": self.bands_hz,
            "wantedDdb": self.wanted_ddb,
            "sentDdb": self.sent_ddb,
            "inAidDdb": self.in_aid_ddb,
            "heardDb": [round(value, 2) for value in self.heard_db],
            "digestSent": self.digest_sent,
            "digestInAid": self.digest_in_aid,
        }


def render(rows: Sequence[EarRow]) -> str:
    """The rows as text, ear by ear."""
    lines = ["gain for 65 dB SPL in dB, per ear and band"]
    for row in rows:
        lines.append(_line(f"{row.ear} ear, Hz", [str(band) for band in row.bands_hz]))
        for name, tenths in (
            ("wanted", row.wanted_ddb),
            ("sent", row.sent_ddb),
            ("in the aid", row.in_aid_ddb),
        ):
            lines.append(_line(name, [f"{value / 10:.1f}" for value in tenths]))
        lines.append(_line("heard", [f"{value:.1f}" for value in row.heard_db]))
        lines.append(f"  digest sent       {row.digest_sent}")
        lines.append(f"  digest in the aid {row.digest_in_aid}")
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"  {name:<14}" + "".join(f"{cell:>7}" for cell in cells)
