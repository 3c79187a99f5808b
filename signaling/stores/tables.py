"""The tables of what the server keeps beside the device log. Columns are what is searched; the rest is packed."""

from typing import Final

from sqlalchemy import Column, LargeBinary, MetaData, Table, Text

from fitting.log_sql.tables import NAMING

__all__ = ["METADATA", "registered_device"]

METADATA: Final = MetaData(naming_convention=NAMING)

registered_device = Table(
    "registered_device",
    METADATA,
    Column("device", Text, primary_key=True),
    Column("clinic", Text, nullable=False),
    Column("patient", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
)
