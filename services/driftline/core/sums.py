"""Sums in fixed point, by group: whole numbers, so that they add exactly in any order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from driftline.core.pane import SCALE

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

LARGE = float(1 << 52)
"""Terms that add up to less have whole parts that fit into 64 bits; so do the fractions, in fixed point, of 2^23."""

Sums = dict[int, dict[str, int]]
"""Fixed-point sums by name, by group."""


def add_sums(sums: Sums, groups: I64, sign: I64, terms: Mapping[str, F64]) -> None:
    """Add terms, by name one a row, to the sums of the rows' groups. Each is rounded once, then all is integer."""
    if not groups.size:
        return
    order = np.argsort(groups, kind="stable")
    ordered, direction = groups[order], sign[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    of_groups = [sums.setdefault(group, {}) for group in ordered[starts].tolist()]
    for name, each in terms.items():
        if float(np.abs(each).max()) * each.size < LARGE:
            values = each[order]
            whole = np.trunc(values)  # whole parts by themselves, so that neither sum leaves 64 bits
            wholes = np.add.reduceat(whole.astype(np.int64) * direction, starts)
            parts = np.add.reduceat(np.rint((values - whole) * SCALE).astype(np.int64) * direction, starts)
            for of_group, high, low in zip(of_groups, wholes.tolist(), parts.tolist(), strict=True):
                of_group[name] = of_group.get(name, 0) + high * SCALE + low
            continue
        for group, way, term in zip(groups.tolist(), sign.tolist(), each.tolist(), strict=True):
            sums[group][name] = sums[group].get(name, 0) + way * fixed_point(term)


def fixed_point(term: float) -> int:
    """A finite term as an integer of 1/SCALE, rounded half to even; the product by a power of two is exact."""
    numerator, denominator = term.as_integer_ratio()
    quotient, rest = divmod(numerator * SCALE, denominator)
    doubled = 2 * rest
    return quotient + (doubled > denominator or (doubled == denominator and quotient % 2 == 1))
