"""Marked secrets go through everything that a host does, and come out nowhere; without redaction the log is full of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from cti_framework.redaction import SecretRedactor
from tests.canary.canary import Canary
from tests.canary.scenarios import PIN, SPOKEN, all_scenarios, blocking_scenario, marked_simulator, unknown_secrets

_MEANT = {
    # A plugin's own words stand in Python's own traceback of the plugin's own error.
    "tracebacks": {SPOKEN},
    # What went over the wire can be replayed, and what was told can be compared: numbers and tones stay.
    "recorder": {PIN},
    ".zip: frames.jsonl": {PIN},
    ".zip: events.jsonl": {PIN},
}


class KnowsAll(SecretRedactor):
    """The redactor of a host that registers each secret as soon as there is one."""

    def __init__(self, canary: Canary) -> None:
        super().__init__(max_characters=10_000_000, max_values=1_000_000, max_depth=40)
        self._canary = canary
        self._known: set[str] = set()

    def __call__(self, logger: object, method_name: str, event_dict: object) -> object:  # type: ignore[override]
        for secret in self._canary.secrets.values():
            if secret not in self._known:
                self._known.add(secret)
                self.register(secret)
        return super().__call__(logger, method_name, event_dict)  # type: ignore[arg-type]


def quiet(canary: Canary) -> dict[str, set[str]]:
    """What came out where it may not."""
    found = {place: names - _MEANT.get(place, set()) for place, names in canary.found().items()}
    return {place: names for place, names in found.items() if names}


@pytest.mark.anyio
async def test_nothing_comes_out(tmp_path: Path) -> None:
    canary = Canary()
    with canary.logged(KnowsAll(canary)):
        await all_scenarios(canary, tmp_path)
    assert quiet(canary) == {}, canary.explain()


@pytest.mark.anyio
async def test_without_redaction_the_log_has_them_and_nothing_else_does(tmp_path: Path) -> None:
    canary = Canary()
    with canary.logged(None):
        await all_scenarios(canary, tmp_path)
    found = quiet(canary)
    assert found.pop("log") == set(canary.secrets)
    assert found == {}, canary.explain()


def test_what_nobody_registered_is_known_by_its_name_and_form() -> None:
    canary = Canary()
    with canary.logged(SecretRedactor()):
        unknown_secrets(canary)
    assert canary.found() == {}, canary.explain()


def test_without_redaction_what_nobody_registered_is_in_the_log() -> None:
    canary = Canary()
    with canary.logged(None):
        unknown_secrets(canary)
    assert canary.found() == {"log": set(canary.secrets)}


@pytest.mark.parametrize("redacted", [True, False])
def test_a_host_without_an_event_loop(tmp_path: Path, redacted: bool) -> None:
    canary = Canary()
    with (
        canary.logged(KnowsAll(canary) if redacted else None),
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(marked_simulator(canary)) as marked,
    ):
        blocking_scenario(canary, marked)
    found = quiet(canary)
    log = found.pop("log", set())
    assert found == {}, canary.explain()
    assert log == (set() if redacted else {"password", "wrong password", SPOKEN}), canary.explain()
