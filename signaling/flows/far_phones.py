"""Phones that hang on other pods, asked over the bus, and what this pod answers about those that hang here.

Whatever is not answered is taken for the worse: a phone that nobody tells of is silent. Knows no session; who judges
and who begins one is given to ``serve``. Read ``FarPhones.signs`` and ``begin`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from protocol.contract.sessions import ReadBackNow
from signaling.backplane import Backplane, BusState
from signaling.flows.phone_words import AskPhone, Begin, Begun, Frozen, SignsAsked, SignsTold, What
from signaling.flows.phones import Phone, Phones, phone_channel
from signaling.flows.watch import FarSigns
from signaling.pods.asks import Asker, PodAsks
from signaling.pushes import push
from signaling.tasks import TaskSet, race

__all__ = ["FarPhones"]

# Pods that have not asked for so long do not hear of a freeze: they have frozen by themselves.
_ASKED_LATELY_S: Final = 30.0
_LOOK_AFTER_S: Final = 2.0
_MISSES: Final = 3
_ANY: Final = SignsAsked()

SignsOf = Callable[[str, Phone, SignsAsked], SignsTold]
BeginHere = Callable[[Begin], Awaitable[Begun]]


class FarPhones:
    """``asks`` is None where there is one pod: then there are none. ``patience_s``: how long an answer may take."""

    def __init__(
        self,
        phones: Phones,
        backplane: Backplane,
        asks: PodAsks | None,
        *,
        tasks: TaskSet,
        patience_s: float,
        reached: Callable[[str], None],
    ) -> None:
        self._phones = phones
        self._backplane = backplane
        self._asks = asks
        self._tasks = tasks
        self._patience_s = patience_s
        self._reached = reached

    @property
    def are_there(self) -> bool:
        """Whether there may be any."""
        return self._asks is not None

    @property
    def can_be_heard(self) -> bool:
        """Whether what another pod answers would arrive, as far as anybody knows."""
        return self._backplane.state is BusState.CONNECTED

    def serve(self, signs_of: SignsOf, begin: BeginHere, on_frozen: Callable[[str, int], None]) -> None:
        """Answer what other pods ask of phones that are here. ``on_frozen``: of one elsewhere, by device and fence."""
        if self._asks is None:
            return
        asks = self._asks

        def asked(device: str, phone: Phone, word: AskPhone) -> None:
            if word.what == "signs":
                phone.askers[word.asker.pod] = self._phones.now_s()
                told = signs_of(device, phone, msgspec.msgpack.decode(word.body, type=SignsAsked))
                asks.answer(word.asker, msgspec.msgpack.encode(told))
            elif word.what == "read_back":
                push(phone.caller, msgspec.msgpack.decode(word.body, type=ReadBackNow))
                asks.answer(word.asker, b"")
            else:
                self._tasks.spawn(answer_begin(word))

        async def answer_begin(word: AskPhone) -> None:
            begun = await begin(msgspec.msgpack.decode(word.body, type=Begin))
            asks.answer(word.asker, msgspec.msgpack.encode(begun))

        def said(body: bytes) -> None:
            frozen = msgspec.msgpack.decode(body, type=Frozen)
            on_frozen(frozen.device, frozen.fence)

        self._phones.on_asked, asks.on_said = asked, said

    def frozen(self, device: str, phone: Phone, fence: int) -> None:
        """Nothing may rise any more: pods that have asked lately are told at once, and hear it when they ask again."""
        now_s = self._phones.now_s()
        phone.askers = {pod: at_s for pod, at_s in phone.askers.items() if now_s - at_s < _ASKED_LATELY_S}
        if self._asks is not None:
            for pod in phone.askers:
                self._asks.say(pod, msgspec.msgpack.encode(Frozen(device, fence)))

    async def signs(
        self, device: str, generation: int, asked: SignsAsked = _ANY, *, within_s: float | None = None
    ) -> FarSigns | None:
        """How a phone of that generation or a newer one is; None: nobody has told in time."""
        asked_s = self._phones.now_s()
        body = msgspec.msgpack.encode(asked)
        said = await self._ask(device, "signs", generation, body, timeout_s=within_s or self._patience_s)
        return None if said is None else FarSigns(msgspec.msgpack.decode(said, type=SignsTold), asked_s)

    async def read_back(self, device: str) -> bool:
        """Have both aids read; whether a phone was there to hear it. Needs no log: any phone will do."""
        body = msgspec.msgpack.encode(ReadBackNow(device=device))
        return await self._ask(device, "read_back", 0, body, timeout_s=self._patience_s) is not None

    async def begin(self, begin: Begin, generation: int, *, within_s: float) -> Begun | None:
        """Have the pod of the phone begin live work, whatever its wearer says; None: nobody can say what came of it."""
        if await self.signs(begin.device, generation) is None:
            return None
        begun: list[Begun] = []

        async def ask() -> None:
            body = msgspec.msgpack.encode(begin)
            said = await self._ask(begin.device, "begin", generation, body, timeout_s=within_s)
            if said is not None:
                begun.append(msgspec.msgpack.decode(said, type=Begun))

        # A wearer may think for long, and the pod that asks him may die meanwhile.
        await race(ask(), self._until_lost(begin.device, generation))
        return begun[0] if begun else None

    async def _until_lost(self, device: str, generation: int) -> None:
        missed = 0
        while missed < _MISSES:
            await asyncio.sleep(_LOOK_AFTER_S)
            missed = missed + 1 if await self.signs(device, generation) is None else 0

    async def _ask(self, device: str, what: What, generation: int, body: bytes, *, timeout_s: float) -> bytes | None:
        if self._asks is None or not self.can_be_heard:
            return None

        def question(asker: Asker) -> bytes:
            return msgspec.msgpack.encode(AskPhone(asker, what, generation, body))

        said = await self._asks.put(phone_channel(device), question, timeout_s=timeout_s)
        if said is None:
            self._reached("pod_ask_s")
        return said
