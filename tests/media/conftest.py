"""What the tests of media run under: asyncio, except where a module says that it needs no aiortc."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """aiortc is asyncio's; the modules that do without it ask for both loops themselves."""
    return "asyncio"
