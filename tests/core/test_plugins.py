from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cti_framework.errors import (
    CtiError,
    PluginImportError,
    PluginIncompatibleError,
    ProviderDisabledError,
    ProviderDuplicateError,
    ProviderNotFoundError,
)
from cti_framework.events import RawMessage
from cti_framework.hooks import Hooks
from cti_framework.plugins import PluginKind, Plugins, PluginStatus, installed_entry_points
from cti_framework.provider import PROVIDER_API, PROVIDER_API_SUPPORTED

PROVIDERS = PluginKind.PROVIDER.group
COMPANIONS = PluginKind.COMPANION.group

PROVIDER = """
from cti_framework.provider import BaseCtiProvider

class Provider(BaseCtiProvider):
    async def run(self): ...
    async def snapshot(self): ...
    async def make_call(self, destination): ...
    async def drop_call(self, call): ...
"""
COMPANION = """
from cti_framework.hooks import hookimpl

class Journal:
    @hookimpl
    def cti_raw_message(self, event):
        print(event)
"""

Install = Callable[..., Path]

LET_GO = threading.Event()
"""What a module that hangs waits for."""


@pytest.fixture(autouse=True)
def fresh_log_configuration() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs distributions made of metadata and, where it says so, one module."""
    modules: set[str] = set()
    # The project's own plugins may or may not be installed here; these tests are about others.
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])

    def install(distribution: str, entries: dict[str, dict[str, str]], *, version: str = "1.0", **modules_: str) -> Path:
        folder = tmp_path / f"{distribution}-{version}-{len(list(tmp_path.iterdir()))}"
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = []
        for group, values in entries.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in values.items()), ""]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, text in modules_.items():
            (folder / f"{module}.py").write_text(text)
            modules.add(module)
        # Not syspath_prepend: its undoing would write the copy of sys.path made here into the real one.
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        return info

    yield install
    for module in modules:
        sys.modules.pop(module, None)
    importlib.invalidate_caches()


def statuses(plugins: Plugins) -> dict[str, PluginStatus]:
    return {f"{record.name} of {record.distribution}": record.status for record in plugins.records()}


def refused(plugins: Plugins, name: str, error_type: type[CtiError]) -> str:
    with pytest.raises(error_type) as caught:
        plugins.load_provider(name)
    return str(caught.value)


# Finding


def test_records_come_from_metadata_alone(install: Install) -> None:
    install("acme-cti", {PROVIDERS: {"Acme": "not_there.at_all:Provider"}, COMPANIONS: {"acme": "not_there"}}, version="2.1")
    install("other", {"console_scripts": {"x": "y:z"}, "cti_framework.future": {"x": "y:z"}})
    assert [record.as_dict() for record in Plugins().records()] == [
        {
            "name": "Acme",
            "kind": "provider",
            "distribution": "acme-cti",
            "version": "2.1",
            "value": "not_there.at_all:Provider",
            "api": None,
            "status": "available",
            "error": None,
            "warning": None,
        },
        {
            "name": "acme",
            "kind": "companion",
            "distribution": "acme-cti",
            "version": "2.1",
            "value": "not_there",
            "api": None,
            "status": "available",
            "error": None,
            "warning": None,
        },
    ]
    assert "not_there" not in sys.modules


def test_the_groups_are_those_of_the_documentation() -> None:
    assert PROVIDERS == "cti_framework.providers"
    assert COMPANIONS == "cti_framework.companions"


def test_disabled_plugins(install: Install) -> None:
    install("a", {PROVIDERS: {"acme": "acme:Provider", "other": "other:Provider"}, COMPANIONS: {"Journal": "journal"}})
    plugins = Plugins(disabled=["ACME", "jour-nal"])
    assert statuses(plugins) == {
        "acme of a": PluginStatus.DISABLED,
        "other of a": PluginStatus.AVAILABLE,
        "Journal of a": PluginStatus.DISABLED,
    }
    message = refused(plugins, "acme", ProviderDisabledError)
    assert "installed and switched off" in message
    assert "cti.disabled_plugins" in message


def test_two_distributions_under_one_name(install: Install) -> None:
    install("acme-cti", {PROVIDERS: {"acme": "acme_one:Provider"}}, version="1.0")
    install("better-acme", {PROVIDERS: {"Acme": "acme_two:Provider"}}, version="0.3")
    install("quiet", {PROVIDERS: {"quiet": "acme_quiet:Provider"}}, acme_quiet=PROVIDER)
    plugins = Plugins()
    assert statuses(plugins) == {
        "acme of acme-cti": PluginStatus.DUPLICATE,
        "Acme of better-acme": PluginStatus.DUPLICATE,
        "quiet of quiet": PluginStatus.AVAILABLE,
    }
    message = refused(plugins, "acme", ProviderDuplicateError)
    assert "acme-cti 1.0 (acme_one:Provider)" in message
    assert "better-acme 0.3 (acme_two:Provider)" in message
    assert plugins.load_provider("quiet").__name__ == "Provider"


def test_a_provider_and_a_companion_may_share_a_name(install: Install) -> None:
    install("a", {PROVIDERS: {"acme": "acme:Provider"}, COMPANIONS: {"acme": "acme:Journal"}})
    assert set(statuses(Plugins()).values()) == {PluginStatus.AVAILABLE}


def test_one_distribution_found_twice_is_no_duplicate(install: Install) -> None:
    for version in ("1.0", "2.0"):
        install("acme-cti", {PROVIDERS: {"acme": "acme:Provider"}}, version=version)
    (record,) = Plugins().records()
    assert record.status is PluginStatus.AVAILABLE
    # Python imports from the first folder of sys.path, so that is the version that counts.
    assert record.version == "2.0"


def test_two_distributions_with_the_same_module_are_duplicates(install: Install) -> None:
    for distribution in ("acme-cti", "acme-cti-fork"):
        install(distribution, {PROVIDERS: {"acme": "acme:Provider"}})
    message = refused(Plugins(), "acme", ProviderDuplicateError)
    assert "acme-cti 1.0" in message
    assert "acme-cti-fork 1.0" in message


def test_a_provider_is_found_without_loading_it(install: Install) -> None:
    install("a", {PROVIDERS: {"acme": "absent:Provider"}, COMPANIONS: {"journal": "absent:Journal"}})
    record = Plugins().find_provider("ACME")
    assert record is not None
    assert (record.name, record.status) == ("acme", PluginStatus.AVAILABLE)
    assert Plugins().find_provider("journal") is None


def test_the_same_from_another_source_is_no_duplicate() -> None:
    one = EntryPoint("acme", "acme:Provider", PROVIDERS)
    assert len(Plugins(entry_points=lambda: [one, one]).records()) == 1
    other = EntryPoint("acme", "other:Provider", PROVIDERS)
    (first, second) = Plugins(entry_points=lambda: [one, other]).records()
    assert first.status is second.status is PluginStatus.DUPLICATE
    assert first.distribution == ""
    assert "an unnamed distribution (acme:Provider) and an unnamed distribution (other:Provider)" in str(first.error)


@pytest.mark.parametrize("broken", ["[cti_framework.providers]\nno value\n", "[cti_framework.providers]\n\udcff", None])
def test_broken_metadata_hides_nobody_else(install: Install, broken: str | None) -> None:
    install("acme-cti", {PROVIDERS: {"acme": "acme:Provider"}})
    info = install("broken", {PROVIDERS: {"broken": "broken:Provider"}})
    if broken is None:
        (info / "METADATA").write_bytes(b"\xff\xfe\x00")
    else:
        (info / "entry_points.txt").write_bytes(broken.encode("utf-8", "surrogateescape"))
    with capture_logs():
        names = {record.name for record in Plugins().records()}
    assert "acme" in names


def test_what_is_installed_is_looked_for_once(install: Install) -> None:
    looked = []

    def entry_points() -> Iterator[EntryPoint]:
        looked.append(True)
        return installed_entry_points()

    plugins = Plugins(entry_points=entry_points)
    assert not looked
    plugins.records()
    plugins.load_companions(Hooks())
    refused(plugins, "x", ProviderNotFoundError)
    assert looked == [True]


# Loading a provider


@pytest.mark.parametrize("name", ["acme-pbx", "ACME_PBX", "AcmePbx", " acme pbx "])
def test_a_provider_is_found_by_name(install: Install, name: str) -> None:
    install("acme-cti", {PROVIDERS: {"acme_pbx": "acme_pbx_module:Provider", "z": "absent:Z"}}, acme_pbx_module=PROVIDER)
    plugins = Plugins()
    provider = plugins.load_provider(name)
    assert provider.__module__ == "acme_pbx_module"
    assert plugins.load_provider(name) is provider
    record = plugins.records()[0]
    assert (record.status, record.api) == (PluginStatus.LOADED, PROVIDER_API)
    assert plugins.records()[1].status is PluginStatus.AVAILABLE


def test_an_unknown_name(install: Install) -> None:
    assert "No provider is installed." in refused(Plugins(), "acme", ProviderNotFoundError)
    install("a", {PROVIDERS: {"acme": "acme:Provider", "other": "other:Provider"}, COMPANIONS: {"acne": "x"}})
    message = refused(Plugins(), "acne", ProviderNotFoundError)
    assert message == (
        "No installed plugin offers the provider 'acne'. Did you mean 'acme'? Installed: acme, other."
        " Correct cti.provider, or install what brings it, for example: pip install cti-framework-acne."
    )
    assert "pip install cti-framework-next-pbx." in refused(Plugins(), "Next_PBX", ProviderNotFoundError)


def test_the_install_hint_can_be_pasted(install: Install) -> None:
    assert refused(Plugins(), "x; rm -rf ~", ProviderNotFoundError).endswith("pip install cti-framework-<name>.")


@given(st.text(max_size=30))
def test_any_unknown_name_is_not_found(name: str) -> None:
    entry_point = EntryPoint("acme", "acme:Provider", PROVIDERS)
    if name.strip(" -_.").casefold() != "acme":
        refused(Plugins(entry_points=lambda: [entry_point]), name, ProviderNotFoundError)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('no library')", "RuntimeError: no library"),
        ("import module_that_is_absent", "ModuleNotFoundError: No module named 'module_that_is_absent'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "AttributeError"),
    ],
)
def test_an_import_that_fails(install: Install, source: str, told: str) -> None:
    install("acme-cti", {PROVIDERS: {"acme": "acme_broken:Provider"}}, acme_broken=source)
    install("quiet", {PROVIDERS: {"quiet": "acme_quiet:Provider"}}, acme_quiet=PROVIDER)
    plugins = Plugins()
    with pytest.raises(PluginImportError) as caught:
        plugins.load_provider("acme")
    assert told in str(caught.value)
    assert "acme-cti 1.0 (acme_broken:Provider)" in str(caught.value)
    assert caught.value.__cause__ is not None
    record = plugins.records()[0]
    assert record.status is PluginStatus.IMPORT_FAILED
    assert told in str(record.error)
    assert plugins.load_provider("quiet")


ODD = """
class Odd(type):
    def __getattribute__(self, name):
        raise RuntimeError(f"nobody looks at {name}")

