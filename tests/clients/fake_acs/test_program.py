"""The stand-in as a process: ``auricle fake-acs``, and its switches."""

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp

from clients.fake_acs.__main__ import main


async def test_it_says_where_it_is_and_can_be_troubled(tmp_path: Path) -> None:
    command = ("-m", "signaling", "fake-acs", "--folder", str(tmp_path), "--throttle", "rooms=1/30")
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        assert ready["connectionString"].startswith(f"endpoint={ready['url']}/;accesskey=")
        context = ssl.create_default_context(cafile=ready["ca"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:

            async def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                async with http.request(method, ready["url"] + path, json=body) as answer:
                    return answer.status, await answer.json() if answer.content_length else None

            assert (await ask("GET", "/identities?api-version=2023-10-01"))[0] == 401
            assert (await ask("GET", "/identities"))[0] == 400
            assert (await ask("GET", "/other"))[0] == 404
            assert await ask("POST", "/fake/faults", {"kind": "status", "status": 500}) == (204, None)
            assert (await ask("GET", "/rooms?api-version=2025-03-13"))[0] == 500
            assert await ask("DELETE", "/fake/faults") == (204, None)
            assert (await ask("POST", "/fake/faults", {"kinds": 1}))[0] == 400
            assert await ask("POST", "/fake/throttle", {"limits": ["token=1/1"]}) == (204, None)
            assert (await ask("POST", "/fake/throttle", {"limits": ["sms=1/1"]}))[0] == 400
            assert len((await ask("POST", "/fake/keys"))[1]["key"]) == 88
            assert await ask("POST", "/fake/local-auth", {"on": False}) == (204, None)
            tenant = ready["discovery"].removeprefix(ready["url"])
            status, document = await ask("GET", tenant)
            assert (status, document["issuer"] + "/.well-known/openid-configuration") == (200, ready["discovery"])
            keys_at = document["jwks_uri"].removeprefix(ready["url"])
            before = (await ask("GET", keys_at))[1]["keys"]
            assert await ask("POST", "/fake/signing-keys") == (204, None)
            after = (await ask("GET", keys_at))[1]["keys"]
            assert (len(before), len(after), after[0]) == (1, 2, before[0])
            assert await ask("POST", "/fake/faults", {"kind": "garbage", "area": "entra"}) == (204, None)
            assert await ask("DELETE", "/fake/faults") == (204, None)
            subscription = {"url": "http://127.0.0.1:9/", "audience": ready["audience"], "version": 2}
            assert await ask("POST", "/fake/events", subscription) == (200, {"validated": False})
            status, seen = await ask("GET", "/fake")
            assert (status, seen["identities"], seen["throttled"]) == (200, 0, 0)
            assert (await ask("GET", "/fake/other"))[0] == 404
    finally:
        process.terminate()
        assert await process.wait() == 0


def test_what_cannot_be_throttled_is_refused(capsys: Any) -> None:
    assert main(["--throttle", "sms=1/1"]) == 2
    assert main(["--throttle", "token=0/1"]) == 2
    assert "like token=100/10" in capsys.readouterr().err
