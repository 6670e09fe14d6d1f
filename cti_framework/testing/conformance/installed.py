"""The kit for a provider that is installed, without a file of tests: ``cti conformance NAME`` has pytest run this module."""

from __future__ import annotations

import functools
import os
import time
from typing import Final

import pytest

from cti_framework.plugins import Plugins
from cti_framework.testing.conformance import BACKENDS, ProviderBench, ProviderConformance, Rule

__all__ = ["BACKENDS_VARIABLE", "PROVIDER_VARIABLE", "SECONDS_VARIABLE", "TIME_IS_UP", "TestInstalledProvider"]

PROVIDER_VARIABLE: Final = "CTI_CONFORMANCE_PROVIDER"
"""The environment variable that names the provider."""

BACKENDS_VARIABLE: Final = "CTI_CONFORMANCE_BACKENDS"
"""The one that names the event loops, with commas; without it, all."""

SECONDS_VARIABLE: Final = "CTI_CONFORMANCE_SECONDS"
"""The one that says for how long tests are begun; without it, for ever."""

TIME_IS_UP: Final = "the time is up"

_LIMIT_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 3.0
_ENDS_AT: Final = time.monotonic() + float(os.environ.get(SECONDS_VARIABLE, "inf"))


@functools.cache
def _bench() -> ProviderBench:
    plugins = Plugins()
    name = os.environ[PROVIDER_VARIABLE]
    provider_class = plugins.load_provider(name)
    record = plugins.find_provider(name)
    return ProviderBench(
        provider_class,
        name=name if record is None else record.name,
        patience_seconds=_PATIENCE_SECONDS,
        limit_seconds=_LIMIT_SECONDS,
    )


class TestInstalledProvider(ProviderConformance):
    """All profiles, for the provider that the environment names."""

    @pytest.fixture
    def bench(self) -> ProviderBench:
        """The provider.

        Returns:
            It, tested on its own simulator.
        """
        return _bench()

    @pytest.fixture(params=os.environ.get(BACKENDS_VARIABLE, ",".join(BACKENDS)).split(","))
    def backend(self, request: pytest.FixtureRequest) -> str:
        """The event loop of a test.

        Args:
            request: Pytest's.

        Returns:
            Its name.
        """
        name: str = request.param
        return name

    def judge(self, measured: Rule, bench: ProviderBench, backend: str) -> None:
        """Measure the provider by a rule, as long as there is time.

        Args:
            measured: The rule.
            bench: The provider.
            backend: The event loop.
        """
        __tracebackhide__ = True
        if time.monotonic() > _ENDS_AT:
            pytest.skip(TIME_IS_UP)
        super().judge(measured, bench, backend)
