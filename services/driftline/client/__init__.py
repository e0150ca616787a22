"""What applications import: publish predictions and outcomes, read alerts, follow a champion, replay history."""

from driftline.client.alerts import Alerts
from driftline.client.champion import Answer, Champion
from driftline.client.publishing import Outcomes, Predictions
from driftline.client.replay import Replay, Stretch, Wait, WaitReason
from driftline.events.alerts import Alert, AlertState
from driftline.events.columns import PredictionBatch
from driftline.events.inputs import Outcome, Prediction
from driftline.platform.outlet import Delivery

__all__ = [
    "Alert",
    "AlertState",
    "Alerts",
    "Answer",
    "Champion",
    "Delivery",
    "Outcome",
    "Outcomes",
    "Prediction",
    "PredictionBatch",
    "Predictions",
    "Replay",
    "Stretch",
    "Wait",
    "WaitReason",
]
