"""Driftline watches machine-learning models in production.

`driftline.backtest` says what it would have said about files or data frames. Applications import `driftline.client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driftline.backtesting.notebook import backtest

__all__ = ["backtest"]


def __getattr__(name: str) -> Any:
    """`backtest` brings the whole engine with it, which an application that only publishes has no use for."""
    if name == "backtest":
        from driftline.backtesting.notebook import backtest

        return backtest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
