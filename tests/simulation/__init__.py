"""Whole sessions in one process under a virtual clock: what the seed draws can be replayed to the last event.

The decision code is the product's own; only sockets, disks, sleep and chance are replaced. ``python -m
tests.simulation --help`` is the command; ``docs/testing.md`` explains it. Read ``run.simulate`` first.
"""
