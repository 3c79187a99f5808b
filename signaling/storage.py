"""What must survive a restart, and where it is kept: in this process, in one SQLite file, or in PostgreSQL.

``app`` chooses; whatever is chosen is opened before anything else starts and closed after everything else has ended.
Each brings its own imports along, so that a server loads only the database that it uses. Read ``Storage`` first.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from fitting.log import DeviceLog
from fitting.log_memory import MemoryDeviceLog
from fitting.log_over_store import StoredDeviceLog
from fitting.outbox import Outbox

from .config import MEMORY, Config
from .metrics import Metrics
from .stores.audiograms import AudiogramStore, MemoryAudiogramStore
from .stores.call_records import CallRecords, MemoryCallRecords
from .stores.chat import ChatStore, MemoryChatStore
from .stores.devices import DeviceStore, MemoryDeviceStore
from .stores.people import People, memory_people, sql_people
from .stores.push_tokens import MemoryPushTokens, PushTokens
from .stores.rest_answers import MemoryRestAnswers, RestAnswers
from .stores.visits import MemoryVisitStore, VisitStore

if TYPE_CHECKING:
    from fitting.log_sql.port import LogDatabase

    from .stores.audiograms_sql import AudiogramTable
    from .stores.devices_sql import DeviceTable
    from .stores.sql import Rows

__all__ = ["MemoryStorage", "Storage", "StorageContext", "new_id", "storage_of"]

# What is on file may change in another process, and one that is missing is always looked for.
DEVICE_STALE_S: Final = 2.0
# So long may another process judge by the audiogram before; the one that takes a new one judges by it at once.
AUDIOGRAM_STALE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class StorageContext:
    """What every storage is made with: ``clock`` gives Unix seconds, ``monotonic`` seconds that only rise.

    Processes that share one SQLite file have one ``clock``.

    ``troubled`` is told what has kept a look at all devices from one of them.
    """

    config: Config
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    metrics: Metrics
    troubled: Callable[[str, Exception], None]


class Storage(Protocol):
    """The stores of one process over one place."""

    @property
    def log(self) -> DeviceLog:
        """The device log."""
        ...

    @property
    def devices(self) -> DeviceStore:
        """The registered devices."""
        ...

    @property
    def people(self) -> People:
        """Patients, who may fit what, consents, and the phones that are bound."""
        ...

    @property
    def audiograms(self) -> AudiogramStore:
        """The audiograms of those who wear the devices."""
        ...

    @property
    def answers(self) -> RestAnswers:
        """What was answered over REST."""
        ...

    @property
    def outbox(self) -> Outbox:
        """What is to be done at its time."""
        ...

    @property
    def push_tokens(self) -> PushTokens:
        """How phones can be woken."""
        ...

    @property
    def visits(self) -> VisitStore:
        """The visits."""
        ...

    @property
    def chat(self) -> ChatStore:
        """What is written in them."""
        ...

    @property
    def calls(self) -> CallRecords:
        """What is kept of calls that are over."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether nothing can be written just now."""
        ...

    async def open(self) -> None:
        """Be ready. Raises ConfigError when what is there cannot be worked on, Unavailable when nothing is."""
        ...

    async def close(self) -> None:
        """Write down what was only told, and let go."""
        ...


