"""The terms on which a rule is judged, as a decision carries them."""

from __future__ import annotations

from collections.abc import Iterable

from driftline.core.calibration import resolved
from driftline.events.alerts import Alert, Terms
from driftline.events.baselines import Calibration
from driftline.spec.model import MonitorSpec


def terms_of(alert: Alert, spec: MonitorSpec | None, calibrations: Iterable[Calibration]) -> Terms | None:
    """Of the rule behind an alert, with its calibrated threshold; None where no rule in force is.

    A range has its limits in the alert itself.
    """
    rule = next((rule for rule in spec.rules if rule.name == alert.rule), None) if spec is not None else None
    if rule is None or rule.kind == "range":
        return None
    if rule.false_alarms is not None:
        mine = (found for found in calibrations if (found.rule, found.version) == (rule.name, alert.version))
        rule = resolved(rule, found) if (found := next(mine, None)) is not None else rule
    return Terms(
        above=rule.above,
        below=rule.below,
        clear_above=rule.below if rule.clear_above is None else rule.clear_above,
        clear_below=rule.above if rule.clear_below is None else rule.clear_below,
        k=rule.k,
        of=rule.of,
        min_samples=rule.min_samples,
        min_coverage=rule.min_coverage,
        certain=rule.certain,
        critical=rule.critical,
        relative=rule.relative,
        quiet=rule.quiet,
        detector=rule.detector,
        params=rule.params,
    )
