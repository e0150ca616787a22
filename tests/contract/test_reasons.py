"""Every named reason of a decision is what a test expects somewhere: a value there, not a word of a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path

import pytest

from driftline.core.alerts import Change
from driftline.core.case_book import Call, Skipped, Why
from driftline.core.chain import Flaw
from driftline.core.explaining import Fate
from driftline.core.gate import Reason as Compared
from driftline.core.rules import Reason as Judged
from driftline.errors import ArtifactFault
from driftline.events.alerts import AlertKind, AlertState
from driftline.events.retraining import AttemptState, CaseState
from driftline.events.slices import BreachReason, NoticeKind
from driftline.events.topics import DeadLetterReason

TESTS = Path(__file__).parents[1]
KINDS = (
    *(Change, Call, Skipped, Why, Compared, Judged, AlertKind, AttemptState, CaseState),
    *(BreachReason, NoticeKind, DeadLetterReason, ArtifactFault, Fate, Flaw),
    AlertState,
)
REASONS = [member for kind in KINDS for member in kind if member is not AlertState.INACTIVE]  # which is never told

STORY = re.compile(r"^\s*day [\d.]+ .*-> (.+)$", re.MULTILINE)
"""A line of `timeline.stories`: what comes of it is compared with what stands behind the arrow."""
ALERT = re.compile(r"\S+ (?:pending|firing|resolved) (\S+)(?: provisional)?")
"""As tests of control write an alert's change."""
CASE = re.compile(r"([a-z-]+): (?:attempt-\d+-)?([a-z-]+)")
"""As stories write that of a case."""


def expected(source: str) -> Iterator[str]:
    """The values that a module of tests asserts: strings, and members of enums as `module.Enum.MEMBER`.

    They stand in an `assert`, in what a test is parametrised by, in what a loop around asserts runs over, or behind the
    arrow of a story.
    """
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom():
                names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            case ast.Constant(value=str(text)):
                for told in STORY.findall(text):
                    yield from (word for part in told.split("; ") for word in _words(part))
            case ast.Assert():
                yield from _values(node, names)
            case ast.FunctionDef(decorator_list=decorators):
                yield from (value for each in decorators for value in _values(each, names))
            case ast.For() if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
                yield from _values(node.iter, names)


def _values(root: ast.AST, names: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(root):
        match node:
            case ast.Constant(value=str(text)):
                yield from _words(text)
            case ast.Constant(value=bytes(data)):
                yield from _words(data.decode(errors="replace"))
            case ast.Attribute(value=ast.Name(id=name), attr=member):
                yield f"{names.get(name, name)}.{member}"


def _words(text: str) -> Iterator[str]:
    yield text
    for pattern in (ALERT, CASE):
        if found := pattern.fullmatch(text):
            yield from found.groups()


@cache
def all_expected() -> frozenset[str]:
    modules = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    return frozenset(value for path in modules for value in expected(path.read_text()))


def name_of(member: StrEnum) -> str:
    return f"{type(member).__module__}.{type(member).__name__}.{member.name}"


@pytest.mark.parametrize("member", REASONS, ids=name_of)
def test_a_test_expects_it(member):
    assert {member.value, name_of(member)} & all_expected()


MODULE = '''
"""A test that names within and cleared."""
from driftline.core.rules import Reason as Judged

LOOSE = "undefined"

@pytest.mark.parametrize("reason", ["too-few-samples"])
def test_something(reason):
    """not-certain"""
    told = "no-baseline"
    assert told == "breach-certain", LOOSE
    assert summary == "it is within: cleared, and no-baseline"
    assert changes == ["auc firing breach-uncertain"]
    assert judged is Judged.TOO_LITTLE_COVERAGE
    assert other is Another.UNDEFINED
'''


def test_a_word_of_a_sentence_or_of_a_comment_is_not_expected():
    found = set(expected(MODULE))
    assert [reason.name for reason in Judged if {reason.value, name_of(reason)} & found] == [
        *("BREACH_CERTAIN", "BREACH_UNCERTAIN", "TOO_FEW_SAMPLES", "TOO_LITTLE_COVERAGE"),
    ]


def test_the_outcome_of_a_story_is_expected_and_its_happenings_are_not():
    story = "\n  day 3 candidate held -> open: attempt-1-failed; escalated: not-improved-in-time\n day 4 command -> -"
    found = set(expected(f'story("""{story}""")'))
    assert found >= {"open", "failed", "escalated", "not-improved-in-time"}
    assert not found & {"candidate", "held", "command"}
