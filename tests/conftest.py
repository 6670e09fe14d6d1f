"""What every test runs under: both event loops, and hypothesis profiles."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("default", deadline=None, max_examples=60, derandomize="CTI_CI" in os.environ)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2_000, stateful_step_count=100)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has its jobs in the background ignore ^C, and their children would, too: tests press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of a test marked ``anyio``: each runs on both, because a host may bring either."""
    backend: str = request.param
    return backend