class Provider(metaclass=Odd): ...
"""
"""A class that raises when it is looked at."""


def test_an_interrupt_is_no_failed_import(install: Install) -> None:
    install("acme-cti", {PROVIDERS: {"acme": "acme_interrupted:Provider"}}, acme_interrupted="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Plugins().load_provider("acme")


def test_an_interrupt_that_a_plugin_raises_itself_is_a_failed_import(install: Install) -> None:
    """Ctrl-C comes to the main thread alone; in another one it is the plugin's own doing, and stops nobody."""
    install("acme-cti", {PROVIDERS: {"acme": "acme_own:Provider"}}, acme_own="raise KeyboardInterrupt")
    install("odd-cti", {PROVIDERS: {"odd": "acme_odd:Provider"}}, acme_odd=ODD)
    install("quiet", {PROVIDERS: {"quiet": "acme_quiet:Provider"}}, acme_quiet=PROVIDER)
    plugins = Plugins()
    plugins.check(timeout_seconds=5)
    told = {record.name: (record.status, record.error) for record in plugins.records()}
    assert told["acme"] == (PluginStatus.IMPORT_FAILED, "KeyboardInterrupt")
    assert told["odd"] == (PluginStatus.IMPORT_FAILED, "RuntimeError: nobody looks at provider_api")
    assert told["quiet"] == (PluginStatus.LOADED, None)


