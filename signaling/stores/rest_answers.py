"""Answers that were given over REST, by the key that the caller chose, so that nothing is made twice.

``RestAnswers`` is the port. A key belongs to one user of one clinic and stands for one request. It is claimed before
the request is carried out, so that of two at once only one is; a claim whose server died may be taken over after a
while. Knows neither HTTP nor what was asked. Read ``RestAnswers.claim`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Protocol

__all__ = ["CLAIM_S", "KEEP_S", "AnswerKey", "KeptAnswer", "MemoryRestAnswers", "RestAnswers"]

KEEP_S: Final = 86_400.0
# Longer than any request may take.
CLAIM_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """Whose key it is, and the key as the caller wrote it."""

    clinic: str
    author: str
    key: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a key stands for already; ``answer`` is None while the first request is being carried out."""

    request_hash: str
    answer: bytes | None


class RestAnswers(Protocol):
    """Answers by key, kept for ``KEEP_S``. ``now_s`` is Unix seconds. Every call is atomic, and raises Unavailable.

    Of one caller a bounded number is kept, the oldest is forgotten first.
    """

    async def claim(self, key: AnswerKey, request_hash: str, now_s: float) -> KeptAnswer | None:
        """Take a key for a request; None when it is the caller's now, otherwise what it stands for already.

        A key without an answer whose claim is older than ``CLAIM_S``, or any key older than ``KEEP_S``, is taken over.
        """
        ...

    async def keep(self, key: AnswerKey, request_hash: str, answer: bytes) -> None:
        """Keep the answer of a claimed key; nothing happens when the claim is no longer there."""
        ...

    async def drop(self, key: AnswerKey, request_hash: str) -> None:
        """Give a claimed key free: nothing came of its request. One that has an answer stays."""
        ...


@dataclass(slots=True)
class _Row:
    request_hash: str
    at_s: float
    answer: bytes | None = None


class MemoryRestAnswers:
    """Answers of one process; ``limit`` of each caller, ``reached`` is told when one more is forgotten."""

    def __init__(self, *, limit: int, reached: Callable[[str], None]) -> None:
        self._limit = limit
        self._reached = reached
        self._rows: dict[AnswerKey, _Row] = {}

    async def claim(self, key: AnswerKey, request_hash: str, now_s: float) -> KeptAnswer | None:
        """See ``RestAnswers``."""
        row = self._rows.get(key)
        if row is not None:
            age_s = now_s - row.at_s
            if age_s < (CLAIM_S if row.answer is None else KEEP_S):
                return KeptAnswer(row.request_hash, row.answer)
            del self._rows[key]
        self._rows[key] = _Row(request_hash, now_s)
        self._forget(key, now_s)
        return None

    async def keep(self, key: AnswerKey, request_hash: str, answer: bytes) -> None:
        """See ``RestAnswers``."""
        row = self._rows.get(key)
        if row is not None and row.request_hash == request_hash and row.answer is None:
            row.answer = answer

    async def drop(self, key: AnswerKey, request_hash: str) -> None:
        """See ``RestAnswers``."""
        row = self._rows.get(key)
        if row is not None and row.request_hash == request_hash and row.answer is None:
            del self._rows[key]

    def _forget(self, key: AnswerKey, now_s: float) -> None:
        """What is too old, and the oldest of the caller beyond the bound: rows are in the order of their claims."""
        for late in list(takewhile(lambda one: now_s - self._rows[one].at_s >= KEEP_S, self._rows)):
            del self._rows[late]
        own = [one for one in self._rows if (one.clinic, one.author) == (key.clinic, key.author)]
        for oldest in own[: max(0, len(own) - self._limit)]:
            del self._rows[oldest]
            self._reached("max_rest_answers")
