"""The plug-in for Python: a function, named in the spec as `trainer: package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driftline.client.training import Trained, TrainingData
from driftline.errors import DriftlineError
from driftline.trainer.job import Plugin


def function_plugin(name: str) -> Plugin:
    """Calls the function that `package.module:function` names. Raises `DriftlineError` where there is none."""
    function = _function_named(name)

    def make(_directory: Path, data: TrainingData) -> Trained:
        trained = function(data)
        if not isinstance(trained, Trained):
            raise DriftlineError(f"{name} returned {type(trained).__name__}, not driftline.client.training.Trained")
        return trained

    return make


def _function_named(name: str) -> Callable[[TrainingData], Any]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DriftlineError(
            f"no training function {name!r} ({error}); the trainer finds it from where it was started, or by PYTHONPATH"
        ) from error
    if not callable(function):
        raise DriftlineError(f"{name} is no function")
    found: Callable[[TrainingData], Any] = function
    return found