class MemoryStorage:
    """Everything in this process; a restart forgets it."""

    is_away = False

    def __init__(self, context: StorageContext) -> None:
        log = MemoryDeviceLog(
            clock=context.clock,
            monotonic=context.monotonic,
            new_id=new_id,
            limits=context.config.log_limits,
        )
        self.log: DeviceLog = log
        self.outbox: Outbox = log.outbox
        self.push_tokens: PushTokens = MemoryPushTokens(
            max_devices=context.config.max_devices, reached=context.metrics.reached
        )
        self.devices: DeviceStore = MemoryDeviceStore(
            max_devices=context.config.max_devices, reached=context.metrics.reached
        )
        self.people = memory_people(context.config, context.metrics.reached)
        self.audiograms: AudiogramStore = MemoryAudiogramStore(
            max_audiograms=context.config.max_audiograms, reached=context.metrics.reached
        )
        self.answers: RestAnswers = MemoryRestAnswers(
            limit=context.config.max_rest_answers, reached=context.metrics.reached
        )
        self.visits: VisitStore = MemoryVisitStore(
            max_visits=context.config.max_visits,
            max_open=context.config.max_open_visits,
            reached=context.metrics.reached,
        )
        self.chat: ChatStore = MemoryChatStore(
            max_visits=context.config.max_visits,
            max_messages=context.config.max_visit_messages,
            reached=context.metrics.reached,
        )
        self.calls: CallRecords = MemoryCallRecords(
            max_records=context.config.max_call_records, reached=context.metrics.reached
        )

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to write."""


class _Database(Protocol):
    """What the stores of one place share."""

    @property
    def is_away(self) -> bool: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class SqlStorage:
    """Stores over one database. ``prepare`` makes sure of its schema, ``learn`` reads what it says of itself."""

    def __init__(
        self,
        *,
        prepare: Callable[[], Awaitable[None]],
        database: _Database,
        learn: Callable[[], Awaitable[None]],
        log: DeviceLog,
        devices: DeviceStore,
        people: People,
        audiograms: AudiogramStore,
        answers: RestAnswers,
        outbox: Outbox,
        push_tokens: PushTokens,
        visits: VisitStore,
        chat: ChatStore,
        calls: CallRecords,
    ) -> None:
        self.log = log
        self.devices = devices
        self.people = people
        self.audiograms = audiograms
        self.answers = answers
        self.outbox = outbox
        self.push_tokens = push_tokens
        self.visits = visits
        self.chat = chat
        self.calls = calls
        self._prepare = prepare
        self._database = database
        self._learn = learn

    @property
    def is_away(self) -> bool:
        """See ``Storage``."""
        return self._database.is_away

    async def open(self) -> None:
        """See ``Storage``."""
        await self._prepare()
        await self._database.open()
        await self._learn()

    async def close(self) -> None:
        """See ``Storage``."""
        await self.log.close()
        await self._database.close()


def storage_of(context: StorageContext) -> Storage:
    """Where the configuration says."""
    if context.config.database_url == MEMORY:
        return MemoryStorage(context)
    if context.config.database_url:
        return _postgres_storage(context, context.config.database_url)
    return _sqlite_storage(context, context.config.sqlite_file)


def _sqlite_storage(context: StorageContext, path: Path) -> Storage:
    """One file, made or upgraded when it is opened."""
    from fitting.log_sql.outbox_sqlite import SqliteOutbox
    from fitting.log_sql.sqlite import SqliteDatabase
    from fitting.log_sql.sqlite_log import SqliteLog

    from .stores.audiograms_sql import SqliteAudiogramTable
    from .stores.devices_sql import SqliteDeviceTable
    from .stores.push_tokens_sql import SqlitePushTokens
    from .stores.rest_answers_sql import SqliteRestAnswers
    from .stores.sql import SqliteRows

    database = SqliteDatabase(
        path, monotonic=context.monotonic, limits=context.config.sqlite_limits, watch=context.metrics.storage
    )
    tables = SqliteLog(database, clock=context.clock, monotonic=context.monotonic)

    async def prepare() -> None:
        from .schema import prepare_sqlite

        await asyncio.get_running_loop().run_in_executor(None, prepare_sqlite, path)

    return SqlStorage(
        prepare=prepare,
        database=database,
        learn=tables.open,
        log=_log(context, tables),
        devices=_devices(context, SqliteDeviceTable(database)),
        people=sql_people(SqliteRows(database), context.config, context.metrics.reached),
        audiograms=_audiograms(context, SqliteAudiogramTable(database)),
        answers=SqliteRestAnswers(database, limit=context.config.max_rest_answers, reached=context.metrics.reached),
        outbox=SqliteOutbox(database, name=new_id(), now_s=tables.now_s),
        push_tokens=SqlitePushTokens(database),
        visits=_visits(context, SqliteRows(database)),
        chat=_chat(context, SqliteRows(database)),
        calls=_calls(SqliteRows(database)),
    )


def _postgres_storage(context: StorageContext, url: str) -> Storage:
    """A database that has been migrated: several processes may share it, so none of them changes its schema."""
    from fitting.log_sql.outbox_postgres import PostgresOutbox
    from fitting.log_sql.postgres import PostgresDatabase
    from fitting.log_sql.postgres_log import PostgresLog

    from .stores.audiograms_postgres import PostgresAudiogramTable
    from .stores.devices_postgres import PostgresDeviceTable
    from .stores.push_tokens_postgres import PostgresPushTokens
    from .stores.rest_answers_postgres import PostgresRestAnswers
    from .stores.sql_postgres import PostgresRows

    database = PostgresDatabase(
        url, monotonic=context.monotonic, limits=context.config.postgres_limits, watch=context.metrics.storage
    )
    tables = PostgresLog(database)

    async def prepare() -> None:
        from . import schema, schema_postgres

        schema.require_current(await schema_postgres.revision(url))

    return SqlStorage(
        prepare=prepare,
        database=database,
        learn=tables.open,
        log=_log(context, tables),
        devices=_devices(context, PostgresDeviceTable(database)),
        people=sql_people(PostgresRows(database), context.config, context.metrics.reached),
        audiograms=_audiograms(context, PostgresAudiogramTable(database)),
        answers=PostgresRestAnswers(database, limit=context.config.max_rest_answers, reached=context.metrics.reached),
        outbox=PostgresOutbox(database, name=new_id(), now_s=tables.now_s),
        push_tokens=PostgresPushTokens(database),
        visits=_visits(context, PostgresRows(database)),
        chat=_chat(context, PostgresRows(database)),
        calls=_calls(PostgresRows(database)),
    )


def _log(context: StorageContext, tables: "LogDatabase") -> DeviceLog:
    from fitting.log_sql.store import SqlLogStore

    store = SqlLogStore(
        tables,
        name=new_id(),
        monotonic=context.monotonic,
        limits=context.config.log_limits,
        bounds=context.config.store_limits,
        watch=context.metrics.storage,
    )
    return StoredDeviceLog(store, new_id, context.troubled)


def _devices(context: StorageContext, table: "DeviceTable") -> DeviceStore:
    from .stores.devices_sql import SqlDeviceStore

    return SqlDeviceStore(
        table,
        monotonic=context.monotonic,
        max_cached=context.config.max_cached_devices,
        stale_s=DEVICE_STALE_S,
        reached=context.metrics.reached,
    )


def _audiograms(context: StorageContext, table: "AudiogramTable") -> AudiogramStore:
    from .stores.audiograms_sql import SqlAudiogramStore

    return SqlAudiogramStore(
        table,
        monotonic=context.monotonic,
        max_audiograms=context.config.max_audiograms,
        max_cached=context.config.max_cached_devices,
        stale_s=AUDIOGRAM_STALE_S,
        reached=context.metrics.reached,
    )


def _visits(context: StorageContext, rows: "Rows") -> VisitStore:
    from .stores.visits_sql import SqlVisitStore

    return SqlVisitStore(rows, max_open=context.config.max_open_visits, reached=context.metrics.reached)


def _chat(context: StorageContext, rows: "Rows") -> ChatStore:
    from .stores.chat_sql import SqlChatStore

    return SqlChatStore(rows, max_messages=context.config.max_visit_messages, reached=context.metrics.reached)


def _calls(rows: "Rows") -> CallRecords:
    from .stores.call_records_sql import SqlCallRecords

    return SqlCallRecords(rows)


def new_id() -> str:
    """An opaque name that never repeats."""
    return secrets.token_hex(12)
