"""Row numbers and tails: never one number for two rows, every tail as it was written, and no more pages than needed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.core.pages import PAGE, Pages

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(1, 3 * PAGE)),
        st.tuples(st.just("give back"), st.integers(0, 3), st.floats(0, 1)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=20,
)


def tail_of(numbers, width):
    """What is written for a row: it differs between rows and between bytes."""
    return (numbers[:, None] * 7 + np.arange(width) * 31).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_rows_keep_their_tails_through_coming_going_and_restarts(told):
    pages, held, most = Pages(), {}, 0
    for what, width, size in told:
        if what == "take":
            numbers = pages.take(np.full(size, width))
            assert not held.keys() & set(numbers.tolist())
            assert np.unique(numbers).size == size
            pages.write(numbers, tail_of(numbers, 3))
            held |= dict.fromkeys(numbers.tolist(), width)
        elif what == "give back":
            ours = [number for number, own in held.items() if own == width]
            gone = ours[: int(len(ours) * size)]
            pages.give_back(np.array(gone, np.int64))
            held = {number: own for number, own in held.items() if number not in set(gone)}
        else:
            numbers, widths = np.array(list(held), np.int64), np.array(list(held.values()), np.int64)
            pages = Pages()
            pages.take_back(numbers, widths)
            for own in set(held.values()):
                pages.write(numbers[widths == own], tail_of(numbers[widths == own], own))
        most = max(most, len(held))
        every = np.array(list(held), np.int64)
        found = pages.read(every, 3)
        for own in set(held.values()):
            which = np.array(list(held.values())) == own
            assert (found[which, :own] == tail_of(every[which], own)).all()
            assert not found[which, own:].any()
    assert len(held) <= pages.top <= most + 4 * 4 * PAGE + most


def test_pages_that_one_width_has_left_serve_another():
    pages = Pages()
    for width in (1, 2, 3, 1, 2, 3):
        numbers = pages.take(np.full(10 * PAGE, width))
        pages.write(numbers, tail_of(numbers, 3))
        pages.give_back(numbers)
    assert pages.top == 10 * PAGE
    assert pages.size_bytes == 10 * PAGE * (1 + 2 + 3)
