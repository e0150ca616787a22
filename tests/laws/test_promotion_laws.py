"""Whoever says what in whatever order: who stands beside the champion is being watched, and everything ends."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.timeline.shards import Shard, ShardLog, candidate, catalog, command, delta, register, spec, verdict

from driftline.core.case_book import RUNNING
from driftline.events.base import digest_id
from driftline.events.retraining import Case, ModelState, RetrainRequest
from driftline.events.topics import Topic
from driftline.spec.model import PromotionSpec

SAYINGS = ("nothing", "failure", "promote", "refuse", "hold", "approve", "reject", "roll back", "retrain", "close")
"""`promote`, `refuse`, `hold`: the trainer has answered, and the gate says so of the candidate."""
OPENING = ("retrain", "promote", "approve", *["nothing"] * 13, "approve", "retrain", "promote")
"""A second version serves, and a third one has come: who rolls back, refuses or waits now finds something to do."""
QUIET = 60
"""Quarters in which nobody says anything, longer than any deadline, shadow and probation together."""
steps = st.lists(st.tuples(st.sampled_from(SAYINGS), st.booleans(), st.booleans()), max_size=30)
promotions = st.builds(
    lambda policy, shadow, probation: PromotionSpec(
        metric="accuracy",
        min_effect=0,
        policy=policy,
        shadow=timedelta(hours=shadow),
        probation=timedelta(hours=probation),
    ),
    st.sampled_from(["auto", "approve"]),
    st.sampled_from([0, 2, 3]),
    st.sampled_from([0, 4]),
)


class Story:
    """A shard, and everybody who talks to it, a quarter of an hour at a time, by what it has told so far."""

    def __init__(self, promotion: PromotionSpec) -> None:
        self.log = ShardLog()
        for partition in (0, 1):
            self.log.slice(partition, 0, marks=["spec m@1"])
        self.log.say(0.5, register()).until(0)
        self.shard = Shard(self.log, catalog(spec(promotion=promotion))).run()
        self.quarter = 0

    @property
    def champion(self) -> ModelState:
        return self.shard.events(Topic.MODELS, ModelState)[-1]

    @property
    def case(self) -> Case | None:
        return (self.shard.events(Topic.CASES, Case) or [None])[-1]

    def go_on(self, said: str, good: bool, beside_good: bool) -> None:
        """Another quarter: predictions of whoever answers now, and what somebody says."""
        self.quarter += 1
        serves, told = self.champion, []
        for who, role, is_good in ((serves.champion, "champion", good), (serves.shadow, "shadow", beside_good)):
            if who is not None:
                right = 45 if is_good else 20
                told.append(delta(self.quarter, right=right, wrong=50 - right, version=who.version, role=role))
        self.log.slice(self.quarter % 2, self.quarter, *told)
        for event in self._event(said):
            self.log.say(self.quarter + 0.5, event)
        self.log.until(self.quarter)
        self.shard.run()
        self._hold_what_always_holds()

    def _event(self, said: str):
        requests, case = self.shard.events(Topic.RETRAIN_REQUESTS, RetrainRequest), self.case
        if said in ("roll back", "retrain"):
            yield command({"roll back": "rollback"}.get(said, said), id=f"{said}-{self.quarter}")
        elif said == "close" and case is not None:
            yield command("close", id=f"close-{self.quarter}", case=case.case)
        if not requests or case is None:
            return
        last = requests[-1]
        number = int(next(n for n in range(1, 100) if digest_id("case", "m", n) == last.case))
        version = f"{number}.{last.attempt}"
        answer = candidate(case=number, attempt=last.attempt, version=version)
        if said == "failure":
            yield candidate(case=number, attempt=last.attempt, artifact=None, error="no disk")
        elif said in ("promote", "refuse", "hold"):
            yield answer
            yield verdict(answer, said, champion=last.champion)
        elif said in ("approve", "reject"):
            action = {"approve": "promote"}.get(said, said)
            yield command(action, id=f"{said}-{self.quarter}", verdict=verdict(answer).id)

    def _hold_what_always_holds(self) -> None:
        serves, case = self.champion, self.case
        running = next((a for a in (case.attempts[-1:] if case else ()) if a.state in RUNNING), None)
        if serves.state == "probation":
            assert serves.shadow is not None
            assert serves.shadow.version == serves.previous.version
        elif serves.shadow is not None:
            assert running is not None, "somebody stands beside the champion and nobody asks"
            assert running.version == serves.shadow.version
        told = [m.champion.version for m in self.shard.events(Topic.MODELS, ModelState) if m.state != "rolled-back"]
        promoted = [version for version, before in zip(told[1:], told, strict=False) if version != before]
        assert len(set(promoted)) == len(promoted), "a version was promoted twice"


@settings(max_examples=40, deadline=None)
@given(promotions, steps)
def test_nobody_stands_beside_the_champion_for_nothing_and_every_case_comes_to_an_end(promotion, said):
    story = Story(promotion)
    for happening in OPENING:
        story.go_on(happening, True, True)
    for each in said:
        story.go_on(*each)
    for _ in range(QUIET):
        story.go_on("nothing", True, True)
    case, serves = story.case, story.champion
    assert case is None or case.state.value not in ("open", "watching"), "a case has no end"
    assert (serves.shadow, serves.state in ("stable", "rolled-back")) == (None, True)
