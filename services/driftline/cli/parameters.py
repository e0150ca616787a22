"""Parameter types of the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from driftline.spec.durations import parse_duration


class Duration(click.ParamType):
    """A click parameter that is a duration longer than zero."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or fail as click does."""
        if isinstance(value, timedelta):
            return value
        try:
            length = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not length:
            self.fail(f"{value} is no length of time; it must be longer than zero", param, ctx)
        return length
