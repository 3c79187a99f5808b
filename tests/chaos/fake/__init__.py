"""A small faithful system in one process, with bugs to seed: what the checker is proved with, never the product."""
