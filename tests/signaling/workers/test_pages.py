"""One page of metrics out of several: what Prometheus reads of it."""

from prometheus_client.parser import text_string_to_metric_families

from signaling.metrics import Metrics
from signaling.workers.charge import ChildNews, News
from signaling.workers.pages import bounds_page, joined, supervised


def read(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a page; each family is there once."""
    families = list(text_string_to_metric_families(page.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def worker(*reached: str) -> bytes:
    metrics = Metrics()
    for bound in reached:
        metrics.reached(bound)
    metrics.connections.labels("webSockets").set(7)
    metrics.storage.committed(3, 0.004)
    return metrics.page()


def test_each_number_says_of_which_worker_it_is_and_none_is_lost() -> None:
    pages = {"0": worker("max_groups", "max_groups"), "1": worker("max_streams")}
    found = read(joined(pages))
    for number, page in pages.items():
        for (name, labels), value in read(page).items():
            assert found[name, tuple(sorted((*labels, ("worker", number))))] == value
    assert len(found) == sum(len(read(page)) for page in pages.values())


def test_what_is_in_a_label_is_left_alone() -> None:
    page = b'# HELP a_total A.\n# TYPE a_total counter\na_total{b="{x} # HELP \\"y"} 3.0\na_total 1e+06\n'
    assert joined({"4": page}).decode() == (
        '# HELP a_total A.\n# TYPE a_total counter\na_total{worker="4",b="{x} # HELP \\"y"} 3.0\n'
        'a_total{worker="4"} 1e+06\n'
    )


def test_a_worker_that_did_not_answer_is_missing_and_the_page_says_so() -> None:
    news = News(
        (ChildNews(0, "up", 2, "unix:/a"), ChildNews(1, "backing_off", 5, "")),
        {"worker_start_s": 3},
    )
    page = joined({"0": worker("max_groups"), "supervisor": bounds_page(news)}) + supervised(news, {0})
    found = read(page)
    assert found["auricle_worker_up", (("worker", "0"),)] == 1
    assert found["auricle_worker_up", (("worker", "1"),)] == 0
    assert found["auricle_worker_restarts_total", (("worker", "1"),)] == 5
    assert found["auricle_bound_reached_total", (("bound", "worker_start_s"), ("worker", "supervisor"))] == 3
    assert found["auricle_bound_reached_total", (("bound", "max_groups"), ("worker", "0"))] == 1
