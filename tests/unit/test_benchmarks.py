"""The benchmarks run, and measure what they say. How fast anything is, no test asks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest
from benchmarks import generator, workload
from benchmarks.__main__ import cli
from benchmarks.answers import WrongAnswer, check, expected
from benchmarks.feeding import batches
from benchmarks.keeping import array_bytes
from benchmarks.measure import Spent, paired_ratio, rounds
from benchmarks.registry import ALL, Needs, Place, run
from benchmarks.results import Column, Result, load, show, to_markdown
from benchmarks.sampling import Sampler, Stage
from click.testing import CliRunner

ALONE = [each for each in ALL if each.needs is Needs.NOTHING]


class Quiet:
    def __init__(self):
        self.steps, self.told = 0, []

    def expect(self, steps):
        self.steps = steps

    def __call__(self, text):
        self.told.append(text)


@pytest.mark.parametrize("benchmark", ALONE, ids=lambda each: each.name)
def test_a_benchmark_in_its_short_form_finds_its_figures(benchmark):
    progress = Quiet()
    with Place() as place:
        result = run(benchmark, place, progress, quick=True, changed={})
    assert result.name == benchmark.name
    assert result.quick
    assert len(progress.told) == progress.steps
    assert result.rows
    assert all(len(row) == len(result.columns) for row in result.rows)
    assert result.figures
    assert all(np.isfinite(value) for value in result.figures.values())


def test_both_workloads_have_the_same_shape(monkeypatch):
    monkeypatch.setattr(workload, "BESIDE", Path("nowhere"))
    monkeypatch.delenv(workload.VARIABLE, raising=False)
    own = workload.generate(500, 3)
    assert own.name.startswith("built-in workload of W1's shape: W1 itself is missing")
    events = [orjson.loads(value) for value in own.predictions]
    assert [e["time"] for e in events] == [workload.START_MS + 10 * i for i in range(500)]
    assert (
        set(events[0]["features"]) == set(workload.FEATURES) == set(own.reference) - {"score", "prediction", "outcome"}
    )
    assert {e["model"] for e in events} == {"m0", "m1", "m2"}
    outcomes = [orjson.loads(value) for value in own.outcomes]
    assert {o["id"] for o in outcomes} == {e["id"] for e in events}
    assert [o["time"] for o in outcomes] == sorted(o["time"] for o in outcomes)
    assert own.digest == workload.generate(500, 3).digest


def test_w1_is_found_where_it_is_named(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(Path(generator.__file__).read_text())
    monkeypatch.setenv(workload.VARIABLE, str(path))
    assert workload.location() == (path, "W1")
    assert workload.generate(50).digest == workload.Workload(*_parts(generator.generate(50, 1)), 1, "W1").digest
    monkeypatch.setenv(workload.VARIABLE, str(tmp_path / "gone.py"))
    path, sentence = workload.location()
    assert path is None
    assert "gone.py is no file" in sentence


def _parts(made):
    return made.predictions, made.outcomes, made.reference


def test_a_contender_that_does_another_job_is_not_timed():
    right = expected(workload.generate(300))
    check("somebody", right, right, 0)
    with pytest.raises(WrongAnswer, match="somebody says breaches"):
        check("somebody", replace(right, breaches=right.breaches + 1), right, 0)
    with pytest.raises(WrongAnswer, match="log_loss"):
        check("somebody", replace(right, log_loss=right.log_loss + 1e-8), right, 0)


def test_batches_hold_every_record_once_and_in_its_slice():
    predictions, outcomes = workload.generate(1_000).records()
    cut = batches(predictions, outcomes, 3_000)
    assert [r for batch in cut for r in batch.predictions] == predictions
    assert [r for batch in cut for r in batch.outcomes] == outcomes
    assert all(
        batch.end - 3_000 <= r.arrival < batch.end for batch in cut for r in (*batch.predictions, *batch.outcomes)
    )


def test_contenders_take_turns():
    order = []

    def contender(name):
        return lambda: order.append(name) or Spent(1, 1.0, 1.0)

    found = rounds({"a": contender("a"), "b": contender("b")}, 3, Quiet())
    assert order == ["a", "b"] * 3
    assert {name: len(runs) for name, runs in found.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_of_the_same_round():
    assert paired_ratio([10, 20, 90], [5, 10, 30]) == 2


def test_array_bytes_count_each_array_once_and_views_as_what_they_view():
    class Holder:
        pass

    holder = Holder()
    holder.own = np.zeros(100, np.int64)
    holder.again = {"view": holder.own[10:20], "list": [np.zeros(5, np.int32)]}
    assert array_bytes(holder) == 800 + 20


def test_the_sampler_names_the_innermost_stage():
    def spin(until=0):
        while until < 3_000_000:
            until += 1

    sampler = Sampler([Stage("spinning", "test_benchmarks.py", ("spin",)), Stage("around", "test_benchmarks.py")])
    with sampler.running():
        spin()
    found = sampler.profile
    assert found.stages["spinning"] > 0.9 * found.total > 0


def test_results_survive_their_file_and_are_written_for_people(tmp_path):
    result = Result(
        name="x",
        title="X",
        columns=[Column("what"), Column("rate", "rate"), Column("ratio", "ratio"), Column("size", "bytes")],
        rows=[["a", 213_456.0, 2.04, 61.3], ["b", None, 1.0, 2_500_000.0]],
        figures={"r": 1.5},
    )
    result.save(tmp_path)
    assert load(tmp_path) == {"x": result}
    assert "| a | 213,000 | 2.04 x | 61 B |" in to_markdown(result)
    assert "| b | - | 1.00 x | 2.5 MB |" in to_markdown(result)
    assert show(0.123, "percent") == "12.3 %"


def test_the_command_tells_machines_in_json_and_people_who_ask_for_too_much():
    told = CliRunner().invoke(cli, ["engine", "--quick", "--json", "--predictions", "1000"])
    assert told.exit_code == 0, told.output
    assert msgspec.json.decode(told.stdout, type=Result).name == "engine"
    assert json.loads(told.stdout)["quick"] is True
    told = CliRunner().invoke(cli, ["profile", "--quick", "--rounds", "3"])
    assert isinstance(told.exception, ValueError)
    assert "takes no --rounds" in str(told.exception)


@pytest.mark.parametrize("name", [each.name for each in ALL] + ["all"])
def test_every_command_shows_an_example(name):
    told = CliRunner().invoke(cli, [name, "--help"])
    assert told.exit_code == 0
    assert f"python -m benchmarks {name}" in told.output
