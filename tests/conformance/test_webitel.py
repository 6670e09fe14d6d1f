"""Webitel passes the conformance kit, on its own simulator."""

from __future__ import annotations

import pytest

from cti_framework.testing.conformance import ProviderBench, ProviderConformance
from cti_webitel import WebitelCtiProvider


class TestWebitel(ProviderConformance):
    @pytest.fixture
    def bench(self) -> ProviderBench:
        return ProviderBench(WebitelCtiProvider)
