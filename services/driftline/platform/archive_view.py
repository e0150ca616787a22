"""The archive as SQL: views that apply the ledger's rules, so that a query counts what the monitor counted.

* `records`: every archived record once.
* `valid_outcomes`, `predictions`, `outcomes`, `labelled`, `repeats`: see `VIEWS`. Each also exists as a table macro
  `..._by(known_by)` over what had arrived before an instant.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from driftline.events.topics import Topic
from driftline.platform.archive_files import ARCHIVED, NO_ROWS

EVER = 2**63 - 1
"""Later than every arrival."""

VIEWS = {
    # valid predictions with their arrival slice; `first_slice` is that of the first one of the same id and version
    "ranked_predictions": """
        SELECT r.*, s.kept, r.arrival // {slice_ms} AS slice,
            first_value(r.arrival // {slice_ms}) OVER same AS first_slice,
            row_number() OVER same AS nth
        FROM predictions_read r JOIN kept_slices s ON s.model = r.model
        ANTI JOIN dead d ON d.id = concat_ws('/', 'predictions', r."partition", r."offset", r."row")
        WHERE r.digest IS NOT NULL AND r.arrival < known_by
        WINDOW same AS (PARTITION BY r."partition", r.model, r.id, r.version ORDER BY r."offset", r."row")""",
    # every valid prediction, and whether it counts: the first of its id and version does, and so does one that comes
    # when the ledger has forgotten the one counted before it
    "judged_predictions": """
        WITH RECURSIVE ranked AS (FROM ranked_predictions_by(known_by)),
        late AS (FROM ranked WHERE slice - first_slice >= kept),
        again AS (
            SELECT "partition", model, id, version, first_slice AS slice, NULL::BIGINT AS "offset", NULL::INT AS "row"
            FROM (SELECT DISTINCT "partition", model, id, version, first_slice FROM late)
            UNION ALL
            SELECT l."partition", l.model, l.id, l.version, l.slice, l."offset", l."row"
            FROM again a JOIN late l USING ("partition", model, id, version)
            WHERE l.slice - a.slice >= l.kept
            QUALIFY row_number() OVER (
                PARTITION BY l."partition", l.model, l.id, l.version ORDER BY l."offset", l."row") = 1
        )
        SELECT ranked.* EXCLUDE (first_slice, nth), nth = 1 OR again."offset" IS NOT NULL AS counts
        FROM ranked LEFT JOIN again USING ("partition", model, id, version, "offset", "row")""",
    # the predictions that count, one a model, id and version
    "predictions": "SELECT * EXCLUDE counts FROM judged_predictions_by(known_by) WHERE counts",
    # outcomes without mistakes, repeats included: a repeat is remembered longer than what it repeats
    "valid_outcomes": """
        SELECT r.*, s.kept, r.arrival // {slice_ms} AS slice
        FROM outcomes_read r JOIN kept_slices s ON s.model = r.model
        ANTI JOIN dead d ON d.id = concat_ws('/', 'outcomes', r."partition", r."offset", r."row")
        WHERE r.digest IS NOT NULL AND r.arrival < known_by""",
    # what was said about an id, each different statement once
    "outcomes": """
        SELECT * FROM valid_outcomes_by(known_by)
        QUALIFY row_number() OVER (
            PARTITION BY "partition", model, id, digest ORDER BY "offset", "row") = 1""",
    # each prediction that has an outcome, with the one that holds: the greatest (time, offset) within reach
    "labelled": """
        SELECT p.* EXCLUDE kept, o.time AS outcome_time, o.arrival AS outcome_arrival, o.digest AS outcome_digest,
            o."offset" AS outcome_offset, o.value AS outcome_value
        FROM predictions_by(known_by) p JOIN valid_outcomes_by(known_by) o USING ("partition", model, id)
        WHERE abs(p.slice - o.slice) < p.kept
        QUALIFY row_number() OVER (
            PARTITION BY p."partition", p."offset", p."row" ORDER BY o.time DESC, o."offset" DESC, o."row" DESC) = 1""",
    # how many predictions did not count, by model and version: exact repeats and contradictions
    "repeats": """
        WITH compared AS (
            SELECT *, last_value(CASE WHEN counts THEN digest END IGNORE NULLS) OVER (
                PARTITION BY "partition", model, id, version ORDER BY "offset", "row"
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS counted_digest
            FROM judged_predictions_by(known_by)
        )
        SELECT model, version, count(*) FILTER (digest = counted_digest) AS duplicates,
            count(*) FILTER (digest <> counted_digest) AS conflicts
        FROM compared WHERE NOT counts GROUP BY ALL""",
}
"""The views in the order in which they build on each other. `known_by` is the macro's parameter."""


def connect_views(
    archive: Path,
    slice_ms: int,
    kept: Mapping[str, int],
    files: Mapping[Topic, Sequence[Path]] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection with the views over all of the archive, or over just `files` of the topics named there.

    `kept`: for how many slices the ledger remembers, by model; predictions and outcomes of other models are not valid.
    """
    connection = duckdb.connect()
    for topic in ARCHIVED:
        connection.execute(f'CREATE VIEW "{topic}_read" AS {_read(archive, topic, (files or {}).get(topic))}')
    every = " UNION ALL ".join(f'FROM "{topic}_read"' for topic in ARCHIVED)
    connection.execute(f"CREATE VIEW records AS {every}")
    connection.execute("CREATE TABLE kept_slices (model VARCHAR, kept BIGINT)")
    if kept:
        connection.executemany("INSERT INTO kept_slices VALUES (?, ?)", list(kept.items()))
    connection.execute('CREATE VIEW dead AS SELECT DISTINCT id FROM "dead-letters_read"')
    for name, query in VIEWS.items():
        connection.execute(f"CREATE MACRO {name}_by(known_by) AS TABLE {query.format(slice_ms=slice_ms)}")
        connection.execute(f"CREATE VIEW {name} AS FROM {name}_by({EVER})")
    return connection


def records_of(archive: Path, topic: Topic) -> pa.Table:
    """All records of one (small) topic, each once, in the order of its partitions."""
    with duckdb.connect() as connection:
        ordered = f'FROM ({_read(archive, topic, None)}) ORDER BY "partition", "offset", "row"'
        return connection.sql(ordered).to_arrow_table()


def _read(archive: Path, topic: Topic, files: Sequence[Path] | None) -> str:
    """A topic's rows, each once. Of an archive without this topic: none."""
    if not (archive / topic / NO_ROWS).exists():
        return _NOTHING
    if files is None:
        paths = [f"{glob.escape(str(archive / topic))}/**/*.parquet"]
    else:
        paths = [glob.escape(str(path)) for path in (archive / topic / NO_ROWS, *files)]
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    rows = f"FROM read_parquet([{listed}], hive_partitioning = false)"
    return f'{rows} SELECT DISTINCT ON ("partition", "offset", "row") *'


_NOTHING = """SELECT NULL::VARCHAR AS topic, NULL::INT AS "partition", NULL::BIGINT AS "offset", NULL::INT AS "row",
    NULL::BIGINT AS arrival, NULL::BIGINT AS timestamp, NULL::VARCHAR AS key, NULL::VARCHAR AS model,
    NULL::VARCHAR AS id, NULL::VARCHAR AS version, NULL::VARCHAR AS role, NULL::BIGINT AS time,
    NULL::UBIGINT AS digest, NULL::VARCHAR AS value, NULL::VARCHAR AS headers WHERE false"""
