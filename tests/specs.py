"""A spec that declares nothing, for tests that change what they are about."""

from __future__ import annotations

from datetime import timedelta

from driftline.spec.model import MonitorSpec, PromotionSpec


def bare_spec(**changes) -> MonitorSpec:
    """Model `m`, which answers "no" or "yes"."""
    fields = {
        "model": "m",
        "task": "binary",
        "labels": ("no", "yes"),
        "positive": "yes",
        "features": {},
        "outputs": {},
        "horizon": timedelta(days=2),
        "lateness": timedelta(0),
        "pane": timedelta(minutes=1),
        "max_ahead": timedelta(minutes=5),
        "windows": {},
        "metrics": (),
        "rules": (),
        "retrain": None,
        "promotion": PromotionSpec(metric="log_loss", min_effect=0),
        "retain_raw": timedelta(days=9),
    }
    return MonitorSpec(**fields | changes)
