"""A real PostgreSQL: its clock, lost answers, locks that last, servers that die, and what an error may tell."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import asyncpg
import pytest

from fitting.log_chain import verify
from fitting.log_over_store import StoredDeviceLog
from fitting.log_sql.compiled import Statement
from fitting.log_sql.limits import PostgresLimits
from fitting.log_sql.postgres import PostgresDatabase, ServerClock
from fitting.log_sql.postgres_log import PostgresLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import Accepted, LeaseGranted, LogLimits
from protocol.contract.base import Refusal
from protocol.errors import Unavailable, UnknownOutcome
from signaling.schema_postgres import note_restored
from tests.contracts.device_log_bench import DEVICE, LIMITS, Bench, Clock, louder, refused, registered
from tests.contracts.sql_world import Counts
from tests.databases import new_postgres
from tests.postgres import PostgresServer, postgres_server

NUMBERS = count(1)
# Of this test: the server may still be about to end connections of the one before.
OURS = "application_name = 'auricle' AND datname = current_database()"


class LosesAnswers(PostgresDatabase):
    """Writes, and then the connection is lost before anybody hears of it; ``lose`` times."""

    lose = 0

    async def fetch(self, statement: Statement, values: Mapping[str, Any], *, is_write: bool = False) -> Sequence[Any]:
        rows = await super().fetch(statement, values, is_write=is_write)
        if is_write and self.lose:
            self.lose -= 1
            raise UnknownOutcome("lost")
        return rows


@asynccontextmanager
async def log_on(
    url: str,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    limits: LogLimits = LIMITS,
    counts: Counts | None = None,
    bounds: PostgresLimits | None = None,
) -> AsyncIterator[tuple[Bench, LosesAnswers]]:
    """A process with a log on a database, by the database's own clock."""
    database = LosesAnswers(url, monotonic=monotonic, limits=bounds, watch=counts or Counts())
    tables = PostgresLog(database)
    await database.open()
    await tables.open()
    name = f"p{next(NUMBERS)}"
    store = SqlLogStore(tables, name=name, monotonic=monotonic, limits=limits, watch=counts)
    bench = Bench(StoredDeviceLog(store, lambda: f"{name}-{next(NUMBERS)}"), Clock())
    try:
        yield bench, database
    finally:
        await bench.log.close()
        await database.close()


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    return await new_postgres(postgres)


async def until_granted(ask: Callable[[], Awaitable[object]]) -> LeaseGranted:
    """Ask again and again, as those do who wait for a lease."""
    async with asyncio.timeout(30):
        while True:
            outcome = await ask()
            if isinstance(outcome, LeaseGranted):
                return outcome
            assert refused(outcome).code == "lease_held"
            await asyncio.sleep(0.01)  # polling: nobody is told when a lease ends


async def test_leases_go_by_the_databases_clock_whatever_the_processes_think(url: str) -> None:
    # Longer than a machine stands still between two questions.
    limits = LogLimits(lease_ttl_s=2.0)
    async with AsyncExitStack() as stack:
        [(here, _), (there, ahead)] = [
            await stack.enter_async_context(log_on(url, monotonic=monotonic, limits=limits))
            for monotonic in (time.monotonic, lambda: time.monotonic() + 90_000)
        ]
        await here.log.create(DEVICE, registered())
        first = await here.acquire()
        before, between, after = [(await one.head()).at_s for one in (here, there, here)]
        assert before - 0.4 < between < after + 0.4
        # Its idea of the time is a day ahead: the lease looks as if it had ended long ago.
        ahead.clock._ahead_s += 86_400
        held = refused(await there.log.acquire(DEVICE, session="s-2", holder="bob"))
        assert held.code == "lease_held"
        assert isinstance(held.retry_after_ms, int)
        assert 0 < held.retry_after_ms <= 2_000
        second = await until_granted(lambda: there.log.acquire(DEVICE, session="s-2", holder="bob"))
        assert (first.fence, second.fence) == (1, 2)
        # A day behind: the lease that was lost looks as if it were live.
        ahead.clock._ahead_s -= 86_400
        third = await until_granted(lambda: here.log.acquire(DEVICE, session="s-1", holder="ann"))
        assert third.fence == 3
        lost = await there.log.renew(DEVICE, session="s-2", holder="bob", fence=2)
        assert refused(lost).code == "fence_stale"


