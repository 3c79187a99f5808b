"""A relayed call whose process is killed: those who are on others hear why it has ended."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from loadtest.relayed_call import in_visit, talk
from loadtest.servers import ServerProcess
from protocol.contract.calls import RELAY_PEER
from tests.databases import lent_postgres
from tests.eventually import eventually
from tests.postgres import PostgresServer
from tests.redis_server import redis_server


# Two processes begin, and one of them is believed dead in the end.
@pytest.mark.timeout(240)
async def test_the_call_is_over_soon_after_its_pod_was_killed(postgres: PostgresServer, tmp_path: Path) -> None:
    async with lent_postgres(postgres) as url, AsyncExitStack() as stack:
        key = secrets.token_hex(32)
        settings = {
            "AURICLE_DEV_SIGNING_KEY": key,
            "AURICLE_DATABASE_URL": url,
            "AURICLE_REDIS_URL": stack.enter_context(redis_server()).url,
            "AURICLE_MEDIA_RELAY": "true",
            "AURICLE_POD_BEAT_S": "0.5",
            # On a busy machine the first relayed call alone, for which the media library is loaded, takes some seconds.
            "AURICLE_POD_GONE_S": "10",
            "AURICLE_BUS_FLUSH_S": "5",
            "AURICLE_BUS_TIMEOUT_S": "15",
            "AURICLE_TABLE_ANSWER_S": "5",
        }
        pods = []
        for name in ("east", "west"):
            words = ("-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(tmp_path))
            process = ServerProcess(name, words, tmp_path, environ=settings)
            pods.append(await stack.enter_async_context(process))
        ann, pat = await in_visit(stack, (pods[0].url, pods[1].url), key)
        hers, his = await talk(ann, pat)
        await eventually(lambda: min(one.frames.get(RELAY_PEER, 0) for one in (hers, his)) > 10)
        assert pods[0]._process is not None
        pods[0]._process.kill()
        async with asyncio.timeout(90):
            assert await pat.over == "relay_gone"
