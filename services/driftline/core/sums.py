"""Sums in fixed point, by group: whole numbers, so that they add exactly in any order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from driftline.core.pane import FINE_BITS, SCALE_BITS

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

LIMB = 40
"""Terms are added in limbs of so many bits: those of 2^23 terms fit into 64."""
MOST_LIMBS = 20
"""With more, a small term would leave the range of a double before it is cut."""

Sums = dict[int, dict[str, int]]
"""Fixed-point sums by name, by group."""


def add_sums(sums: Sums, groups: I64, sign: I64, terms: Mapping[str, F64]) -> None:
    """Add finite terms, by name one a row, to the sums of the rows' groups, in the scale that the name tells (see
    `core.pane.fine`). Each is rounded once, half to even, then all is integer.
    """
    if not groups.size:
        return
    order = np.argsort(groups, kind="stable")
    ordered, direction = groups[order], sign[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    of_groups = [sums.setdefault(group, {}) for group in ordered[starts].tolist()]
    for name, each in terms.items():
        for of_group, more in zip(of_groups, _added(each[order], direction, starts, bits_of(name)), strict=True):
            of_group[name] = of_group.get(name, 0) + more


def _added(values: F64, direction: I64, starts: I64, bits: int) -> list[int]:
    """The sums of runs of `values`, in 1/2^bits."""
    top = int(np.frexp(np.abs(values).max())[1]) + bits + values.size.bit_length()
    lower = max(0, -((62 - top) // LIMB))  # so many limbs below the one that holds all the rest
    if lower > MOST_LIMBS:
        fixed = [way * fixed_point(value, bits) for way, value in zip(direction.tolist(), values.tolist(), strict=True)]
        ends = [*starts[1:].tolist(), len(fixed)]
        return [sum(fixed[start:end]) for start, end in zip(starts.tolist(), ends, strict=True)]
    rest = np.ldexp(values, bits - LIMB * lower)
    totals = [0] * starts.size
    for place in range(lower + 1):
        limb = np.trunc(rest) if place < lower else np.rint(rest)
        added = np.add.reduceat(limb.astype(np.int64) * direction, starts)
        totals = [(total << LIMB) + more for total, more in zip(totals, added.tolist(), strict=True)]
        rest = np.ldexp(rest - limb, LIMB)
    return totals


def bits_of(name: str) -> int:
    """In 1/2 to the power of what the sum `name` is counted."""
    return FINE_BITS if name.endswith(f".{FINE_BITS}") else SCALE_BITS


def fixed_point(term: float, bits: int = SCALE_BITS) -> int:
    """A finite term as an integer of 1/2^bits, rounded half to even; the product by a power of two is exact."""
    numerator, denominator = term.as_integer_ratio()
    quotient, rest = divmod(numerator << bits, denominator)
    doubled = 2 * rest
    return quotient + (doubled > denominator or (doubled == denominator and quotient % 2 == 1))
