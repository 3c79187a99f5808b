"""Whom we believe to be Azure when we connect to it."""

import ssl

__all__ = ["trusting"]


def trusting(ca: str) -> ssl.SSLContext | bool:
    """What aiohttp is told: the known certificates, and that of the file ``ca`` unless it is ""."""
    if not ca:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(ca)
    return context
