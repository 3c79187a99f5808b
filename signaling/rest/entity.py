"""Entity tags and what a request demands of them (RFC 9110, 8.8.3 and 13.1). Knows no resource."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Tags", "tag_of_bytes", "tag_of_version", "tags"]

_LIST: Final = re.compile(r'(?:[ \t]*,)*[ \t]*(?:(W/)?("[!#-~]*"))[ \t]*(?=,|\Z)')


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags that a header names; ``is_any``: it says ``*``. What is no list of tags names none."""

    strong: frozenset[str]
    weak: frozenset[str] = frozenset()
    is_any: bool = False

    def match(self, tag: str) -> bool:
        """Strong comparison, for ``If-Match``: a weak tag matches nothing."""
        return self.is_any or tag in self.strong

    def match_weakly(self, tag: str) -> bool:
        """Weak comparison, for ``If-None-Match``."""
        return self.is_any or tag in self.strong or tag in self.weak


def tags(header: str | None) -> Tags | None:
    """What ``If-Match`` or ``If-None-Match`` names, None without the header."""
    if header is None:
        return None
    if header.strip() == "*":
        return Tags(frozenset(), is_any=True)
    strong: set[str] = set()
    weak: set[str] = set()
    at = 0
    while at < len(header):
        found = _LIST.match(header, at)
        if found is None:
            return Tags(frozenset())
        (weak if found[1] else strong).add(found[2])
        at = found.end()
    return Tags(frozenset(strong), frozenset(weak))


def tag_of_version(version: str) -> str:
    """The strong tag of something that counts its versions, or names them."""
    return f'"{version}"'


def tag_of_bytes(body: bytes) -> str:
    """The strong tag of an answer that is only known by what it says."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
