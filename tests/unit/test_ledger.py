"""What the ledger promises, one event at a time."""

from __future__ import annotations

from driftline.core.ledger import Fate, Kept, Ledger, Truth

KEY = Ledger.key("a")
KEPT = 100


def ledger() -> Ledger:
    return Ledger(KEPT, Ledger.segment_size(KEPT))


def prediction(slice_number: int = 0, version: str = "1", digest: int = 1, value: float = 1.0) -> Kept:
    return Kept(slice_number, version, "champion", slice_number, value, 0.7, digest, None)


def truth(slice_number: int = 0, time: int = 0, value: float = 1.0, offset: int = 0) -> Truth:
    return Truth(slice_number, offset, time, value, hash((time, value)) & (2**63 - 1), False)


def test_an_exact_repeat_is_a_duplicate_and_a_different_one_a_conflict():
    book = ledger()
    assert book.predict(KEY, prediction())[0] is Fate.COUNTED
    assert book.predict(KEY, prediction(3))[0] is Fate.DUPLICATE
    assert book.predict(KEY, prediction(3, digest=2))[0] is Fate.CONFLICT


def test_outcome_before_its_prediction_is_joined_once():
    book = ledger()
    assert book.outcome(KEY, truth())[1] == []
    _, joined = book.predict(KEY, prediction(5))
    assert [(j.sign, j.truth.value) for j in joined] == [(1, 1.0)]
    assert book.predict(KEY, prediction(6))[1] == []


def test_one_outcome_scores_every_version_that_predicted_the_id():
    book = ledger()
    book.predict(KEY, prediction())
    book.predict(KEY, prediction(version="2"))
    assert sorted(j.prediction.version for j in book.outcome(KEY, truth(1))[1]) == ["1", "2"]


def test_a_corrected_outcome_takes_the_old_one_back():
    book = ledger()
    book.predict(KEY, prediction())
    book.outcome(KEY, truth(1, time=10, value=0.0))
    fate, joined = book.outcome(KEY, truth(2, time=20, value=1.0, offset=1))
    assert fate is Fate.CORRECTION
    assert [(j.sign, j.truth.value) for j in joined] == [(-1, 0.0), (1, 1.0)]


def test_an_older_outcome_changes_nothing_and_neither_does_the_same_again():
    book = ledger()
    book.predict(KEY, prediction())
    book.outcome(KEY, truth(1, time=10))
    assert book.outcome(KEY, truth(2, time=5, value=0.0)) == (Fate.SUPERSEDED, [])
    assert book.outcome(KEY, truth(3, time=10)) == (Fate.DUPLICATE, [])


def test_what_lies_kept_slices_apart_no_longer_meets():
    book = ledger()
    book.predict(KEY, prediction(0))
    assert len(book.outcome(KEY, truth(KEPT - 1))[1]) == 1
    book = ledger()
    book.predict(KEY, prediction(0))
    assert book.outcome(KEY, truth(KEPT))[1] == []


def test_forgetting_frees_memory_and_counts_outcomes_that_never_met_a_prediction():
    book = ledger()
    book.outcome(KEY, truth(0))
    book.outcome(Ledger.key("b"), truth(0))
    book.predict(Ledger.key("b"), prediction(1))
    assert book.forget(KEPT - 1) == 0
    assert book.forget(2 * KEPT) == 1
    assert len(book) == 0
    assert book.take_changes().forget != []
