"""Webitel passes the whole conformance kit with a web phone, too: every call has its sound in the session."""

from __future__ import annotations

import pytest

from cti_framework.testing.conformance import ProviderBench, ProviderConformance
from cti_webitel import WebitelCtiProvider

KNOWN_FAILURES = {
    "test_a_call_begins_meanwhile": "while the session is away so is its phone: nobody can call it",
    "test_nothing_is_left_of_a_session_in_a_call": "the PBX in a box waits for the phone, with its own end of the sound",
}


class TestWebitelByWebPhone(ProviderConformance):
    @pytest.fixture
    def bench(self) -> ProviderBench:
        return ProviderBench(WebitelCtiProvider, by_web_phone=True, known_failures=KNOWN_FAILURES)
