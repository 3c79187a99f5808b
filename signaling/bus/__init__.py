"""The parts of a backplane over Redis: where it is, what travels, what waits, and when it is left alone.

What talks to a server ends in ``_redis``; everything else is pure. ``signaling.backplane_redis`` puts them together.
"""
