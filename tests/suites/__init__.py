"""Public protocol suites, run against our own servers from folders that the user has."""
