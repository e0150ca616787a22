"""What the ledger promises, one event at a time."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from driftline.core.arrivals import Fate, Observed, Predicted
from driftline.core.ledger import Ledger
from driftline.core.series import SeriesTable

KEPT = 100


class Book:
    """A ledger of one model, fed one event at a time; `joined` collects (version, truth, sign)."""

    def __init__(self, *, labels=True):
        self.table = SeriesTable()
        self.ledger = Ledger(self.table, labels=labels)
        self.joined = []

    def predict(self, name="a", at=0, version="1", digest=1, answer=0.7, model="m"):
        low, high = key(name)
        series = self.table.predictions_of(model, version, KEPT, 1)
        row = (low, high, series, at, at + KEPT, at, False, answer, 1, digest, [int(digest % 250)])
        applied = self._apply([row], [])
        return Fate(int(applied.predicted[0]))

    def outcome(self, name="a", at=0, time=0, truth=1, model="m"):
        low, high = key(name)
        series = self.table.outcomes_of(model, KEPT)
        applied = self._apply([], [(low, high, series, at, at + KEPT, time, truth)])
        return Fate(int(applied.observed[0]))

    def _apply(self, predicted, observed):
        u64, u32, i64 = np.uint64, np.uint32, np.int64
        first = columns(Predicted, predicted, (u64, u64, u32, i64, i64, i64, bool, float, np.uint8, u64, np.uint8))
        second = columns(Observed, observed, (u64, u64, u32, i64, i64, i64, float))
        applied = self.ledger.apply(first, second)
        j = applied.joined
        for series, truth, sign in zip(j.series.tolist(), j.truth.tolist(), j.sign.tolist(), strict=True):
            self.joined.append((self.table[series].version, truth, sign))
        return applied


def columns(kind, rows, types):
    return kind(*(np.array([row[i] for row in rows], t) for i, t in enumerate(types)))


def key(name):
    return np.frombuffer(xxhash.xxh3_128_digest(name.encode()), np.uint64).tolist()


@pytest.fixture
def book():
    return Book()


def test_an_exact_repeat_is_a_duplicate_and_a_different_one_a_conflict(book):
    assert book.predict() is Fate.COUNTED
    assert book.predict(at=3) is Fate.DUPLICATE
    assert book.predict(at=3, digest=2) is Fate.CONFLICT


def test_outcome_before_its_prediction_is_joined_once(book):
    book.outcome()
    assert book.joined == []
    book.predict(at=5)
    book.predict(at=6)
    assert book.joined == [("1", 1, 1)]


def test_one_outcome_scores_every_version_that_predicted_the_id(book):
    book.predict()
    book.predict(version="2")
    book.outcome(at=1)
    book.predict(version="3", at=2)
    assert sorted(book.joined) == [("1", 1, 1), ("2", 1, 1), ("3", 1, 1)]


def test_the_same_id_of_two_models_is_two_predictions(book):
    assert (book.predict(), book.predict(model="n")) == (Fate.COUNTED, Fate.COUNTED)
    book.outcome(model="n")
    assert len(book.joined) == 1


def test_a_corrected_outcome_takes_the_old_one_back(book):
    book.predict()
    book.outcome(at=1, time=10, truth=0)
    assert book.outcome(at=2, time=20, truth=1) is Fate.CORRECTION
    assert book.joined == [("1", 0, 1), ("1", 0, -1), ("1", 1, 1)]


def test_an_older_outcome_changes_nothing_and_neither_does_the_same_again(book):
    book.predict()
    book.outcome(at=1, time=10)
    assert book.outcome(at=2, time=5, truth=0) is Fate.SUPERSEDED
    assert book.outcome(at=3, time=10) is Fate.DUPLICATE
    assert book.joined == [("1", 1, 1)]


@pytest.mark.parametrize(("at", "met"), [(KEPT - 1, 1), (KEPT, 0)])
def test_what_is_not_known_any_more_does_not_meet(book, at, met):
    book.predict()
    book.outcome(at=at)
    assert len(book.joined) == met


def test_an_outcome_that_came_late_outlives_its_prediction(book):
    book.predict()
    book.outcome(at=90)
    book.ledger.forget(120)
    book.predict(version="2", at=150)
    assert [version for version, _, _ in book.joined] == ["1", "2"]


def test_forgetting_frees_rows_and_counts_outcomes_that_never_met_a_prediction(book):
    book.outcome("a")
    book.outcome("b")
    book.predict("b", at=1)
    assert book.ledger.forget(KEPT - 1) == []
    ((_, series),) = book.ledger.forget(2 * KEPT)
    assert [book.table[int(code)].model for code in series] == ["m"]
    assert len(book.ledger) == 0
    assert book.ledger.take_changes().forget != []


def test_freed_rows_are_used_again(book):
    for round_ in range(20):
        for i in range(50):
            book.predict(f"{round_}/{i}", at=round_ * KEPT)
        book.ledger.forget((round_ + 1) * KEPT + KEPT // 16)
        book.ledger.take_changes()
    assert book.ledger.rows.size_bytes < 300 * book.ledger.rows.row_bytes  # a page of rows


def test_beyond_its_limit_a_model_forgets_its_oldest_slices_and_no_other_does(book):
    for i in range(64):
        book.predict(f"p{i}", at=i)
        book.predict(f"q{i}", at=i, model="n")
    code = book.table.outcomes_of("m", KEPT)
    assert book.ledger.forget_oldest(code, 64) == 0
    assert book.ledger.forget_oldest(code, 32) == 64 - 30
    book.outcome("p33", at=63)
    book.outcome("p34", at=63)
    book.outcome("q0", at=63, model="n")
    assert len(book.joined) == 2
    assert len(book.ledger) == 30 + 64 + 1


def test_the_newest_slice_is_never_forgotten_early(book):
    for i in range(40):
        book.predict(f"p{i}", at=7)
    assert book.ledger.forget_oldest(book.table.outcomes_of("m", KEPT), 8) == 0


def test_numbers_are_kept_as_they_came():
    book = Book(labels=False)
    book.predict(answer=0.1 + 0.2)
    book.outcome(at=1, truth=1e150)
    assert book.joined == [("1", 1e150, 1)]
    assert float(book.ledger.rows.answer[0]) == 0.1 + 0.2