def test_an_import_can_be_tried_again(install: Install) -> None:
    info = install("acme-cti", {PROVIDERS: {"acme": "acme_mended:Provider"}}, acme_mended="import module_that_is_absent")
    plugins = Plugins()
    refused(plugins, "acme", PluginImportError)
    (info.parent / "acme_mended.py").write_text(PROVIDER)
    importlib.invalidate_caches()
    assert plugins.load_provider("acme")
    assert plugins.records()[0].status is PluginStatus.LOADED
    assert plugins.records()[0].error is None


OLD = min(PROVIDER_API_SUPPORTED) - 1
NEW = max(PROVIDER_API_SUPPORTED) + 1


@pytest.mark.parametrize(
    ("source", "api", "told", "remedy"),
    [
        ("class Provider: provider_api = 1", None, "is no subclass of BaseCtiProvider", "pip install --upgrade acme-cti"),
        ("def Provider(): ...", None, "is no subclass of BaseCtiProvider", "pip install --upgrade acme-cti"),
        (PROVIDER + f"    provider_api = {OLD}", OLD, f"written for provider API {OLD}; this", "Upgrade the plugin"),
        (PROVIDER + f"    provider_api = {NEW}", NEW, f"written for provider API {NEW}; this", "Upgrade the framework"),
        (PROVIDER + "    provider_api = 'x'", None, "does not say by provider_api", "pip install --upgrade acme-cti"),
        (PROVIDER + "    provider_api = True", None, "does not say by provider_api", "pip install --upgrade acme-cti"),
        (PROVIDER.replace("drop_call", "drop"), None, "does not implement drop_call", "pip install --upgrade acme-cti"),
    ],
)
def test_an_incompatible_provider(install: Install, source: str, api: int | None, told: str, remedy: str) -> None:
    install("acme-cti", {PROVIDERS: {"acme": "acme_old:Provider"}}, acme_old=source)
    plugins = Plugins()
    with pytest.raises(PluginIncompatibleError) as caught:
        plugins.load_provider("acme")
    assert told in caught.value.message
    assert remedy in caught.value.remedy
    record = plugins.records()[0]
    assert (record.status, record.api) == (PluginStatus.INCOMPATIBLE, api)


