"""The steps of the schema. Each is written once and never changed afterwards."""
