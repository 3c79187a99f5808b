"""Consents: what was taken back refuses what it is about, and nothing else does."""

import pytest

from fitting.consents import SCOPES, consent_refusal
from protocol.contract.sessions import ConsentScope


@pytest.mark.parametrize("scope", SCOPES)
def test_only_a_scope_that_was_taken_back_is_refused(scope: ConsentScope) -> None:
    assert consent_refusal({}, scope) is None
    assert consent_refusal({scope: True}, scope) is None
    refusal = consent_refusal({scope: False}, scope)
    assert refusal is not None
    assert (refusal.code, refusal.retryable) == ("consent_withdrawn", False)
    others = {other: False for other in SCOPES if other != scope}
    assert consent_refusal(others, scope) is None


def test_a_refusal_says_in_words_what_may_not_be_done() -> None:
    said = {refusal.message for scope in SCOPES if (refusal := consent_refusal({scope: False}, scope)) is not None}
    assert len(said) == len(SCOPES)
    assert "the patient has withdrawn the consent to packages" in said
