"""One page of metrics out of those of several workers: each number says of which one it is.

Numbers are not added up: the sum of a counter falls when a worker is started again or does not answer, and then whoever
reads it counts what it has counted before. This module must not know what is counted. Read ``joined`` first.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from .charge import News

__all__ = ["bounds_page", "joined", "supervised"]

_HEAD: Final = re.compile(r"# (HELP|TYPE) (\S+) ")
_SAMPLE: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


def joined(pages: Mapping[str, bytes]) -> bytes:
    """The pages in Prometheus' text format by the values of their label ``worker``; none of them has it yet.

    Text in, text out: a page has hundreds of lines, and whoever asks for it holds up everything else of this process.
    """
    heads: dict[str, dict[str, str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, page in pages.items():
        family = ""
        for line in page.decode().splitlines():
            if head := _HEAD.match(line):
                kind, family = head.groups()
                heads.setdefault(family, {}).setdefault(kind, line)
            elif (name := _SAMPLE.match(line)) and family:
                samples.setdefault(family, []).append(_labelled(line, name.end(), worker))
    lines = (line for family, head in heads.items() if family in samples for line in (*head.values(), *samples[family]))
    return "".join(f"{line}\n" for line in lines).encode()


def supervised(news: News, answered: Collection[int]) -> bytes:
    """What the supervisor has told, and which workers are on the page, as lines in which ``worker`` is there."""
    return "".join(f"{line}\n" for line in _lines(news, answered)).encode()


def bounds_page(news: News) -> bytes:
    """The bounds that the supervisor has seen reached, as a page like that of a worker."""
    head = ("# HELP auricle_bound_reached_total ", "# TYPE auricle_bound_reached_total counter")
    told = (f'auricle_bound_reached_total{{bound="{bound}"}} {times}' for bound, times in news.reached.items())
    return "".join(f"{line}\n" for line in (*head, *told)).encode()


def _lines(news: News, answered: Collection[int]) -> Iterable[str]:
    yield "# HELP auricle_worker_up Whether the metrics of a worker are here."
    yield "# TYPE auricle_worker_up gauge"
    for one in news.workers:
        yield f'auricle_worker_up{{worker="{one.worker}"}} {int(one.worker in answered)}'
    yield "# HELP auricle_worker_restarts_total How often a worker was started again."
    yield "# TYPE auricle_worker_restarts_total counter"
    for one in news.workers:
        yield f'auricle_worker_restarts_total{{worker="{one.worker}"}} {one.restarts}'


def _labelled(line: str, name_end: int, worker: str) -> str:
    name, rest = line[:name_end], line[name_end:]
    label = f'worker="{worker}"'
    return f"{name}{{{label},{rest[1:]}" if rest.startswith("{") else f"{name}{{{label}}}{rest}"