# Loading companions


def test_companions_are_modules_objects_and_classes(install: Install) -> None:
    module = "from cti_framework.hooks import hookimpl\n@hookimpl\ndef cti_raw_message(event): ...\n"
    install(
        "acme-cti",
        {COMPANIONS: {"module": "acme_module", "class": "acme_class:Journal", "object": "acme_object:journal"}},
        acme_module=module,
        acme_class=COMPANION,
        acme_object=COMPANION + "\njournal = Journal()",
    )
    plugins, hooks = Plugins(), Hooks()
    plugins.load_companions(hooks)
    assert sorted(hooks.names()) == ["class", "module", "object"]
    assert set(statuses(plugins).values()) == {PluginStatus.LOADED}
    assert hooks.wants(RawMessage)


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("raise SystemExit", PluginStatus.IMPORT_FAILED, "SystemExit"),
        ("class Journal:\n    def __init__(self, path): ...", PluginStatus.IMPORT_FAILED, "TypeError"),
        ("class Journal: ...", PluginStatus.INCOMPATIBLE, "implements no hook"),
        (COMPANION.replace("raw_message", "raw_mesage"), PluginStatus.INCOMPATIBLE, "Did you mean 'cti_raw_message'?"),
        (COMPANION.replace("    @hookimpl\n", ""), PluginStatus.INCOMPATIBLE, "Add @hookimpl"),
    ],
)
def test_a_broken_companion_stops_nobody(install: Install, source: str, status: PluginStatus, told: str) -> None:
    install("before", {COMPANIONS: {"before": "acme_before:Journal"}}, acme_before=COMPANION)
    install("broken", {COMPANIONS: {"broken": "acme_broken_journal:Journal"}}, acme_broken_journal=source)
    install("after", {COMPANIONS: {"after": "acme_after:Journal"}}, acme_after=COMPANION)
    plugins, hooks = Plugins(), Hooks()
    with capture_logs() as logs:
        plugins.load_companions(hooks)
    assert sorted(hooks.names()) == ["after", "before"]
    (record,) = [record for record in plugins.records() if record.name == "broken"]
    assert record.status is status
    assert told in str(record.error)
    assert [(entry["event"], entry["name"], entry["distribution"]) for entry in logs] == [
        ("cti.companion.not_used", "broken", "broken")
    ]


def test_disabled_and_duplicate_companions_are_not_imported(install: Install) -> None:
    install("a", {COMPANIONS: {"journal": "acme_never:Journal", "metrics": "acme_never:Metrics"}}, acme_never="raise SystemExit")
    install("b", {COMPANIONS: {"journal": "acme_never:Other"}})
    plugins, hooks = Plugins(disabled=["metrics"]), Hooks()
    with capture_logs() as logs:
        plugins.load_companions(hooks)
    assert hooks.names() == ()
    assert "acme_never" not in sys.modules
    assert statuses(plugins) == {
        "journal of a": PluginStatus.DUPLICATE,
        "journal of b": PluginStatus.DUPLICATE,
        "metrics of a": PluginStatus.DISABLED,
    }
    assert {entry["distribution"] for entry in logs} == {"a", "b"}


