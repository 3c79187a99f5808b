"""JSON Schema as everybody reads it: the library writes Python's regular expressions, others know ECMA-262."""

from typing import Any, TypeVar

__all__ = ["plain_schema"]

T = TypeVar("T")


def plain_schema(value: T) -> T:
    r"""The same document with ``$`` for Python's ``\Z`` in each pattern, which is the end of a text elsewhere."""
    written: T = _plain(value)
    return written


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.replace(r"\Z", "$") if key == "pattern" and isinstance(item, str) else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
