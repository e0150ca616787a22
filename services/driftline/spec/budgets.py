"""Reading budgets of false alarms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

import msgspec

from driftline.spec.detectors import MAIN
from driftline.spec.durations import parse_budget
from driftline.spec.metrics import higher_is_better
from driftline.spec.model import BaselineSpec, FalseAlarms, RuleSpec, WindowSpec
from driftline.spec.yaml_nodes import Node

BUDGET = "false_alarms"


def read_budget(node: Node) -> FalseAlarms | None:
    """`1 per 30d`; None where it is a mistake."""
    alarms, per = node.parsed(_parse, (0, timedelta(0)))
    return FalseAlarms(alarms=float(alarms), per=per) if alarms else None


def _parse(text: str) -> tuple[int, timedelta]:
    try:
        alarms, per = parse_budget(text)
    except ValueError as error:
        raise ValueError(f"{error}".replace("`8 per 60d`", "`1 per 30d`")) from error
    if not alarms:
        raise ValueError(f"{text!r}: a rule that never fires for nothing never fires; write for example `1 per 365d`")
    return alarms, per


def share(whole: FalseAlarms | None, rules: Iterable[RuleSpec]) -> tuple[RuleSpec, ...]:
    """The rules, those that took over the budget of the whole model with an equal share each."""
    rules = tuple(rules)
    sharing = sum(rule.false_alarms is whole for rule in rules)
    if whole is None or not sharing:
        return rules
    each = FalseAlarms(alarms=whole.alarms / sharing, per=whole.per)
    return tuple(
        msgspec.structs.replace(rule, false_alarms=each) if rule.false_alarms is whole else rule for rule in rules
    )


def detector_budget(
    fields: Mapping[str, Node], detector: str, params: Mapping[str, float], whole: FalseAlarms | None
) -> FalseAlarms | None:
    """The budget of a detector: its own, or a share in that of the whole model for a preset that is left as it is."""
    main = MAIN.get(detector)
    if BUDGET not in fields:
        return whole if main is not None and main not in params else None
    if main is None:
        fields[BUDGET].mistake(f"`{BUDGET}` is for {', '.join(MAIN)}: others take the `params` that you give them")
    elif main in params:
        fields["params"].mistake(f"`{main}` follows from `{BUDGET}`: write one of the two")
    return read_budget(fields[BUDGET])


def unfit(kind: str, target: str, window: WindowSpec | None, baseline: BaselineSpec) -> str | None:
    """Why a rule's threshold cannot be calibrated."""
    if kind == "data":
        return f"a share of values has no `{BUDGET}`: write `above`"
    if baseline.kind != "first":
        why = "the reference rows have no time" if baseline.kind == "training" else "this baseline moves on with time"
        return (
            f"`{BUDGET}` is calibrated by replaying time that is known to be without a fault, and {why}: write "
            "`baseline: {first: 28d}` at the top, for the model's own first days"
        )
    if kind == "detector":
        return None
    if window is not None and window.events is not None:
        return f"`{BUDGET}` needs a window that ends at fixed times, without `events`"
    if kind != "drift" and target and higher_is_better(target) is None:
        return f"neither end of `{target}` is bad, so no threshold follows from `{BUDGET}`: write `above` or `below`"
    return None
