"""Row numbers in pages of one width, and the bytes that the rows of a page carry beside the columns of all rows.

How many bytes a row carries follows from its series. A page holds rows of one width only, so where a row's bytes stand
follows from its number, and no row needs a place for that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

PAGE = 256
GROWTH = 1.25


class Pages:
    """Gives out row numbers and keeps the rows' bytes (`tails`).

    A number that is given back is given out again for the same width; a page of which all are, for any.
    """

    def __init__(self) -> None:
        self._width = np.empty(0, np.int64)
        self._place = np.empty(0, np.int64)
        self._taken = np.empty(0, np.int64)
        self._tails: dict[int, U8] = {}
        self._places: dict[int, int] = {}
        self._free_places: dict[int, list[int]] = {}
        self._free: dict[int, list[I64]] = {}

    @property
    def top(self) -> int:
        """One past the highest number that there is."""
        return self._width.size * PAGE

    @property
    def size_bytes(self) -> int:
        """Memory of the tails of all pages; what is reserved beyond is not touched."""
        return sum(places * PAGE * width for width, places in self._places.items())

    def take(self, widths: I64) -> I64:
        """A number for each new row, whose tail has so many bytes."""
        numbers = np.empty(widths.size, np.int64)
        for width in _different(widths):
            which = np.flatnonzero(widths == width)
            numbers[which] = self._take(width, which.size)
        return numbers

    def give_back(self, numbers: I64) -> None:
        """These may be given out again."""
        pages = numbers // PAGE
        self._taken -= np.bincount(pages, minlength=self._taken.size)
        widths = self._width[pages]
        for width in _different(widths):
            self._free.setdefault(width, []).append(numbers[widths == width])

    def take_back(self, numbers: I64, widths: I64) -> None:
        """Begin with these numbers, which were given out earlier for rows of these widths; all others are free."""
        self._make(int(numbers.max(initial=-1)) // PAGE + 1)
        pages, first = np.unique(numbers // PAGE, return_index=True)
        for page, width in zip(pages.tolist(), widths[first].tolist(), strict=True):
            self._give_width(page, width)
        self._taken = np.bincount(numbers // PAGE, minlength=self._taken.size)
        inside = (pages[:, None] * PAGE + np.arange(PAGE)).ravel()
        free = np.setdiff1d(inside, numbers, assume_unique=True)
        of_free = self._width[free // PAGE]
        self._free = {width: [free[of_free == width]] for width in _different(of_free)}

    def write(self, numbers: I64, tails: U8) -> None:
        """Set the tails of rows; `tails` is (rows, at least the widest of them), what is beyond a row's is ignored."""
        widths = self._width[numbers // PAGE]
        for width in _different(widths):
            which = slice(None) if numbers.size and (widths == width).all() else widths == width
            self._tails[width][self._at(numbers[which])] = tails[which, :width]

    def read(self, numbers: I64, width: int) -> U8:
        """The tails of rows as (rows, `width`), with zeros behind shorter ones."""
        found = np.zeros((numbers.size, width), np.uint8)
        widths = self._width[numbers // PAGE]
        for own in _different(widths):
            which = widths == own
            found[which, :own] = self._tails[own][self._at(numbers[which])]
        return found

    def _at(self, numbers: I64) -> I64:
        at: I64 = self._place[numbers // PAGE] * PAGE + numbers % PAGE
        return at

    def _take(self, width: int, size: int) -> I64:
        taken: list[I64] = []
        free = self._free.setdefault(width, [])
        while size:
            if not free:
                free.append(self._new_pages(width, -(-size // PAGE)))
            last = free.pop()
            taken.append(last[:size])
            self._taken += np.bincount(taken[-1] // PAGE, minlength=self._taken.size)
            if last.size > size:
                free.append(last[size:])
            size -= taken[-1].size
        return np.concatenate([np.empty(0, np.int64), *taken])

    def _new_pages(self, width: int, count: int) -> I64:
        """The numbers of pages that nobody has: emptied ones of any width first, then new ones."""
        pages = np.flatnonzero(self._taken == 0)[:count]
        self._clear(pages)
        more = np.arange(self._width.size, self._width.size + count - pages.size)
        self._make(int(more.size) + self._width.size)
        pages = np.concatenate([pages, more])
        for page in pages.tolist():
            self._give_width(page, width)
        return (pages[:, None] * PAGE + np.arange(PAGE)).ravel()

    def _clear(self, pages: I64) -> None:
        """Take empty pages away from their widths."""
        pages = pages[self._width[pages] >= 0]
        for page in pages.tolist():
            self._free_places.setdefault(int(self._width[page]), []).append(int(self._place[page]))
        for width in _different(self._width[pages]):
            kept = [part[~np.isin(part // PAGE, pages)] for part in self._free.get(width, [])]
            self._free[width] = [part for part in kept if part.size]

    def _make(self, size: int) -> None:
        more = size - self._width.size
        self._width = np.append(self._width, np.full(more, -1))
        self._place, self._taken = (np.append(old, np.zeros(more, np.int64)) for old in (self._place, self._taken))

    def _give_width(self, page: int, width: int) -> None:
        free = self._free_places.get(width)
        place = free.pop() if free else self._places.get(width, 0)
        self._places[width] = max(self._places.get(width, 0), place + 1)
        tails = self._tails.get(width)
        if tails is None or len(tails) < (place + 1) * PAGE:
            larger = np.zeros((int((place + 1) * GROWTH) * PAGE, width), np.uint8)
            if tails is not None:
                larger[: len(tails)] = tails
            self._tails[width] = larger
        self._width[page], self._place[page] = width, place


def _different(widths: I64) -> list[int]:
    if not widths.size:
        return []
    first = int(widths[0])
    return [first] if (widths == first).all() else np.unique(widths).tolist()
