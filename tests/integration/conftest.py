"""What the tests of the whole loop share, because it takes a minute or two."""

from __future__ import annotations

import pytest
from tests.flights_loop import Loop, run_loop


@pytest.fixture(scope="session")
def loop(servers, own_servers, tmp_path_factory) -> Loop:
    """The recorded loop."""
    return run_loop(servers, own_servers, tmp_path_factory.mktemp("loop"))
