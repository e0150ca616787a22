"""Parameter types of the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from driftline.spec.durations import parse_duration


class Duration(click.ParamType):
    """A click parameter that is a duration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or fail as click does."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
