"""The provider keeps the contract: the conformance kit of cti-framework says so."""

from __future__ import annotations

import pytest
from cti_framework.testing.conformance import ProviderBench, ProviderConformance

from cti_esl import EslCtiProvider


def esl_bench() -> ProviderBench:
    return ProviderBench(EslCtiProvider, name="esl")


class TestConformance(ProviderConformance):
    @pytest.fixture
    def bench(self) -> ProviderBench:
        return esl_bench()
