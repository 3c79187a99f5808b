"""New connections go to any pod that is up, in turn."""

import random

from tests.chaos.balancer import Balancer

PODS = ("pod-0", "pod-1", "pod-2")


def balancer() -> Balancer:
    found = Balancer(PODS, random.Random(1))
    for pod in PODS:
        found.came(pod, f"http://{pod}")
    return found


def test_they_go_round() -> None:
    route = balancer().route()
    assert {route()[0] for _ in PODS} == {f"http://{pod}" for pod in PODS}


def test_a_pod_that_is_down_is_passed_over_until_it_is_back_somewhere_else() -> None:
    found = balancer()
    route = found.route()
    found.went("pod-1")
    assert {url for _ in range(6) for url in route()} == {"http://pod-0", "http://pod-2"}
    found.came("pod-1", "http://new")
    assert "http://new" in route()
    assert found.pod_at("http://pod-1") == found.pod_at("http://new") == "pod-1"


def test_nobody_is_there() -> None:
    found = balancer()
    for pod in PODS:
        found.went(pod)
    assert not found.route()()
