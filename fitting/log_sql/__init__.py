"""The device log in SQL, in SQLite or PostgreSQL: one schema, one store, two databases under it.

``store.py`` runs the steps, ``record.py`` turns rows into columns and back, ``sqlite_log.py`` and ``postgres_log.py``
write them. Nothing here decides anything about devices.
"""