def test_the_best_answer_tells_the_time_until_it_is_old_or_plainly_wrong() -> None:
    monotonic = Clock(100.0)
    clock = ServerClock(monotonic)
    clock.told(1_000.0, 99.0, 100.0)
    assert clock.now_s() == pytest.approx(1_000.5)
    clock.told(1_000.02, 100.0, 100.02)
    monotonic.now_s = 100.02
    assert clock.now_s() == pytest.approx(1_000.03)
    # Slower, and within what it can be wrong by: nothing new.
    clock.told(1_000.3, 100.1, 100.5)
    assert clock.now_s() == pytest.approx(1_000.03)
    # Another server.
    clock.told(5_000.0, 101.0, 101.1)
    monotonic.now_s = 101.05
    assert clock.now_s() == pytest.approx(5_000.0)


async def test_each_write_is_told_with_its_time_and_no_reading_is(url: str) -> None:
    counts = Counts()
    async with log_on(url, counts=counts) as (bench, _):
        await bench.log.create(DEVICE, registered())
        written = len(counts.batches)
        assert written >= 1
        await bench.log.revisions(DEVICE)
        assert counts.batches == [1] * written


async def test_a_write_whose_answer_was_lost_counts_once_and_says_what_it_said(url: str) -> None:
    async with log_on(url) as (bench, database):
        await bench.log.create(DEVICE, registered())
        database.lose = 1
        assert (await bench.attach()).generation == 1
        database.lose = 1
        granted = await bench.log.acquire(DEVICE, session="s-1", holder="ann")
        assert isinstance(granted, LeaseGranted)
        assert (granted.fence, granted.renewed) == (1, False)
        await bench.acquire()
        database.lose = 1
        assert ((await bench.submit()).seq, (await bench.head()).last_seq) == (1, 1)
        offered = await bench.offer()
        database.lose = 1
        done = await bench.confirm(offered)
        assert (done.ended, done.repeated) == (True, False)
        events = await bench.log.changed_since(DEVICE, 0)
        assert verify(DEVICE, events) is None
        assert [event.state for event in events].count("granted") == 1


async def test_a_connection_that_is_cut_while_it_writes_is_tried_again(url: str) -> None:
    async with log_on(url) as (bench, _):
        await bench.log.create(DEVICE, registered())
        await bench.fitted()
        blocker = await asyncpg.connect(url)
        lock = blocker.transaction()
        await lock.start()
        await blocker.execute("SELECT 1 FROM device_head FOR UPDATE")
        writing = asyncio.ensure_future(bench.submit())
        await cut(url)
        await lock.rollback()
        await blocker.close()
        assert (await writing).seq == 1
        assert (await bench.head()).last_seq == 1


async def cut(url: str) -> None:
    """End the connection that waits for a lock, as soon as there is one."""
    admin = await asyncpg.connect(url)
    waits = "datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        while not await admin.fetch(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waits}"):
            pass
    await admin.close()


async def test_a_row_that_stays_locked_is_told_of_in_time_and_nothing_is_written(url: str) -> None:
    counts = Counts()
    async with log_on(url, counts=counts, bounds=PostgresLimits(timeout_s=3.0)) as (bench, _):
        await bench.log.create(DEVICE, registered())
        await bench.fitted()
        proposal = await bench.proposal()
        blocker = await asyncpg.connect(url)
        async with blocker.transaction():
            await blocker.execute("SELECT 1 FROM device_head FOR UPDATE")
            with pytest.raises(Unavailable) as late:
                await bench.log.append(proposal)
            assert type(late.value) is Unavailable
        await blocker.close()
        assert counts.count(bound="database_timeout_s") == 1
        accepted = await bench.log.append(proposal)
        assert isinstance(accepted, Accepted)
        assert (accepted.seq, accepted.replayed) == (1, False)


