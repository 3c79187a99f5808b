"""The credentials with which a server asks ACS, and tokens that are good no more: what becomes of the visit."""

import importlib.util
import json
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from clients.fake_acs.service import FakeAcs, fake_acs
from protocol.contract.calls import CallAnswer
from protocol.contract.visits import JoinVisitAnswer
from signaling.app import create_app
from signaling.config import Config, ConfigError
from signaling.log import LogBook
from tests.eventually import eventually
from tests.signaling.acs.scene import acs_scene, claims_of
from tests.signaling.acs.test_acs_calls import end
from tests.signaling.acs.test_acs_chat import heard, pat_in_acs, texts
from tests.signaling.acs.test_tending import parts_of
from tests.signaling.visiting import KIM, admitted, guest_of, join, said

GUID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def entra_environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    def given(acs: FakeAcs, **changes: str) -> None:
        names = {
            "AZURE_TENANT_ID": acs.directory.tenant,
            "AZURE_CLIENT_ID": acs.directory.client,
            "AZURE_CLIENT_SECRET": acs.directory.secret,
            "AZURE_AUTHORITY_HOST": acs.url,
            **changes,
        }
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    return given


async def test_a_server_with_credentials_of_entra(entra_environment: Any) -> None:
    acs = FakeAcs(local_auth=False)
    async with fake_acs(acs) as running:
        entra_environment(running)
        options: dict[str, Any] = {"acs_connection_string": "", "acs_endpoint": running.url, "acs_ca": str(running.ca)}
        async with acs_scene(**options) as scene:
            answer = await scene.started()
            assert answer.backend == "acs"
            assert len(running.resource.rooms) == 1
            await said(scene.ann, "with Entra")
            await eventually(lambda: any(texts(one) for one in running.resource.threads.values()))
            assert not scene.acs.asked, "nobody else was asked"
            assert running.breaches == []


async def test_entra_that_gives_nothing(entra_environment: Any) -> None:
    async with fake_acs(FakeAcs(local_auth=False)) as running:
        entra_environment(running, AZURE_CLIENT_SECRET="wrong")
        options: dict[str, Any] = {"acs_connection_string": "", "acs_endpoint": running.url, "acs_ca": str(running.ca)}
        async with acs_scene(**options) as scene:
            assert (await scene.started()).backend == "webrtc"
            await scene.told_of("webrtc", "refused")
            assert "wrong" not in scene.house.log.getvalue()


async def test_when_the_server_s_own_token_is_revoked_the_chat_goes_on() -> None:
    async with acs_scene() as scene, await pat_in_acs(scene) as client:
        [thread] = scene.acs.resource.threads.values()
        scene.acs.resource.identities[thread.created_by].revoked_at_s = time.time()
        await said(scene.ann, "all the same")
        await client.send_message("and back")
        await eventually(lambda: "all the same" in texts(thread) and "and back" in heard(scene))


async def test_when_the_server_s_own_identity_is_gone_there_is_another_thread() -> None:
    async with acs_scene() as scene:
        await eventually(lambda: scene.acs.resource.threads)
        [first] = scene.acs.resource.threads.values()
        del scene.acs.resource.identities[first.created_by]
        await said(scene.ann, "is somebody there")
        others = scene.acs.resource.threads
        await eventually(lambda: any(texts(one) for one in others.values() if one is not first))


async def test_a_guest_leaves_nothing_behind() -> None:
    async with acs_scene(KIM) as scene:
        kim = await guest_of(scene.house, "p4")
        try:
            assert isinstance(await join(kim), JoinVisitAnswer)
            await admitted(scene.ann, "p4")
            call = await scene.started()
            answer = await scene.answer(call.call_id, kim)
            assert isinstance(answer, CallAnswer), answer
            theirs: Any = answer.acs
            assert claims_of(theirs.token)["acsScope"] == "voip.join,chat.join.limited"
            assert theirs.display_name == "Interpreter"
            await end(scene)
            await eventually(lambda: theirs.user_id not in scene.acs.resource.identities)
        finally:
            await kim.stop()


async def test_nothing_is_lost_over_a_restart(tmp_path: Path) -> None:
    """What is open is in the database: another process closes it."""
    file: dict[str, Any] = {"database_url": "", "data": tmp_path}
    async with acs_scene(**file) as scene:
        answer: Any = (await scene.started()).acs
        await eventually(lambda: scene.acs.resource.threads)
        kept = await parts_of(scene).store.visit("v1")
        assert kept.room == answer.room_id
        database = (tmp_path / "auricle.db").read_bytes() + (tmp_path / "auricle.db-wal").read_bytes()
        assert answer.user_id.encode() not in database
        assert answer.token.encode() not in database


def app_of(**changes: Any) -> Any:
    return create_app(Config(dev=True, **changes), signing_key=b"k" * 32, log=LogBook(StringIO()))


def test_a_configuration_that_cannot_work_is_told(tmp_path: Path) -> None:
    address: dict[str, Any] = {
        "acs_connection_string": "endpoint=https://clinic.communication.azure.com/;accesskey=a2V5"
    }
    entra: dict[str, Any] = {
        "acs_event_tenant": GUID,
        "acs_event_audience": GUID,
        "acs_event_topic": "/subscriptions/t",
    }
    path = "/.well-known/openid-configuration"
    for wrong, says in (
        ({"acs_connection_string": "endpoint=https://x"}, "acs_connection_string"),
        ({"acs_endpoint": "http://x"}, "https://name"),
        ({**address, "acs_event_secret": "short", "acs_event_topic": "/subscriptions/t"}, "at least 32"),
        ({**address, "acs_event_secret": "s" * 32}, "acs_event_topic: needs"),
        ({**address, **entra, "acs_event_topic": ""}, "acs_event_topic: needs"),
        ({**address, **entra, "acs_event_topic": "t"}, "the id of a resource"),
        ({**address, **entra, "acs_event_topic": ",".join(["/subscriptions/t"] * 17)}, "at most 16"),
        ({**address, **entra, "acs_event_tenant": "common"}, "one tenant"),
        ({**address, **entra, "acs_event_audience": ""}, "acs_event_audience"),
        ({**address, **entra, "acs_event_tenant": ""}, "acs_event_topic: needs"),
        ({**address, **entra, "acs_event_tenant": "", "acs_event_secret": "s" * 32}, "need acs_event_tenant"),
        ({**address, **entra, "acs_event_publishers": ""}, "acs_event_publishers"),
        ({**address, **entra, "acs_event_publishers": "grid"}, "acs_event_publishers"),
        ({**address, **entra, "acs_event_discovery": f"ftp://x{path}"}, "acs_event_discovery"),
        ({**address, **entra, "acs_event_discovery": "https://x/"}, "acs_event_discovery"),
        ({**address, "acs_clinics": str(tmp_path / "nowhere")}, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=says):
            app_of(**wrong)
    with pytest.raises(ConfigError, match="must be https"):
        replace(Config(dev=True), dev=False, **address, **entra, acs_event_discovery=f"http://x{path}")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"clinics": {"c1": {"video": True}}}))
    with pytest.raises(ConfigError, match="unknown field"):
        app_of(**address, acs_clinics=str(plan))


def test_the_extra_is_asked_for_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    address = {"acs_connection_string": "endpoint=https://clinic.communication.azure.com/;accesskey=a2V5"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"install auricle\[azure\]"):
        app_of(**address)