def test_companions_join_each_set_of_hooks_once(install: Install) -> None:
    install("a", {COMPANIONS: {"journal": "acme_journal:Journal"}}, acme_journal=COMPANION)
    plugins, first, second = Plugins(), Hooks(), Hooks()
    with capture_logs() as logs:
        plugins.load_companions(first)
        plugins.load_companions(first)
        plugins.load_companions(second)
    assert first.names() == second.names() == ("journal",)
    assert logs == []


def test_a_companion_under_a_name_that_the_host_uses(install: Install) -> None:
    install("a", {COMPANIONS: {"journal": "acme_taken:Journal"}}, acme_taken=COMPANION)
    plugins, hooks = Plugins(), Hooks()
    from cti_framework.hooks import hookimpl

    class Own:
        @hookimpl
        def cti_event(self, event: Any) -> None: ...

    hooks.register(Own(), "journal")
    with capture_logs():
        plugins.load_companions(hooks)
    assert "already registered" in str(plugins.records()[0].error)
    assert hooks.records()[0].hooks == ("cti_event",)


# Looking at everything -------------------------------------------------------------------------------------------------


def test_everything_that_is_installed_is_looked_at(install: Install) -> None:
    """Whatever one of them does when it is imported, the others are looked at, and each is told with what is wrong with it."""
    install("good-cti", {PROVIDERS: {"good": "good_cti:Provider"}, COMPANIONS: {"journal": "good_cti_j:Journal"}},
            good_cti=PROVIDER, good_cti_j=COMPANION)  # fmt: skip
    install("raising-cti", {PROVIDERS: {"raising": "raising_cti:Provider"}}, raising_cti="raise RuntimeError('out of order')")
    install("leaving-cti", {PROVIDERS: {"leaving": "leaving_cti:Provider"}}, leaving_cti="import sys; sys.exit(3)")
    install("empty-cti", {PROVIDERS: {"empty": "empty_cti:Provider"}}, empty_cti="")
    install("gone-cti", {PROVIDERS: {"gone": "gone_cti:Provider"}})
    install("old-cti", {PROVIDERS: {"old": "old_cti:Provider"}}, old_cti=PROVIDER + "\n    provider_api = 0\n")
    install("hanging-cti", {PROVIDERS: {"hanging": "hanging_cti:Provider"}, COMPANIONS: {"waiting": "hanging_cti:Journal"}},
            hanging_cti=f"import {__name__} as tests; tests.LET_GO.wait(20)")  # fmt: skip
    install("twin-cti", {PROVIDERS: {"twin": "twin_a:Provider"}}, twin_a=PROVIDER)
    install("other-twin-cti", {PROVIDERS: {"Twin": "twin_b:Provider"}}, twin_b=PROVIDER)
    install("off-cti", {PROVIDERS: {"off": "off_cti:Provider"}}, off_cti="raise SystemExit")
    plugins = Plugins(disabled=["off"])
    LET_GO.clear()
    try:
        plugins.check(timeout_seconds=0.5)
    finally:
        records = plugins.records()
        LET_GO.set()
        for thread in threading.enumerate():
            if thread.name.startswith("cti: check"):
                thread.join(5)
    told = {record.name: (record.status, record.error or "") for record in records}
    assert {name: status.value for name, (status, _) in told.items()} == {
        "good": "loaded",
        "journal": "loaded",
        "raising": "import-failed",
        "leaving": "import-failed",
        "empty": "import-failed",
        "gone": "import-failed",
        "old": "incompatible",
        "hanging": "import-failed",
        "waiting": "import-failed",
        "twin": "duplicate",
        "Twin": "duplicate",
        "off": "disabled",
    }
    assert "out of order" in told["raising"][1]
    assert "SystemExit: 3" in told["leaving"][1]
    assert "has no attribute 'Provider'" in told["empty"][1]
    assert "No module named 'gone_cti'" in told["gone"][1]
    assert "written for provider API 0" in told["old"][1]
    assert told["hanging"][1] == told["waiting"][1] == "Its import did not end within 0.5 s."
    assert "other-twin-cti" in told["twin"][1]
    assert all(error for status, error in told.values() if status.value not in ("loaded", "disabled"))
