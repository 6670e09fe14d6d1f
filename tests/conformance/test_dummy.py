"""The dummy passes the conformance kit."""

from __future__ import annotations

import pytest

from cti_dummy import DummyCtiProvider
from cti_framework.testing.conformance import ProviderBench, ProviderConformance


class TestDummy(ProviderConformance):
    @pytest.fixture
    def bench(self) -> ProviderBench:
        return ProviderBench(DummyCtiProvider, refused={"dummy.number": "999"})
