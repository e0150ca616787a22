"""What the demo shows of a metric over time: the newest figures, and of weeks that say something."""

from __future__ import annotations

from examples.flights.story import Story

from driftline.events.reports import MetricValue, Segment, Window, WindowReport

DAY = 86_400_000


def report(end: int, auc: float | None, n: int, role: str = "champion", revision: int = 0) -> WindowReport:
    figures = Segment(
        segment="all", n=n, labelled=n, coverage=1.0, metrics={"auc": MetricValue(value=auc, n=n)}, drift={}
    )
    return WindowReport(
        id=f"{end}-{role}-{revision}",
        model="flight-delay",
        version="1",
        role=role,
        window=Window(name="week", start=(end - 7) * DAY, end=end * DAY),
        revision=revision,
        completeness=1.0,
        baseline="b",
        segments=(figures,),
    )


def told(*reports: WindowReport) -> list[tuple[int, float]]:
    story = Story()
    for each in reports:
        story.take(each)
    return [(end // DAY, value) for end, value in story.metric("week", "1", "auc", least=100)]


def test_a_later_revision_takes_the_place_of_an_earlier_one_and_ends_stay_in_order():
    assert told(report(9, 0.6, 100), report(8, 0.7, 100), report(9, 0.65, 90, revision=1)) == [(8, 0.7)]
    assert told(report(9, 0.6, 100), report(8, 0.7, 100), report(9, 0.65, 110, revision=1)) == [(8, 0.7), (9, 0.65)]


def test_weeks_with_too_few_samples_or_no_figure_are_not_told():
    assert told(report(8, 0.9, 99), report(9, None, 500), report(10, 0.6, 100)) == [(10, 0.6)]


def test_in_the_week_of_a_promotion_the_role_with_more_flights_speaks_for_the_version():
    promoted = [report(8, 0.7, 500), report(8, 0.9, 120, "shadow"), report(9, 0.71, 200), report(9, 0.6, 400, "shadow")]
    assert told(*promoted) == told(*reversed(promoted)) == [(8, 0.7), (9, 0.6)]
