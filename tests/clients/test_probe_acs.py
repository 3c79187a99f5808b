"""The probe tries credentials of ACS when it is given some, and leaves nothing behind there."""

from dataclasses import replace
from typing import Any

import pytest

from clients.fake_acs.service import FakeAcs, fake_acs
from clients.probe.arguments import BadInput, parse
from clients.probe.probing import probed
from clients.probe.verdicts import Finding
from tests.signaling.acs.scene import acs_config
from tests.signaling.acs.test_event_tokens import entra_config
from tests.signaling.conftest import House, running_house

URL = "http://127.0.0.1:9"
ONLY = ("acs-identities", "acs-chat", "acs-rooms")


async def found(environ: dict[str, str]) -> list[Finding]:
    target = parse([URL], environ).target
    return [one async for one in probed(target, ONLY)]


def environ_of(acs: FakeAcs, **changes: str) -> dict[str, str]:
    return {
        "AURICLE_ACS_CONNECTION_STRING": acs.connection_string,
        "AURICLE_ACS_CA": str(acs.ca),
        **changes,
    }


async def test_without_credentials_nothing_is_asked() -> None:
    assert [(one.outcome, one.what) for one in await found({})] == [
        ("skip", "no credentials of ACS were given"),
        *[("skip", "no credentials of ACS were given")] * 2,
    ]


async def test_good_ones_are_tried_and_cleaned_up_after() -> None:
    async with fake_acs() as acs:
        findings = await found(environ_of(acs))
        assert [one.outcome for one in findings] == ["ok"] * 3, findings
        assert "an access key" in findings[0].what
        assert not acs.resource.identities
        assert not acs.resource.rooms
        assert all(thread.deleted for thread in acs.resource.threads.values())


async def test_entra_s_are_tried_as_the_environment_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_acs() as acs:
        acs.local_auth = False
        for name, value in {
            "AZURE_TENANT_ID": acs.directory.tenant,
            "AZURE_CLIENT_ID": acs.directory.client,
            "AZURE_CLIENT_SECRET": acs.directory.secret,
            "AZURE_AUTHORITY_HOST": acs.url,
        }.items():
            monkeypatch.setenv(name, value)
        only: dict[str, Any] = {"AURICLE_ACS_ENDPOINT": acs.url, "AURICLE_ACS_CA": str(acs.ca)}
        findings = await found(only)
        assert [one.outcome for one in findings] == ["ok"] * 3, findings
        assert "Entra" in findings[0].what


async def test_a_key_that_is_none_is_one_failure() -> None:
    async with fake_acs() as acs:
        wrong = acs.connection_string.replace("accesskey=", "accesskey=AAAA")
        findings = await found(environ_of(acs, AURICLE_ACS_CONNECTION_STRING=wrong))
        assert [(one.outcome, one.what) for one in findings] == [
            ("fail", "answered with 401"),
            ("skip", "needs acs-identities"),
            ("skip", "needs acs-identities"),
        ]


async def test_nobody_there() -> None:
    async with fake_acs() as acs:
        environ = environ_of(acs)
    target = replace(parse([URL], environ).target, acs_ca="")
    findings = [one async for one in probed(target, ONLY)]
    assert (findings[0].outcome, findings[0].what) == ("fail", "not reached: ServiceRequestError")


def test_what_is_no_connection_string_is_not_quoted() -> None:
    with pytest.raises(BadInput) as raised:
        parse([URL], {"AURICLE_ACS_CONNECTION_STRING": "endpoint=http://x;accesskey=SECRET"})
    assert "SECRET" not in str(raised.value)


async def events_of(house: House | None, environ: dict[str, str]) -> Finding:
    url = URL if house is None else house.url
    [finding] = [one async for one in probed(parse([url], environ).target, ("acs-events",))]
    return finding


async def test_whether_event_grid_alone_is_listened_to() -> None:
    async with fake_acs() as acs:
        tenant = {"AURICLE_ACS_EVENT_TENANT": acs.directory.tenant, "AURICLE_ACS_EVENT_DISCOVERY": acs.discovery}
        trust = {"AURICLE_ACS_CA": str(acs.ca)}
        async with running_house(acs_config(acs), None) as house:
            finding = await events_of(house, {})
            assert (finding.outcome, "not listened to" in finding.what) == ("skip", True)
        async with running_house(acs_config(acs, **entra_config(acs)), None) as house:
            assert (await events_of(house, {})).outcome == "ok"
            finding = await events_of(house, tenant | trust)
            assert (finding.outcome, finding.what[-17:]) == ("ok", "tenant has 1 keys")
            wrong = {**tenant, **trust, "AURICLE_ACS_EVENT_ISSUERS": "https://sts.windows.net/x/"}
            finding = await events_of(house, wrong)
            assert (finding.outcome, "another issuer" in finding.what) == ("fail", True)
            finding = await events_of(house, tenant)
            assert (finding.outcome, "Certificate" in finding.what) == ("fail", True), finding