async def test_only_so_many_connections_are_taken(url: str) -> None:
    counts = Counts()
    async with log_on(url, counts=counts, bounds=PostgresLimits(max_connections=2)) as (bench, _):
        await bench.log.create(DEVICE, registered())
        heads = await asyncio.gather(*(bench.log.changed_since(DEVICE, 0) for _ in range(20)))
        assert heads == [()] * 20
        assert counts.count(bound="max_database_connections") > 0
        admin = await asyncpg.connect(url)
        ours = await admin.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}")
        await admin.close()
    assert ours <= 2


async def test_a_statement_is_one_round_trip_and_the_connection_goes_back_as_it_is(url: str) -> None:
    async with log_on(url, bounds=PostgresLimits(max_connections=1)) as (bench, _):
        await bench.log.create(DEVICE, registered())
        assert await bench.log.newest([DEVICE])
        beside = await asyncpg.connect(url)
        try:
            asked = f"SELECT query FROM pg_stat_activity WHERE {OURS}"
            (last,) = [row[0] for row in await beside.fetch(asked)]
        finally:
            await beside.close()
        assert "last_n" in last


async def test_whoever_waits_too_long_for_a_connection_does_not_make_the_database_look_away(url: str) -> None:
    counts = Counts()
    # The second has a second to spare until it is served, and the third one until it would be.
    bounds = PostgresLimits(max_connections=1, timeout_s=3.0)
    slow = Statement("SELECT pg_sleep(2)", (), {})
    async with log_on(url, counts=counts, bounds=bounds) as (_, database):
        outcomes = await asyncio.gather(*(database.fetch(slow, {}) for _ in range(3)), return_exceptions=True)
        assert [str(one) for one in outcomes if isinstance(one, Unavailable)] == [
            "the database is too busy, try again",
        ]
        assert not database.is_away
    assert counts.count(bound="database_timeout_s") == 1


async def test_whoever_waits_for_a_connection_has_it_before_those_who_came_later(url: str) -> None:
    served: list[int] = []
    one = Statement("SELECT 1", (), {})
    async with log_on(url, bounds=PostgresLimits(max_connections=1, timeout_s=30.0)) as (_, database):

        async def ask(who: int) -> None:
            await database.fetch(one, {})
            served.append(who)

        async with asyncio.TaskGroup() as asking:
            for who in range(400):
                asking.create_task(ask(who))
                await asyncio.sleep(0)  # one turn of the event loop: in some of them a connection becomes free
    assert served == list(range(400))


async def test_a_connection_whose_statement_was_given_up_is_used_again(url: str) -> None:
    async with log_on(url, bounds=PostgresLimits(max_connections=1)) as (_, database):
        for _ in range(3):
            slow = asyncio.ensure_future(database.fetch(Statement("SELECT pg_sleep(20)", (), {}), {}))
            await until_asleep(url, 1)
            slow.cancel()
            await asyncio.wait({slow})
            assert [row[0] for row in await database.fetch(Statement("SELECT 7", (), {}), {})] == [7]


async def until_asleep(url: str, count: int) -> None:
    """So many statements sleep in the database."""
    beside = await asyncpg.connect(url)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    async with asyncio.timeout(30):
        while await beside.fetchval(asleep) < count:
            pass
    await beside.close()


async def test_what_is_asked_when_it_closes_is_answered_and_nothing_after(url: str) -> None:
    async with log_on(url, bounds=PostgresLimits(max_connections=2)) as (_, database):
        await database.fetch(Statement("SELECT 1", (), {}), {})
        asking = [asyncio.ensure_future(database.fetch(Statement("SELECT pg_sleep(3)", (), {}), {})) for _ in "ab"]
        await until_asleep(url, 2)
        await database.close()
        assert all(task.done() and len(task.result()) == 1 for task in asking)
        with pytest.raises(Unavailable, match="closed"):
            await database.fetch(Statement("SELECT 1", (), {}), {})
        await database.close()


