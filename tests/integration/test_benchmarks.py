"""The benchmarks that need servers run in their short form against real ones."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.registry import ALL, Needs, Place, run

pytestmark = pytest.mark.integration


class Quiet:
    def expect(self, steps):
        pass

    def __call__(self, text):
        pass


@pytest.mark.parametrize("benchmark", [b for b in ALL if b.needs is not Needs.NOTHING], ids=lambda each: each.name)
def test_a_benchmark_in_its_short_form_finds_its_figures(benchmark, servers):
    with Place(servers) as place:
        result = run(benchmark, place, Quiet(), quick=True, changed={})
    assert result.name == benchmark.name
    assert result.rows
    assert all(len(row) == len(result.columns) for row in result.rows)
    assert result.figures
    assert all(np.isfinite(value) for value in result.figures.values())
