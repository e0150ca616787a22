"""Logging of the workers: one line an event, to standard error, where the supervisor keeps it."""

from __future__ import annotations

import logging
import os
import time


def setup_logging() -> None:
    """Log at `DRIFTLINE_LOG_LEVEL` (default INFO), in UTC; the client libraries only from WARNING on.

    kafka-python's selector warns whenever the machine, or an import, held up one of its steps for a tenth of a second.
    """
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("driftline").setLevel(os.environ.get("DRIFTLINE_LOG_LEVEL", "INFO").upper())
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
