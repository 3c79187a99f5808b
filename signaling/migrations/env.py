"""Run by Alembic for every command: on the connection that it was given, or writing a script for PostgreSQL.

Knows all tables of the program, so that a test can compare them with what the steps have made.
"""

from alembic import context

from fitting.log_sql.tables import METADATA as DEVICE_LOG
from signaling.stores.tables import METADATA as STORES

TABLES = [DEVICE_LOG, STORES]

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=TABLES, literal_binds=True)
else:
    # SQLite alters a table by copying it, which Alembic does when it is told to.
    context.configure(connection=context.config.attributes["connection"], target_metadata=TABLES, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
