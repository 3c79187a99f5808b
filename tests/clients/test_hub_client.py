"""The hub client's calls, pushes and client results, in both wire formats."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Struct

from clients.hub_client import HubCallError, HubClient, HubOptions
from clients.hub_errors import HubOverloaded, HubRefused, NotConnected
from clients.reconnect import Link as State
from protocol.contract.base import Answer, Failure, Refusal
from protocol.errors import BadArgument
from protocol.signalr.codec import ProtocolName
from protocol.signalr.messages import Invocation
from tests.clients.hub_double import SOON_S, HubDouble, until


class Point(Struct, frozen=True):
    x: int
    y: int


class Done(Answer, frozen=True, kw_only=True):
    seq: int


@pytest.fixture
async def double() -> AsyncIterator[HubDouble]:
    async with HubDouble().running() as hub:
        yield hub


@pytest.fixture(params=["json", "messagepack"])
def protocol(request: pytest.FixtureRequest) -> ProtocolName:
    return request.param  # type: ignore[no-any-return]  # a parameter has no type of its own


def client_of(double: HubDouble, protocol: ProtocolName = "json", **options: Any) -> HubClient:
    return HubClient(double.url, token="secret", protocol=protocol, options=HubOptions(**options))


async def test_an_answer_comes_back_as_the_type_that_was_asked_for(double: HubDouble, protocol: ProtocolName) -> None:
    async with client_of(double, protocol) as hub:
        assert await hub.invoke("Echo", Point(1, 2), result=Point) == Point(1, 2)
        assert await hub.invoke("Echo", "ä\x1e", result=str) == "ä\x1e"
        assert hub.connection_id == "id-1"
    assert double.tokens == ["Bearer secret"]


async def test_an_answer_as_full_as_a_page_of_history_is_read(double: HubDouble, protocol: ProtocolName) -> None:
    points = [Point(n, n) for n in range(2_000)]
    async with client_of(double, protocol) as hub:
        assert await hub.invoke("Echo", points, result=list[Point]) == points


async def test_calls_that_are_out_together_get_their_own_answers(double: HubDouble, protocol: ProtocolName) -> None:
    async with client_of(double, protocol) as hub, asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(hub.invoke("Echo", n, result=int)) for n in range(100)]
    assert [call.result() for call in calls] == list(range(100))


async def test_a_method_without_a_result_gives_none(double: HubDouble, protocol: ProtocolName) -> None:
    async with client_of(double, protocol) as hub:
        nothing: object = await hub.invoke("Void", result=object)
    assert nothing is None


async def test_a_result_of_another_type_is_a_clear_error(double: HubDouble) -> None:
    async with client_of(double) as hub:
        with pytest.raises(BadArgument, match="int"):
            await hub.invoke("Echo", "text", result=int)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("HubException: [not_found] no such device", "not_found", "no such device"),
        (
            "An unexpected error occurred invoking 'X' on the server. HubException: [a_1] m\nn",
            "a_1",
            "m\nn",
        ),
        (
            "Failed to invoke 'X' due to an error on the server. HubException: Method does not exist.",
            "hub_error",
            "Method does not exist.",
        ),
        (
            "Failed to invoke 'X' because user is unauthorized",
            "hub_error",
            "Failed to invoke 'X' because user is unauthorized",
        ),
    ],
)
async def test_an_error_is_taken_apart_into_code_and_message(
    double: HubDouble, text: str, code: str, message: str
) -> None:
    async with client_of(double) as hub:
        with pytest.raises(HubCallError) as raised:
            await hub.invoke("Fail", text, result=str)
    assert (raised.value.code, raised.value.message) == (code, message)


async def test_a_refusal_of_the_domain_is_a_value(double: HubDouble, protocol: ProtocolName) -> None:
    refused = Failure(error=Refusal(code="unsafe", message="too loud", rule="K7", limit=30))
    async with client_of(double, protocol) as hub:
        assert await hub.ask("Echo", refused, answer=Done) == refused
        assert await hub.ask("Echo", Done(seq=7), answer=Done) == Done(seq=7)


async def test_a_message_of_four_mebibytes_arrives(double: HubDouble, protocol: ProtocolName) -> None:
    limits = HubOptions().limits.__class__(max_message_bytes=8_388_608)
    async with client_of(double, protocol, limits=limits, max_frame_bytes=8_388_608) as hub:
        assert await hub.invoke("Blob", 4_194_304, result=str) == "x" * 4_194_304


async def test_an_answer_with_very_many_keys_arrives(double: HubDouble, protocol: ProtocolName) -> None:
    leaves = [{"before": number, "after": number + 1, "ddb": 1} for number in range(4_000)]
    async with client_of(double, protocol) as hub:
        assert await hub.invoke("Echo", leaves, result=list[dict[str, int]]) == leaves


async def test_pushes_reach_their_handlers_in_order_however_the_name_is_spelled(
    double: HubDouble, protocol: ProtocolName
) -> None:
    seen: list[int] = []
    async with client_of(double, protocol) as hub:

        async def slow_for_even(point: Point) -> None:
            if point.x % 2 == 0:
                await asyncio.sleep(0)
            seen.append(point.x)

        hub.on("Moved", slow_for_even, Point)
        pushes = [Invocation("moved", (Point(n, 0),)) for n in range(50)]
        await double.links[0].send_many(*pushes)
        await hub.invoke("Echo", 1, result=int)
        await until(lambda: len(seen) == 50)
    assert seen == list(range(50))


async def test_a_push_in_the_same_frame_as_the_handshake_is_not_lost(double: HubDouble, protocol: ProtocolName) -> None:
    seen: list[Point] = []
    double.greeting = Invocation("Moved", (Point(7, 0),))
    hub = client_of(double, protocol)
    hub.on("Moved", seen.append, Point)
    async with hub:
        await until(lambda: seen == [Point(7, 0)])


async def test_a_handler_may_call_the_hub(double: HubDouble) -> None:
    echoed: asyncio.Queue[int] = asyncio.Queue()
    async with client_of(double) as hub:

        async def ask_back(point: Point) -> None:
            echoed.put_nowait(await hub.invoke("Echo", point.y, result=int))

        hub.on("Moved", ask_back, Point)
        await double.links[0].send(Invocation("Moved", (Point(1, 9),)))
        async with asyncio.timeout(SOON_S):
            assert await echoed.get() == 9


async def test_a_handler_that_returns_a_value_answers_the_server(double: HubDouble, protocol: ProtocolName) -> None:
    async with client_of(double, protocol) as hub:
        hub.on("Sum", lambda point: point.x + point.y, Point)
        await double.links[0].send(Invocation("Sum", (Point(3, 4),), "s1"))
        await until(lambda: len(double.answers) == 1)
        answer = double.answers[0]
        assert (answer.invocation_id, answer.error) == ("s1", None)
        assert double.links[0].connection.codec.free(answer.result) == 7  # type: ignore[arg-type]  # received values are Raw


async def test_a_question_without_a_handler_is_answered_with_an_error(double: HubDouble) -> None:
    async with client_of(double):
        await double.links[0].send(Invocation("Nobody", (1,), "s1"))
        await until(lambda: len(double.answers) == 1)
    assert double.answers[0].error == "Client didn't provide a result."


async def test_a_handler_that_fails_answers_an_error_without_its_text_and_the_next_one_runs(
    double: HubDouble, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(point: Point) -> int:
        if point.x == 1:
            raise ValueError("threshold 85 dB")
        return point.x

    async with client_of(double) as hub:
        hub.on("Ask", failing, Point)
        await double.links[0].send(Invocation("Ask", (Point(1, 0),), "s1"))
        await double.links[0].send(Invocation("Ask", ("no point",), "s2"))
        await double.links[0].send(Invocation("Ask", (Point(2, 0),), "s3"))
        await until(lambda: len(double.answers) == 3)
        assert hub.handler_failures == 2
    assert [answer.error for answer in double.answers][2] is None
    assert double.answers[0].error == "the handler failed"
    assert "bad_argument" in (double.answers[1].error or "")
    assert "85" not in caplog.text


async def test_a_second_handler_of_one_target_is_refused(double: HubDouble) -> None:
    hub = client_of(double)
    hub.on("Moved", print, Point)
    with pytest.raises(ValueError, match="handler already"):
        hub.on("moved", print, Point)


async def test_a_call_that_wants_no_answer_is_sent(double: HubDouble) -> None:
    async with client_of(double) as hub:
        await hub.send("Note", 1)
        await hub.invoke("Echo", 1, result=int)
    assert double.calls == ["Note", "Echo"]


async def test_a_call_over_the_bound_is_not_sent(double: HubDouble) -> None:
    async with client_of(double, max_pending_calls=2) as hub, asyncio.TaskGroup() as tasks:
        hanging = [tasks.create_task(hub.invoke("Hang", result=int)) for _ in range(2)]
        await until(lambda: double.calls == ["Hang", "Hang"])
        with pytest.raises(HubOverloaded):
            await hub.invoke("Echo", 1, result=int)
        for task in hanging:
            task.cancel()
    assert double.calls == ["Hang", "Hang"]


async def test_a_call_that_is_never_answered_times_out_and_its_place_is_free_again(double: HubDouble) -> None:
    async with client_of(double, call_timeout_s=0.5, max_pending_calls=1) as hub:
        with pytest.raises(TimeoutError):
            await hub.invoke("Hang", result=int)
        assert await hub.invoke("Echo", 1, result=int) == 1


async def test_a_client_that_is_stopped_or_was_never_started_says_so(double: HubDouble) -> None:
    hub = client_of(double)
    with pytest.raises(NotConnected, match="idle"):
        await hub.invoke("Echo", 1, result=int)
    await hub.start()
    await hub.stop()
    await hub.stop()
    with pytest.raises(NotConnected, match="closed"):
        await hub.invoke("Echo", 1, result=int)
    with pytest.raises(RuntimeError):
        await hub.start()
    assert hub.state is State.CLOSED


async def test_stop_says_goodbye_and_tells_the_listeners_once(double: HubDouble) -> None:
    closed: list[str] = []
    async with client_of(double) as hub:
        hub.on_closed(lambda: closed.append("closed"))
        assert double.links[0].connection.state.name == "OPEN"
    await until(lambda: double.links[0].connection.state.name == "CLOSED")
    assert closed == ["closed"]


async def test_who_waits_for_the_end_is_told_also_when_it_is_stopped_as_it_ends_by_itself(double: HubDouble) -> None:
    closed: list[str] = []
    entered, released = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        await released.wait()
        closed.append("first")

    hub = client_of(double)
    hub.on_closed(slow)
    hub.on_closed(lambda: closed.append("second"))
    await hub.start()
    await hub.send("Goodbye", False)
    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as tasks:
        await entered.wait()
        tasks.create_task(hub.stop())
        await asyncio.sleep(0)
        released.set()
    assert closed == ["first", "second"]


async def test_a_handler_may_stop_the_client(double: HubDouble) -> None:
    closed = asyncio.Event()
    async with client_of(double) as hub:
        hub.on("Enough", lambda _: hub.stop(), Point)
        hub.on_closed(closed.set)
        await double.links[0].send(Invocation("Enough", (Point(0, 0),)))
        async with asyncio.timeout(SOON_S):
            await closed.wait()
    assert hub.state is State.CLOSED


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_refused_start_names_the_status_and_leaves_nothing_behind(double: HubDouble, status: int) -> None:
    double.refuse_with = status
    hub = client_of(double)
    with pytest.raises(HubRefused, match=str(status)) as raised:
        await hub.start()
    assert raised.value.status == status
    assert hub.state is State.CLOSED


async def test_an_error_in_a_negotiate_answer_is_told(double: HubDouble) -> None:
    double.negotiate_error = "no room"
    with pytest.raises(HubRefused, match="no room"):
        await client_of(double).start()


async def test_a_server_that_is_not_there_is_a_connection_error(double: HubDouble) -> None:
    hub = HubClient("http://127.0.0.1:9/hub", token="secret")
    with pytest.raises(ConnectionError):
        await hub.start()
