"""The directories of pods keep the contract, in memory and over Redis."""

from collections.abc import AsyncIterator, Iterator

import pytest

from signaling.pods.directory import MemoryDirectory, PodBoard, PodDirectory
from tests.bus_tables import TablePods, table_pods
from tests.contracts.pod_directory import NewPod, PodDirectoryContract
from tests.redis_server import PROGRAMS, redis_server


class TestMemoryDirectory(PodDirectoryContract):
    """Within one process."""

    @pytest.fixture
    def pod(self) -> NewPod:
        board = PodBoard()
        return lambda name: MemoryDirectory(name, board)


class TestRedisDirectory(PodDirectoryContract):
    """Over Valkey, and Redis when there is one."""

    @pytest.fixture(params=PROGRAMS)
    def url(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with redis_server(program=request.param) as server:
            yield server.url

    @pytest.fixture
    async def pods(self, url: str) -> AsyncIterator[TablePods]:
        async with table_pods(url) as pods:
            yield pods

    @pytest.fixture
    async def pod(self, pods: TablePods) -> AsyncIterator[NewPod]:
        joined = {name: await pods.join(pod_beat_s=0.05, pod_gone_s=60) for name in ("one", "two")}
        made: list[PodDirectory] = []

        def pod(name: str) -> PodDirectory:
            made.append(joined[name].directory(name))
            return made[-1]

        yield pod
        for one in made:
            await one.close()
