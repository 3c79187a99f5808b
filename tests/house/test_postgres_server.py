"""The PostgreSQL that tests run on is a real one: it can be killed, and keeps what it acknowledged."""

import asyncpg

from tests.postgres import postgres_server


async def test_a_killed_server_comes_back_with_what_it_acknowledged() -> None:
    with postgres_server(durable=True) as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept (value integer)")
        await connection.execute("INSERT INTO kept VALUES (7)")
        server.kill()
        connection.terminate()
        server.start()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT value FROM kept") == 7
        await connection.close()
    assert server.folder is not None
    assert not server.folder.exists()
