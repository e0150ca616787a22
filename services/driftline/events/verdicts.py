"""What a verdict rests on beside its metrics."""

from __future__ import annotations

from typing import Literal

import msgspec


class PairedTest(msgspec.Struct, frozen=True, kw_only=True):
    """A test that takes rows for independent: it is shown and decides nothing.

    `difference` is the candidate's gain: in accuracy (`mcnemar`), in AUC (`delong`); `statistic` is z.
    """

    name: Literal["mcnemar", "delong"]
    difference: float
    statistic: float
    p_value: float


class NotWorse(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that may not get worse by `margin`: `holds` if the lower bound of its gain is above minus that."""

    name: str
    margin: float
    difference: float | None
    low: float | None
    holds: bool


class SegmentGain(msgspec.Struct, frozen=True, kw_only=True):
    """The gain in the promotion metric within one segment, which `vetoes` if it is certainly a loss of `worse_by`.

    `high` bounds the gain from above, one-sided, at a confidence that is shared among all segments looked at. Without
    a difference it was not looked at: it has too few rows or blocks, or the metric is not defined there.
    """

    segment: str
    n: int
    champion: float | None = None
    candidate: float | None = None
    difference: float | None = None
    high: float | None = None
    vetoes: bool = False


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Median time of an answer to one row, in the gate. Without the champion's, `ratio` is null and nothing judged."""

    champion_ms: float | None
    candidate_ms: float
    ratio: float | None
    limit: float | None


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the candidate's artifact takes, without the rows that are kept with it."""

    size_bytes: int
    limit: int | None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was said of a model, found again. `holds` is null where that could not be tried: see `detail`.

    * unseen: the candidate has not learnt from held-out rows, nor from later ones
    * rows: the rows kept with it are those that the trainer says it has learnt from
    * validation: the figures that the training function or command reports are those of its model: `found` lies within
      `[low, high]`, and without these is `told`
    * figure: the same for what the trainer itself found that the model scores on its rows
    * baseline: the champion's rows fall into its bins as its baseline says
    """

    of: Literal["candidate", "champion"]
    kind: Literal["unseen", "rows", "validation", "figure", "baseline"]
    holds: bool | None
    detail: str = ""
    name: str | None = None
    told: float | None = None
    low: float | None = None
    high: float | None = None
    found: float | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison was made from, so that it can be made again: a directory beside the candidate's artifact.

    `files`: name -> sha256. `answers`: SHA-256 over what `champion` and `candidate` said, row by row.
    """

    uri: str
    files: dict[str, str]
    answers: dict[str, str]
