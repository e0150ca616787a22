"""Bringing in the first champion of a model: artifact, baseline, marks, command."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from driftline.core.baseline import make_baseline
from driftline.core.columns import scores_of
from driftline.errors import DriftlineError
from driftline.events.admin import Command
from driftline.events.base import Millis, digest_id
from driftline.events.inputs import Value
from driftline.platform.artifacts import Manifest, StoredModel, store
from driftline.platform.declare import declare_baseline, send_command
from driftline.platform.kafka import read_deployment
from driftline.platform.kept_rows import ABOUT, ROWS, KeptRows, pack_rows
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec

ID, TIME, OUTCOME = ABOUT
"""Columns of reference rows that are no features: which prediction it was, when, and what came true."""


def manifest_of(spec: MonitorSpec, version: str) -> Manifest:
    """What an artifact of this model says of itself; its checksums come when it is stored."""
    return Manifest(
        model=spec.model,
        version=version,
        task=spec.task,
        labels=spec.labels,
        positive=spec.positive,
        features={name: feature.type for name, feature in spec.features.items()},
    )


def read_reference(spec: MonitorSpec, path: Path) -> dict[str, list[Any]]:
    """The columns of the spec's features in a Parquet or CSV file, and attributes, `id`, `time` (as epoch ms) and
    `outcome` if they are there.

    Raises `DriftlineError` naming what is missing.
    """
    try:
        relation = duckdb.read_csv(str(path)) if path.suffix == ".csv" else duckdb.read_parquet(str(path))
    except duckdb.Error as error:
        raise DriftlineError(f"{path} cannot be read as {path.suffix or 'Parquet'}: {error}") from error
    missing = [name for name in spec.features if name not in relation.columns]
    if missing:
        raise DriftlineError(f"{path} has no column {', '.join(missing)}; it needs one for each feature of the spec")
    table = relation.to_arrow_table()
    attributes = {cut.name for way in spec.segments for cut in way.cuts if cut.source == "attribute"}
    named = [*spec.features, *sorted(({*ABOUT} | attributes) & set(table.column_names) - spec.features.keys())]
    found = {name: table.column(name).to_pylist() for name in named}
    if TIME in found and TIME not in spec.features:
        found[TIME] = [_millis(path, value) for value in found[TIME]]
    return found


def register(
    settings: Settings,
    spec: MonitorSpec,
    version: str,
    estimator: Any,
    reference: Mapping[str, Sequence[Value]],
    author: str,
) -> Command:
    """Store the model, declare its baseline, and ask control to make it the champion; returns the command.

    `reference` has one column a feature: rows such as those the model was made from, which it scores here. With a
    column `outcome` these must be rows that it was not made from: what its scores mean and how often it errs is learnt
    from them. The rows are kept with the artifact, with their `id` and `time` (epoch ms) where these are given.
    """
    manifest = manifest_of(spec, version)
    names = list(manifest.features)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(reference[name] for name in names), strict=True)]
    answers = StoredModel(manifest, estimator, None).answers(rows)
    predictions = [label for label, _ in answers]
    columns = {name: values for name, values in reference.items() if name not in ABOUT or name in names}
    about: dict[str, Sequence[Any]] = {name: reference.get(name, ()) if name not in names else () for name in ABOUT}
    baseline = make_baseline(
        spec,
        columns,
        scores_of(spec, [score for _, score in answers]),
        predictions,
        version,
        f"reference of {author}",
        about[OUTCOME],
    )
    unknown = [None] * len(rows)
    ids = [None if value is None else str(value) for value in about[ID]]
    kept = KeptRows(ids or unknown, about[TIME] or unknown, about[OUTCOME] or unknown, reference)
    artifact = store(settings, manifest, estimator, baseline, {ROWS: pack_rows(spec, kept)})
    deployment = read_deployment(settings)
    declare_baseline(settings, deployment, baseline)
    now = int(time.time() * 1000)
    command = Command(
        id=digest_id("register", spec.model, version, artifact.sha256, now),
        model=spec.model,
        action="register",
        author=author,
        written_at=now,
        version=version,
        artifact=artifact,
        baseline=baseline.id,
    )
    send_command(settings, deployment, command)
    return command


def _millis(path: Path, value: object) -> Millis | None:
    if isinstance(value, datetime):
        return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if value is None or isinstance(value, int):
        return value
    raise DriftlineError(f"column {TIME} of {path} holds {value!r}, neither a timestamp nor milliseconds since 1970")
