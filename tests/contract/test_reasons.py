"""Every named reason of a decision is named by a test: by its word, or by its member."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline.core.alerts import Change
from driftline.core.case_book import Call, Skipped, Why
from driftline.core.gate import Reason as Compared
from driftline.core.rules import Reason as Judged
from driftline.events.alerts import AlertKind
from driftline.events.retraining import AttemptState, CaseState

TESTS = Path(__file__).parents[1]
TEXT = "\n".join(
    path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__)
)  # what a test expects stands in it
KINDS = (Change, Call, Skipped, Why, Compared, Judged, AlertKind, AttemptState, CaseState)
REASONS = [(kind.__name__, member.name, member.value) for kind in KINDS for member in kind]


@pytest.mark.parametrize(("kind", "name", "word"), REASONS, ids=[f"{kind}-{name}" for kind, name, _ in REASONS])
def test_a_test_names_it(kind, name, word):
    named = f'"{word}"' in TEXT or f": {word}" in TEXT or f" {word}" in TEXT or f"-{word}" in TEXT
    assert named or f".{name}" in TEXT
