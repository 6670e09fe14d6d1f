"""The window of supported contracts, and the warning before something goes."""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType

import pytest
from structlog.testing import capture_logs

import cti_framework.plugins
from cti_framework.deprecation import CtiDeprecationWarning, Deprecation
from cti_framework.errors import PluginIncompatibleError
from cti_framework.plugins import Plugins, PluginStatus
from cti_framework.provider import PROVIDER_API, PROVIDER_API_DEPRECATED, PROVIDER_API_SUPPORTED, BaseCtiProvider
from tests.core.scripted import ScriptedProvider

SOON_GONE = Deprecation("0.2", "0.3", "implement endpoints().")


class ProviderOfOne(ScriptedProvider):
    provider_api = 1


def plugins() -> Plugins:
    return Plugins(entry_points=lambda: [EntryPoint("acme", f"{__name__}:ProviderOfOne", "cti_framework.providers")])


def next_framework(monkeypatch: pytest.MonkeyPatch, supported: range, deprecated: dict[int, Deprecation]) -> None:
    """Let this be a framework whose contract has grown."""
    monkeypatch.setattr(cti_framework.plugins, "PROVIDER_API_SUPPORTED", supported)
    monkeypatch.setattr(cti_framework.plugins, "PROVIDER_API_DEPRECATED", MappingProxyType(deprecated))


def test_the_window_is_sound() -> None:
    assert max(PROVIDER_API_SUPPORTED) == PROVIDER_API == BaseCtiProvider.provider_api
    assert set(PROVIDER_API_DEPRECATED) == set(PROVIDER_API_SUPPORTED) - {PROVIDER_API}


def test_the_window_is_written_down() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md").read_text(encoding="utf-8")
    contracts = page.partition("| `provider_api` | since | until |")[2].partition("\n\n")[0]
    for api in range(1, PROVIDER_API + 1):
        assert f"\n| {api} |" in contracts
    for api, deprecation in PROVIDER_API_DEPRECATED.items():
        assert f"| `provider_api = {api}` | {deprecation.since} | {deprecation.gone_in} |" in page


def test_of_today_s_contract_nobody_warns() -> None:
    with warnings.catch_warnings(), capture_logs() as logs:
        warnings.simplefilter("error")
        plugins().load_provider("acme")
    assert logs == []


def test_of_an_older_contract_it_works_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    next_framework(monkeypatch, range(1, 3), {1: SOON_GONE})
    found = plugins()
    with capture_logs() as logs, pytest.warns(CtiDeprecationWarning) as caught:
        assert found.load_provider("acme") is ProviderOfOne
    (warning,) = caught
    expected = (
        "Provider API 1, for which the provider 'acme' of an unnamed distribution (tests.core.test_deprecation:ProviderOfOne)"
        " is written, is deprecated since cti-framework 0.2 and gone in 0.3: implement endpoints()."
    )
    assert str(warning.message) == expected
    assert isinstance(warning.message, CtiDeprecationWarning)
    assert warning.message.deprecation is SOON_GONE
    (record,) = found.records()
    assert (record.status, record.error, record.warning, record.api) == (PluginStatus.LOADED, None, expected, 1)
    assert [(log["event"], log["log_level"], log["plugin"], log["warning"]) for log in logs] == [
        ("cti.plugin.deprecated", "warning", "acme", expected)
    ]
    # Said once: a thousand sessions use the class that is there.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.load_provider("acme")


def test_behind_the_window_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    next_framework(monkeypatch, range(2, 4), {2: SOON_GONE})
    found = plugins()
    with pytest.raises(PluginIncompatibleError) as caught:
        found.load_provider("acme")
    assert "is written for provider API 1; this cti-framework supports 2 to 3" in caught.value.message
    assert caught.value.remedy == "Upgrade the plugin: pip install --upgrade acme."
    assert found.records()[0].status is PluginStatus.INCOMPATIBLE
    assert found.records()[0].warning is None


def test_a_warning_is_of_whoever_uses_the_thing() -> None:
    def old() -> None:
        SOON_GONE.warn("old()", stacklevel=2)

    with pytest.warns(CtiDeprecationWarning, match=r"old\(\) is deprecated since cti-framework 0\.2") as caught:
        old()
    assert caught[0].filename == __file__
    assert caught[0].lineno == test_a_warning_is_of_whoever_uses_the_thing.__code__.co_firstlineno + 5
    assert issubclass(CtiDeprecationWarning, DeprecationWarning)
