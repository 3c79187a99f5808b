"""Signatures between pods: what they cover, and that a number is good once whatever order it comes in."""

import random

import pytest

from signaling.pods.signature import MAX_SENDERS, WINDOW, Asked, Signer, Verifier, digest_of, sign_answer

KEY = b"p" * 32


class Pair:
    """One who asks, one who is asked, and their clock."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.signer = Signer(KEY, pod="a", clock=lambda: self.now_s)
        self.verifier = Verifier(KEY, pod="b", skew_s=10, clock=lambda: self.now_s)

    def signed(self, **fields: str) -> dict[str, str]:
        return self.signer.sign("GET", "/x", fields, to="b", digest=digest_of(b""))

    def said(self, fields: dict[str, str], method: str = "GET", target: str = "/x") -> str:
        asked = self.verifier.verify(method, target, fields.items())
        return asked if isinstance(asked, str) else "good"


def test_who_asked_is_known_and_what_the_body_is() -> None:
    pair = Pair()
    asked = pair.verifier.verify("GET", "/x", pair.signed().items())
    assert isinstance(asked, Asked)
    assert (asked.sender, asked.to, asked.digest) == ("a", "b", digest_of(b""))
    tag = sign_answer(KEY, asked.signature, 200, "d")
    assert pair.signer.is_answer(tag, asked.signature, 200, "d")
    for other in (("x", 200, "d"), (asked.signature, 404, "d"), (asked.signature, 200, "e")):
        assert not pair.signer.is_answer(tag, *other)


@pytest.mark.parametrize("name", ["Authorization", "Content-Encoding", "Upgrade", "Sec-WebSocket-Key", "Auricle-Other"])
def test_a_field_that_counts_cannot_be_put_in_changed_or_taken_out(name: str) -> None:
    pair = Pair()
    with_it = pair.signed(**{name: "one"})
    assert pair.said(pair.signed() | {name: "one"}) == "forged"
    assert pair.said(with_it | {name: "two"}) == "forged"
    assert pair.said({key: value for key, value in with_it.items() if key != name}) == "forged"
    assert pair.said(with_it) == "good"


def test_fields_that_say_nothing_may_come_and_go() -> None:
    pair = Pair()
    assert pair.said(pair.signed() | {"Host": "h", "Accept": "*/*"}) == "good"


def test_two_lists_of_words_never_look_the_same() -> None:
    pair = Pair()
    fields = pair.signer.sign("GET", "/x", {"Auricle-Z": "ab"}, to="b", digest="")
    assert pair.said(fields | {"Auricle-Z": "a", "Auricle-Zb": ""}) == "forged"


def test_each_number_is_good_once_in_whatever_order() -> None:
    pair = Pair()
    many = [pair.signed() for _ in range(300)]
    order = list(range(300))
    random.Random(7).shuffle(order)
    assert {pair.said(many[n]) for n in order} == {"good"}
    assert {pair.said(many[n]) for n in order} == {"replayed"}


def test_what_fell_out_of_the_window_is_refused() -> None:
    pair = Pair()
    kept = [pair.signed(), pair.signed()]
    for _ in range(WINDOW - 1):
        newest = pair.signed()
    assert pair.said(newest) == "good"
    assert [pair.said(one) for one in kept] == ["replayed", "good"]
    far = [pair.signed() for _ in range(WINDOW + 5)][-1]
    assert pair.said(far) == "good"
    assert pair.said(newest) == "replayed"


def test_a_sender_that_nobody_remembers_is_known_by_its_date() -> None:
    pair = Pair()
    old = pair.signed()
    assert pair.said(old) == "good"
    for number in range(MAX_SENDERS):
        other = Signer(KEY, pod=str(number), clock=lambda: pair.now_s)
        assert pair.said(other.sign("GET", "/x", {}, to="b", digest="")) == "good"
    pair.now_s += 11
    assert pair.said(old) == "stale"


def test_a_number_below_one_or_none_at_all_is_refused() -> None:
    pair = Pair()
    zero = Signer(KEY, pod="a", clock=lambda: pair.now_s)
    zero._number = -1
    assert pair.said(zero.sign("GET", "/x", {}, to="b", digest="")) == "unreadable"
    nothing = Signer(KEY, pod="a", clock=lambda: float("nan"))
    assert pair.said(nothing.sign("GET", "/x", {}, to="b", digest="")) == "stale"
