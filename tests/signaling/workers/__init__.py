"""Several processes of one server on one machine."""
