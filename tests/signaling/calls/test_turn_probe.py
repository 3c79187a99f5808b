"""A TURN server is asked for what it is there for; a wrong secret, which raises no error anywhere else, is noticed."""

import asyncio
import json
import socket
import time

import pytest

from media.ice import IcePlan, read_plan, turn_credential
from signaling.calls.turn_probe import TurnServer, TurnWatch, allocate, turn_server
from signaling.metrics import Metrics
from tests.coturn import coturn, needs_coturn


def plan(*urls: str, secret: str) -> IcePlan:
    document = {"regions": {"here": {"turn": urls}}, "default": "here"}
    return read_plan(json.dumps(document).encode(), secret=secret.encode(), ttl_s=600)


def watch(found: IcePlan, *, answer_s: float = 5) -> TurnWatch:
    return TurnWatch(found, answer_s, Metrics(), time.time)


def up(turn: TurnWatch, url: str) -> float | None:
    return turn.metrics.registry.get_sample_value("auricle_turn_up", {"server": url})


@needs_coturn
async def test_a_real_server_gives_an_allocation_over_udp_and_tcp() -> None:
    with coturn() as turn:
        urls = (turn.url, f"{turn.url}?transport=tcp")
        good = watch(plan(*urls, secret=turn.secret))
        await good.look()
        assert (good.is_away, [up(good, url) for url in urls]) == (False, [1, 1])
        name, password = turn_credential(turn.secret.encode(), "c1", "ann", until_s=int(time.time()) + 60)
        address, port = await allocate(turn_server(turn.url), name, password)
        assert (address, 49_160 <= port <= 49_400) == ("127.0.0.1", True)


@needs_coturn
async def test_a_secret_that_is_another_one_is_noticed_and_so_is_a_credential_that_has_ended() -> None:
    with coturn() as turn:
        wrong = watch(plan(turn.url, secret="another"))
        await wrong.look()
        assert (wrong.is_away, up(wrong, turn.url)) == (True, 0)
        name, password = turn_credential(turn.secret.encode(), "c1", "ann", until_s=int(time.time()) - 60)
        with pytest.raises(ConnectionError):
            await allocate(turn_server(turn.url), name, password)


async def test_one_that_does_not_answer_is_given_up_and_counted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"turn:127.0.0.1:{silent.getsockname()[1]}"
        away = watch(plan(url, secret="s"), answer_s=0.05)
        await away.look()
    assert (away.is_away, up(away, url)) == (True, 0)
    reached = away.metrics.registry.get_sample_value("auricle_bound_reached_total", {"bound": "turn_answer_s"})
    assert reached == 1


async def test_it_is_away_as_long_as_one_of_them_is() -> None:
    gives = {"a": True, "b": False}

    async def ask(server: TurnServer, name: str, password: str) -> tuple[str, int]:
        await asyncio.sleep(0)
        if not gives[server.host]:
            raise ConnectionError("refused")
        return "192.0.2.1", 1

    turn = TurnWatch(plan("turn:a", "turn:b", secret="s"), 5, Metrics(), time.time, ask)
    await turn.look()
    assert turn.is_away
    gives["b"] = True
    await turn.look()
    assert not turn.is_away


def test_urls() -> None:
    assert turn_server("turn:t.example") == TurnServer("t.example", 3478, "udp", False)
    assert turn_server("turns:t.example") == TurnServer("t.example", 5349, "tcp", True)
    assert turn_server("turn:[::1]:99?transport=tcp") == TurnServer("::1", 99, "tcp", False)
    with pytest.raises(ValueError, match="not the URL"):
        turn_server("http://t.example")
