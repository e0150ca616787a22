"""A view of what people have declared: the deployment, spec revisions, baselines. Read whole, then refreshed on a miss."""

from __future__ import annotations

from driftline.events.admin import Deployment
from driftline.events.baselines import Baseline
from driftline.platform.settings import Settings
from driftline.spec.model import MonitorSpec


class Catalog:
    """Topics `specs` and `baselines` in memory. Both only grow, so what was found stays true."""

    deployment: Deployment
    specs: dict[tuple[str, int], MonitorSpec]
    baselines: dict[str, Baseline]
    """By the baseline's id."""
    baseline_of: dict[tuple[str, str], Baseline]
    """By (model, version)."""

    def __init__(self, settings: Settings) -> None: ...

    async def start(self) -> None:
        """Read both topics to their ends. Raises `DeploymentError` where there is no deployment record."""

    async def refresh(self) -> None:
        """Read on to the present ends."""

    async def stop(self) -> None:
        """Close the connections."""
