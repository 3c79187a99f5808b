"""Sound on its way through the server: in order, of a bounded age, and the sum of all others."""

import numpy as np

from media.relay_sound import BLOCK_BYTES, BLOCK_SAMPLES, Sound, is_loud, mixed


def block(value: int) -> bytes:
    return np.full(BLOCK_SAMPLES * 2, value, np.int16).tobytes()


def late() -> None:
    """It has had more than it may hold."""
    raise AssertionError


def test_blocks_come_in_order_once_a_few_are_there() -> None:
    sound = Sound(0.1, late)
    sound.add(block(1)[:-4])
    assert sound.take() is None
    sound.add(block(1)[-4:] + block(2))
    assert [sound.take(), sound.take(), sound.take()] == [block(1), block(2), None]
    # It has run dry: it waits again, or each packet that is late would leave a hole.
    sound.add(block(3))
    assert sound.take() is None
    sound.add(block(4))
    assert sound.take() == block(3)


def test_what_is_older_than_it_may_be_is_left_out_and_counted() -> None:
    reached: list[int] = []
    sound = Sound(0.1, lambda: reached.append(1))
    for value in range(5):
        sound.add(block(value))
    assert reached == []
    sound.add(block(5))
    assert (reached, sound.take(), sound.take()) == ([1], block(4), block(5))


def test_what_a_stall_has_made_late_is_skipped() -> None:
    sound = Sound(0.2, late)
    sound.add(b"".join(map(block, range(6))))
    sound.skip(3)
    assert sound.take() == block(3)
    # Never the last two: those are not late but early.
    sound.skip(9)
    assert sound.take() == block(4)
    sound.skip(-1)


def test_the_sum_of_all_others_is_cut_off_at_full_scale() -> None:
    assert mixed([]) == bytes(BLOCK_BYTES)
    assert mixed([block(7)]) == block(7)
    assert mixed([block(7), block(-3)]) == block(4)
    assert mixed([block(30_000), block(30_000)]) == block(32_767)
    assert mixed([block(-30_000), block(-30_000)]) == block(-32_768)


def test_who_speaks() -> None:
    assert (is_loud(block(0)), is_loud(block(900)), is_loud(block(-32_768))) == (False, False, True)