async def test_a_server_that_is_killed_again_and_again_loses_nothing_that_was_acknowledged() -> None:
    with postgres_server(durable=True) as server:
        url = await new_postgres(server)
        limits = LogLimits(max_moments=10_000, lease_ttl_s=600.0)
        counts = Counts()
        async with log_on(url, limits=limits, counts=counts) as (bench, database):
            await bench.log.create(DEVICE, registered())
            await bench.fitted()
            acknowledged: list[Accepted] = []
            for kill in range(2):
                for _ in range(5):
                    acknowledged.append(await bench.submit(louder((await bench.newest()).content)))
                proposal = await bench.proposal()
                server.kill()
                # What is left of the server may still write for a moment, and then that counts.
                asking = asyncio.ensure_future(until_accepted(bench, proposal))
                await asyncio.to_thread(server.start)
                acknowledged.append(await asking)
                assert [one.seq for one in acknowledged] == list(range(1, 6 * (kill + 1) + 1))
            for accepted in acknowledged:
                found = await bench.log.revision(DEVICE, accepted.revision_id)
                assert found is not None
            assert verify(DEVICE, await bench.log.changed_since(DEVICE, 0, limit=1_000)) is None
            assert not database.is_away
            assert counts.failures


async def until_accepted(bench: Bench, proposal: Any) -> Accepted:
    """The same key again and again, as a fitter does who does not know."""
    async with asyncio.timeout(45):
        while True:
            try:
                outcome = await bench.log.append(proposal)
            except Unavailable:
                await asyncio.sleep(0.02)  # polling: nobody is told when the server is back
                continue
            assert isinstance(outcome, Accepted), outcome
            return outcome


async def test_after_a_restore_phones_are_told_that_history_may_be_lost(url: str) -> None:
    async with log_on(url) as (bench, _):
        await bench.log.create(DEVICE, registered())
        await bench.fitted()
        await bench.apply()
        epoch = (await bench.head()).epoch
    await note_restored(url)
    async with log_on(url) as (bench, _):
        assert (await bench.head()).epoch != epoch
        assert (await bench.attach(epoch=epoch, last_terminal=1)).resume == "reset"
        assert (await bench.attach(epoch=(await bench.head()).epoch, last_terminal=1)).resume == "ok"


async def test_a_server_of_another_past_makes_a_process_forget_what_it_kept(url: str) -> None:
    async with log_on(url) as (bench, database):
        await bench.log.create(DEVICE, registered())
        await bench.fitted()
        epoch = (await bench.head()).epoch
        await note_restored(url)
        await cut_all(url)
        await bench.acquire()
        assert (await bench.head()).epoch != epoch
        assert (await bench.attach(epoch=epoch)).resume == "reset"
        assert not database.is_away


async def cut_all(url: str) -> None:
    """End every connection of ours, as a server does that goes."""
    admin = await asyncpg.connect(url)
    while await admin.fetch(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"):
        pass
    await admin.close()


async def test_a_role_that_may_not_ask_the_server_who_it_is_can_still_use_it(url: str) -> None:
    admin = await asyncpg.connect(url)
    role = f"plain_{next(NUMBERS)}"
    for function in ("pg_control_system", "pg_control_checkpoint"):
        await admin.execute(f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC")
    await admin.execute(f"CREATE ROLE {role} LOGIN")
    await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    await admin.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
    await admin.close()
    async with log_on(f"{url}&user={role}" if "?" in url else f"{url}?user={role}") as (bench, _):
        await bench.log.create(DEVICE, registered())
        assert len((await bench.head()).epoch) == 24


async def test_an_error_tells_no_statement_and_no_value(url: str) -> None:
    counts = Counts()
    async with log_on(url, counts=counts) as (bench, _):
        await bench.log.create(DEVICE, registered())
        admin = await asyncpg.connect(url)
        await admin.execute("ALTER TABLE device_head RENAME TO gone")
        with pytest.raises(Unavailable) as failed:
            await bench.log.create("d-secret", registered())
        await admin.execute("ALTER TABLE gone RENAME TO device_head")
        await admin.close()
        told = f"{failed.value!r} {failed.value.__cause__!r} {failed.value.__suppress_context__}"
        assert "secret" not in told
        assert "device_head" not in told
        assert failed.value.__suppress_context__
        assert counts.failures == ["42P01"]
        assert not isinstance(await bench.log.head(DEVICE), Refusal)
