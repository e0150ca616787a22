"""The demo: eight months of real flights through the whole loop, in a few minutes. `make demo` runs it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from threadpoolctl import threadpool_limits

from driftline.client import Champion, Replay, Wait, WaitReason
from driftline.errors import DriftlineError
from driftline.platform import topics
from driftline.platform.artifacts import StoredModel
from driftline.platform.declare import apply_spec
from driftline.platform.local.stack import LocalStack, interrupt_on_signals
from driftline.platform.registering import manifest_of, register
from driftline.platform.settings import Settings, state_directory
from driftline.spec.reader import read_spec
from examples.flights import data, training
from examples.flights.comparison import compare
from examples.flights.picture import draw
from examples.flights.serving import DAY_MS, FIRST, MODEL, Application
from examples.flights.story import Follower
from examples.flights.summary import show, summarise
from examples.flights.view import View

HERE = Path(__file__).parent
RULES_FROM = datetime(2013, 3, 1, tzinfo=UTC)
LAST = datetime(2013, 9, 1, tzinfo=UTC)
AUTHOR = "the flights demo"
HOUR_MS = 3_600_000


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--weeks", type=click.IntRange(1, 26), default=26, show_default=True, help="Weeks with rules, from March 1."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end.")
def main(weeks: int, as_json: bool, keep: bool) -> None:
    """Replay the flights that left New York in 2013 through Driftline: monitor, alert, retrain, compare, promote.

    \b
    make demo
    .venv/bin/python -m examples.flights.demo --weeks 8
    """
    console = Console(stderr=as_json)
    interrupt_on_signals()
    try:
        summary = run(weeks, console, keep)
    except DriftlineError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; everything it started has been stopped")
    if as_json:
        click.echo(msgspec.json.encode(summary))


def run(weeks: int, console: Console, keep: bool) -> dict[str, Any]:
    """The whole demo; returns its summary."""
    began = time.monotonic()
    state = state_directory()
    until = min(LAST, RULES_FROM + timedelta(weeks=weeks))
    # one thread: more of them, waiting for one another, would take the cores from the workers and be no quicker
    with threadpool_limits(1), _stack(state / "demo", console, keep) as settings, View(console) as view:
        view.say("reading flights, training the first model")
        flights = data.load(until)
        first = _train_first(flights)
        history, rules = read_spec(HERE / "history.yaml"), read_spec(HERE / "monitor.yaml")
        apply_spec(settings, history, AUTHOR)
        learnt = flights[flights["time"] < _millis(training.LEARNT_UNTIL)]
        learnt_rows = data.rows_of(learnt)
        reference = {name: [row[name] for row in learnt_rows] for name in data.FEATURES}
        with Replay(settings, on_wait=lambda wait: _tell(view, wait)) as replay:
            replay.stretch(_millis(data.BEGIN) - HOUR_MS, [])
            register(settings, history, FIRST, first, reference, AUTHOR)
            replay.stretch(_millis(data.BEGIN), [])
            follower = Follower(settings)
            champion = Champion(MODEL, settings)
            application = Application(flights, champion, StoredModel(manifest_of(history, FIRST), first, None))
            for start in range(_millis(data.BEGIN), _millis(until), DAY_MS):
                if start == _millis(RULES_FROM):
                    apply_spec(settings, rules, AUTHOR)
                    view.say(f"{RULES_FROM:%Y-%m-%d}  rules and retraining are in force from here on")
                stretch = replay.stretch(start + DAY_MS, application.day(start))
                view.events += stretch.events
                view.show(start + DAY_MS, follower.catch_up())
            story = follower.catch_up()
            follower.close()
            champion.close()
            view.say("comparing what served with the first model left alone")
            compared = compare(settings, _millis(RULES_FROM), _millis(until))
        summary = summarise(story, compared, view.events, time.monotonic() - began)
        draw(story, state / "demo.png")
        (state / "demo.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
    show(summary, state / "demo.png", console)
    return summary


@contextmanager
def _stack(state: Path, console: Console, keep: bool) -> Iterator[Settings]:
    """Servers and workers of the demo's own, in a clean state directory; always stopped at the end."""
    before = LocalStack(state)
    before.stop()
    shutil.rmtree(state, ignore_errors=True)
    prefix = f"demo-{int(time.time())}."
    os.environ["DRIFTLINE_PREFIX"] = prefix
    stack = LocalStack(
        state, {"DRIFTLINE_PREFIX": prefix}, say=lambda text: console.print(text, highlight=False), brief=True
    )
    try:
        addresses = stack.start()
        settings = Settings(
            bootstrap=addresses.bootstrap,
            redis_url=addresses.redis_url,
            prefix=prefix,
            state_dir=state,
            archive_dir=state / "archive",
            artifact_dir=state / "artifacts",
        )
        topics.create(settings, clock="events", slice_length=timedelta(minutes=15), partitions=2)
        stack.start_workers()
        yield settings
    except BaseException:
        stack.stop()
        raise
    if not keep:
        stack.stop()


def _train_first(flights: Any) -> Any:
    known = flights[(flights["time"] < _millis(training.LEARNT_UNTIL)) & flights["outcome"].notna()]
    return training.make_model().fit(known[list(data.FEATURES)], known["outcome"].astype(str).to_numpy())


def _tell(view: View, wait: Wait) -> None:
    if wait.reason is WaitReason.ATTEMPTS:
        view.held("a training or a comparison is under way; in life that takes minutes, not weeks")


def _millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


if __name__ == "__main__":
    main()
