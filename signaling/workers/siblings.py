"""The other workers of this server: whether they all are there, and what all of them count, on one page.

A worker that does not answer in time is missing from the page, and it says so; nothing waits for it. Read
``Siblings.page`` first.
"""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from signaling.metrics import Metrics
from signaling.pods.internal_client import InternalClient, PodSilent, PodUnreached

from .charge import ChildNews
from .pages import bounds_page, joined, supervised
from .worker import Worker

__all__ = ["Siblings"]


class Siblings:
    """``timeout_s``: how long another worker may take for its metrics."""

    def __init__(self, worker: Worker, client: InternalClient, metrics: Metrics, *, timeout_s: float) -> None:
        self._worker = worker
        self._client = client
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._asking: asyncio.Task[bytes] | None = None

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """Hear from the supervisor while the app runs."""
        self._worker.listen()
        yield
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def away(self) -> list[str]:
        """``workers`` while one of them does not work."""
        news = self._worker.news
        return ["workers"] if news is not None and any(one.state != "up" for one in news.workers) else []

    async def page(self) -> bytes:
        """The metrics of all workers that answer in time; who asks while others are being asked gets the same page."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._asked())
        # One that asked and has gone must not take the page from the others.
        return await asyncio.shield(self._asking)

    async def _asked(self) -> bytes:
        news = self._worker.news
        others = () if news is None else tuple(one for one in news.workers if one.worker != self._worker.number)
        pages: dict[int, bytes] = {}
        async with asyncio.TaskGroup() as group:
            for one in others:
                group.create_task(self._ask(one, pages))
        # Last, so that it says who did not answer.
        pages[self._worker.number] = self._metrics.page()
        found = {str(number): pages[number] for number in sorted(pages)}
        if news is None:
            return joined(found)
        return joined(found | {"supervisor": bounds_page(news)}) + supervised(news, pages)

    async def _ask(self, one: ChildNews, pages: dict[int, bytes]) -> None:
        if not one.internal:
            return
        try:
            pages[one.worker] = await self._client.fetch(one.internal, "/metrics", timeout_s=self._timeout_s)
        except PodSilent:
            self._metrics.reached("worker_metrics_s")
        except PodUnreached:
            # It has ended, and is about to be started again: the page shows it missing.
            return
