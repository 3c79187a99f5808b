"""A signature is over the raw target, the date, the host and what is sent; anything else is refused."""

import base64
import hashlib
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from clients.fake_acs.answers import Breach
from clients.fake_acs.signing import Signed, check_signature, signature

NOW_S = 1_800_000_000.0
KEY = base64.b64encode(b"k" * 64).decode()


def request(**changes: Any) -> Signed:
    """One that is signed well, then changed."""
    body = b'{"a":1}'
    headers = {
        "x-ms-date": formatdate(NOW_S, usegmt=True),
        "host": "127.0.0.1:443",
        "x-ms-content-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    made = Signed("POST", "/identities/8%3Aacs%3Ax?api-version=2023-10-01", headers, body)
    signed = f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature(KEY, made)}"
    more = changes.pop("headers", {})
    return replace(made, headers={**headers, "Authorization": signed, **more}, **changes)


def test_what_is_signed_well_passes() -> None:
    check_signature(request(), [KEY], NOW_S)
    check_signature(request(), ["", base64.b64encode(b"x").decode(), KEY], NOW_S)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"},
        {"target": "/identities/8%3Aacs%3Ay?api-version=2023-10-01"},
        {"target": "/identities/8%3Aacs%3Ax?api-version=2022-10-01"},
        {"body": b'{"a":2}'},
        {"headers": {"host": "other:443"}},
        {"headers": {"x-ms-date": formatdate(NOW_S + 1, usegmt=True)}},
        {"headers": {"x-ms-date": "yesterday"}},
        {"headers": {"x-ms-content-sha256": ""}},
        {"headers": {"Authorization": ""}},
        {"headers": {"Authorization": "HMAC-SHA256 SignedHeaders=host&Signature=x"}},
    ],
)
def test_what_was_changed_does_not(changes: dict[str, Any]) -> None:
    with pytest.raises(Breach) as raised:
        check_signature(request(**changes), [KEY], NOW_S)
    assert raised.value.status == 401


@pytest.mark.parametrize("away_s", [-901, 901])
def test_nor_what_is_of_another_time(away_s: float) -> None:
    with pytest.raises(Breach):
        check_signature(request(), [KEY], NOW_S + away_s)
