"""Timelines as text: a line says what happens on which day, and what must come of it."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec
from tests.specs import bare_spec

from driftline.core import alerts, cases
from driftline.core.alerts import Standing
from driftline.core.case_book import CaseBook, Skipped
from driftline.core.rules import Reading, judge
from driftline.events.alerts import Alert
from driftline.events.base import digest_id
from driftline.events.reports import Segment, Window, WindowReport
from driftline.events.retraining import Artifact, Candidate, Case, RetrainRequest, Trigger, Verdict
from driftline.spec.model import MonitorSpec, PromotionSpec, RetrainSpec, RuleSpec

HOUR, DAY = 3_600_000, 86_400_000
EMPTY = Segment(segment="all", n=0, labelled=0, coverage=1.0, metrics={}, drift={})


def rule(text: str, **changes) -> RuleSpec:
    """`auc below 0.64 clear 0.66 for 2 of 3` as a rule."""
    words = text.split()
    found = {
        "name": f"{words[0]}-rule",
        "kind": "metric",
        "target": words[0],
        "window": "day",
        words[1]: float(words[2]),
    }
    if "clear" in words:
        clear = "clear_above" if words[1] == "below" else "clear_below"
        found[clear] = float(words[words.index("clear") + 1])
    if "for" in words:
        found["k"], found["of"] = int(words[words.index("for") + 1]), int(words[words.index("for") + 3])
    return RuleSpec(**(found | changes))


def reading(text: str) -> Reading:
    """`.60` or `.60~.02` (half an interval) or `.60/50` (n) or `.60@.5` (coverage); `?` is undefined."""
    value, half, n, coverage = re.fullmatch(r"(\?|[\d.]+)(?:~([\d.]+))?(?:/(\d+))?(?:@([\d.]+))?", text).groups()
    number = None if value == "?" else float(value)
    low, high = (None, None) if half is None else (number - float(half), number + float(half))
    return Reading("auc", number, low, high, int(n or 1000), float(coverage or 1.0))


def report(day: int) -> WindowReport:
    """A report of version 1 over the day that ends at the end of `day`."""
    window = Window(name="day", start=day * DAY, end=(day + 1) * DAY)
    return WindowReport(
        id=digest_id("report", day),
        model="m",
        version="1",
        role="champion",
        window=window,
        revision=window.end,
        completeness=1.0,
        baseline="b",
        segments=(EMPTY,),
    )


def alert_life(of: RuleSpec, windows: str) -> tuple[str, list[Alert]]:
    """One window a word of `windows`; returns the changes in one line (`.` for none), and their events."""
    standing, line, events = Standing(), [], []
    for day, text in enumerate(windows.split()):
        seen = reading(text)
        alert = alerts.observe(standing, of, seen, judge(of, seen), report(day), EMPTY, (day + 1) * DAY)
        line.append(alert.state.value if alert else ".")
        events += [alert] if alert else []
    return " ".join(line), events


RETRAIN = RetrainSpec(
    trainer="a:b",
    span=timedelta(days=56),
    holdout=timedelta(days=7),
    label_delay=timedelta(days=1),
    cooldown=timedelta(days=3),
    budget=3,
    budget_per=timedelta(days=60),
    improve_within=timedelta(days=14),
    deadline=timedelta(days=2),
    time_limit=timedelta(hours=1),
)


def spec(**retrain) -> MonitorSpec:
    """A spec whose retrain section is `RETRAIN` with changes."""
    fields = {name: getattr(RETRAIN, name) for name in RETRAIN.__struct_fields__} | retrain
    return bare_spec(
        pane=timedelta(hours=1),
        metrics=("auc",),
        retrain=RetrainSpec(**fields),
        promotion=PromotionSpec(metric="auc", min_effect=0),
        retain_raw=timedelta(days=120),
    )


class CaseStory:
    """Tells a case's story line by line, and checks every line.

    `day 3 rule breaches -> open: attempt-1-requested`. After the arrow stands the case's state and the reason of its
    change, or `skipped: why`, or `-` where nothing comes of it. What can happen: `rule breaches`, `schedule`,
    `command`, `candidate`, `candidate fails`, `candidate of another request`, `verdict promote`, `verdict refuse`,
    `verdict hold`, `verdict on another candidate`, `live better`, `live not better`, `live unseen`, `approve`,
    `reject`, `approve another`, `roll back`, `close`, `metric is back`, `figure X`, `time passes`, `again` (a retry).
    """

    def __init__(self, before: float | None = 0.7, promotion: PromotionSpec | None = None, **retrain) -> None:
        self.spec = spec(**retrain)
        if promotion is not None:
            self.spec = msgspec.structs.replace(self.spec, promotion=promotion)
        self.book = CaseBook()
        self.before = before
        self.request: RetrainRequest | None = None
        self.candidate: Candidate | None = None
        self.events: list[Case | RetrainRequest] = []

    def tell(self, text: str) -> list[Case | RetrainRequest]:
        """Play the lines; returns all events so far."""
        for line in filter(None, map(str.strip, text.splitlines())):
            day, happening, expected = re.fullmatch(r"day ([\d.]+)\s+(.*?)\s*-> (.*)", line).groups()
            came = self.play(happening, int(float(day) * DAY))
            found = [f"{c.state}: {c.reason}" for c in came if isinstance(c, Case)]
            found += [f"skipped: {c}" for c in came if isinstance(c, Skipped)]
            assert ("; ".join(found) or "-") == expected, line
            self.events += [c for c in came if not isinstance(c, Skipped)]
        return self.events

    def play(self, happening: str, at: int) -> list[Case | RetrainRequest | Skipped]:
        """What comes of one happening."""
        match happening.split():
            case ["rule", "breaches"]:
                return self._trigger(Trigger.RULE, at)
            case ["schedule"]:
                return self._trigger(Trigger.SCHEDULE, at)
            case ["command"]:
                return self._trigger(Trigger.COMMAND, at)
            case ["candidate", *how]:
                return _some(self._answer(" ".join(how), at))
            case ["verdict", *how]:
                return _some(self._judge(" ".join(how), at))
            case ["metric", "is", "back"]:
                return _some(cases.metric_is_back(self.book, at, 0.8, ("report",)))
            case ["figure", value]:
                cases.note_before(self.book, float(value))
                return _some(cases.compare_after(self.book, at, float(value), True, ("report",)))
            case ["time", "passes"]:
                return list(cases.pass_time(self.book, self.spec.retrain.retries, at))
            case ["again"]:
                assert self.book.retry_at is not None
                assert self.book.retry_at <= at
                return self._trigger(self.book.open.trigger, at, again=True)
            case ["live", *how]:
                better = {"better": True, "not better": False, "unseen": None}[" ".join(how)]
                return _some(cases.take_live(self.book, better, self.spec.promotion, at))
            case ["approve" | "reject" as how, *which]:
                verdict = "another" if which else self.book.open.attempts[-1].verdict
                said = f"{how}d by Ann" if how == "approve" else "rejected by Ann"
                return _some(cases.decide(self.book, verdict, how == "approve", said, at, "command"))
            case ["roll", "back"]:
                return _some(cases.roll_back(self.book, "rolled back by Ann", at, ("command",)))
            case ["close"]:
                case = self.book.open.case if self.book.open else "none"
                return _some(cases.close(self.book, case, "closed by Ann", at, "command"))
        raise AssertionError(happening)

    def _trigger(self, why: Trigger, at: int, *, again: bool = False) -> list[Case | RetrainRequest | Skipped]:
        name = "auc-rule" if why is Trigger.RULE else None
        came = cases.trigger(
            self.book, self.spec, "m@1", "1", why, name, at, ("cause",), "auc", self.before, again=again
        )
        if isinstance(came, Skipped):
            return [came]
        self.request = came[1]
        return list(came)

    def _answer(self, how: str, at: int) -> Case | None:
        request = "another" if how == "of another request" else self.request.id
        self.candidate = Candidate(
            id=digest_id("candidate", request),
            case=self.request.case,
            request=request,
            model="m",
            attempt=self.request.attempt,
            version=f"c{self.request.attempt}",
            artifact=None if how == "without artifact" else Artifact(uri="u", sha256="s", format="skops"),
            baseline=None,
            trained_on=None,
            validation={},
            recipe=self.request.recipe,
            error="it broke" if how == "fails" else None,
        )
        return cases.take_candidate(self.book, self.candidate, self.spec.retrain.retries, at)

    def _judge(self, how: str, at: int) -> Case | None:
        verdict = Verdict(
            id=digest_id("verdict", self.candidate.id, how),
            case="another" if how == "on another case" else self.candidate.case,
            candidate="another" if how == "on another candidate" else self.candidate.id,
            model="m",
            version=self.candidate.version,
            champion="1",
            artifact_sha256="s",
            decision=how if how in ("refuse", "hold") else "promote",
            reason=how,
            rows=None,
            metrics=(),
            method="t",
        )
        return cases.take_verdict(self.book, verdict, self.spec.promotion, at)


def _some(case: Case | None) -> list[Case]:
    return [] if case is None else [case]
