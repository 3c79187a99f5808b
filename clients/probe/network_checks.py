"""Below HTTP: the name, the addresses behind it, and the certificate. Read ``tls`` for what counts as nearly over."""

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from typing import Final

from clients.probe.target import Target
from clients.probe.verdicts import Trouble, Verdict, ok, skip, warn
from clients.probe.web import in_plain_words

__all__ = ["dns", "tcp", "tls"]

# Renewal by machine comes at a third of 90 days or earlier; whoever is later than this has a renewal that fails.
_SOON_DAYS: Final = 14
_DAY_S: Final = 86_400
_MAX_ADDRESSES: Final = 8


async def dns(target: Target) -> Verdict:
    """Whether the name leads anywhere."""
    if target.is_literal:
        return skip("the host is an address, not a name")
    found = await _addresses(target)
    kinds = [f"{_count(found, family)} {name}" for family, name in _FAMILIES if _count(found, family)]
    return ok(f"{len(found)} address{'es' * (len(found) > 1)}: {', '.join(kinds)}")


_FAMILIES: Final = ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6"))


def _count(found: list[tuple[socket.AddressFamily, str]], family: socket.AddressFamily) -> int:
    return sum(one == family for one, _ in found)


async def _addresses(target: Target) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Trouble("the name leads to no address") from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


async def tcp(target: Target) -> Verdict:
    """Whether every address behind the name takes a connection: clients do not choose which one they get."""
    found = (await _addresses(target))[:_MAX_ADDRESSES]
    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(_takes(address, target.port)) for _, address in found]
    failed = [tried.result() for tried in tries if tried.result()]
    if len(failed) == len(found):
        raise Trouble(f"port {target.port}: {failed[0]}")
    if failed:
        return warn(f"{len(failed)} of {len(found)} addresses take no connection: {failed[0]}")
    return ok(f"port {target.port}, {len(found)} address{'es' * (len(found) > 1)}")


async def _takes(address: str, port: int) -> str:
    """Empty when it takes a connection, else why not."""
    try:
        async with in_plain_words():
            _, writer = await asyncio.open_connection(address, port)
    except Trouble as trouble:
        return str(trouble)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


async def tls(target: Target) -> Verdict:
    """Whether the certificate is good for that name, and for how long it will be."""
    if target.tls is None:
        if target.is_loopback:
            return skip("not encrypted, and nothing leaves this machine")
        return warn("not encrypted: tokens and hearing data can be read on the way")
    async with in_plain_words():
        _, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls, server_hostname=target.host)
    try:
        found = writer.get_extra_info("ssl_object")
        version, certificate = found.version(), found.getpeercert()
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    left_days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // _DAY_S)
    what = f"{version}, the certificate is good for {left_days} days more"
    return ok(what) if left_days >= _SOON_DAYS else warn(f"{what}: it has to be renewed")
