"""Every setting has an example in the reference, and what it says arrives: from the file, and from the variable."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest

from cti_dummy import DummyCtiProvider, DummyPbx
from cti_framework.media import MediaOptions
from cti_framework.provider import BaseCtiProvider
from cti_framework.settings import (
    CORE_PREFIX,
    MEDIA_PREFIX,
    CoreSettings,
    SettingDescription,
    SystemSettings,
    describe_settings,
)
from cti_webitel import WebitelCtiProvider
from tests.docs.reference_pages import BACKENDS, DOCS, own_module

PAGE = "reference/settings.md"
FILE = DOCS / "examples" / "settings.toml"
PROVIDERS: dict[str, type[BaseCtiProvider]] = {"webitel": WebitelCtiProvider, "dummy": DummyCtiProvider}
READ_BY: dict[str, tuple[type, ...]] = {
    CORE_PREFIX: (CoreSettings,),
    MEDIA_PREFIX: (MediaOptions,),
    **{name: (provider.settings_type, provider.user_settings_type) for name, provider in PROVIDERS.items()},
}
TOLD = [
    pytest.param(prefix, settings_type, told, id=told.key)
    for prefix, settings_types in READ_BY.items()
    for settings_type in settings_types
    for told in describe_settings(prefix, settings_type)
]
# What no file can hold is shown as Python.
AS_PYTHON = {"dummy.pbx"}
SECRETS = {
    "CTI_HOST_KEY_PASSWORD": "of the host's key",
    "WEBITEL_PASSWORD": "of the account",
    "WEBITEL_KEY": "of the token",
    "WEBITEL_TOKEN": "itself",
    "WEB_PHONE_PASSWORD": "of the web phone",
    "TURN_PASSWORD": "of the relay",
}


def shown() -> dict[str, Any]:
    """Give the examples by key."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {f"{prefix}.{name}": value for prefix, table in tables.items() for name, value in table.items()}


def generated() -> Any:
    pytest.importorskip("sphinx", reason="the documentation's tools are not installed")
    return own_module("generated")


def plain(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def expected(value: Any) -> Any:
    """Tell what an example has to become."""
    if isinstance(value, str) and value.startswith("env:"):
        return SECRETS[value.removeprefix("env:")]
    if isinstance(value, str) and value.startswith("/"):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize(("prefix", "settings_type", "told"), TOLD)
def test_every_setting_has_an_example_that_arrives(prefix: str, settings_type: type, told: SettingDescription) -> None:
    if told.key in AS_PYTHON:
        assert f'"{told.key}": ' in (DOCS / PAGE).read_text(encoding="utf-8")
        return
    examples = shown()
    assert told.key in examples, f"docs/examples/settings.toml has no example of {told.key}"
    settings: Any = SystemSettings.load(toml=FILE, environ=SECRETS).read(prefix, settings_type)
    arrived = plain(getattr(settings, told.key.partition(".")[2]))
    assert arrived == expected(examples[told.key])
    assert arrived != told.default, f"the example of {told.key} shows its default"


@pytest.mark.parametrize(("prefix", "settings_type", "told"), TOLD)
def test_its_variable_says_the_same(prefix: str, settings_type: type, told: SettingDescription) -> None:
    if told.key in AS_PYTHON:
        return
    text_of = generated().variable_text
    # All at once: some need each other.
    variables = {
        one.variable: text_of(shown()[one.key]) for one in describe_settings(prefix, settings_type) if one.key not in AS_PYTHON
    }
    settings: Any = SystemSettings.load(environ={**SECRETS, **variables}).read(prefix, settings_type)
    assert plain(getattr(settings, told.key.partition(".")[2])) == expected(shown()[told.key])


@pytest.mark.parametrize(("prefix", "settings_type", "told"), TOLD)
def test_a_setting_tells_default_unit_scope_and_example(prefix: str, settings_type: type, told: SettingDescription) -> None:
    written = generated().settings_list(prefix, settings_type)
    entry = next(entry for entry in f"\n\n{written}".split("\n\n`") if entry.startswith(f"{told.key}`\n"))
    assert "\n: " in entry
    assert ("It has to be set." if told.required else "Default: ") in entry
    assert ("by the system alone" if told.system_only else "by the system; a user's own") in entry
    assert ("; in seconds" in entry) is told.key.endswith("_seconds")
    assert ("Never shown." in entry) is told.secret
    assert all(f"`{code}`" in entry for code in told.codes)
    if told.key not in AS_PYTHON:
        assert f"Example: `{told.key} = " in entry
        assert f" or `{told.variable}=" in entry


def test_nothing_is_shown_that_nobody_reads() -> None:
    SystemSettings.load(toml=FILE, environ={}).check_unknown(READ_BY)


def test_a_secret_is_never_shown_by_value() -> None:
    secret = [param.values[2] for param in TOLD]
    for told in secret:
        assert isinstance(told, SettingDescription)
        if told.secret:
            assert str(shown()[told.key]).startswith(("env:", "file:"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_no_file_can_hold_is_handed_over(backend: str) -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    given: dict[str, Any] = {}
    exec(compile(code, PAGE, "exec"), given)
    pbx: DummyPbx = given["pbx"]

    async def act() -> None:
        pbx.switchboard.set_status("100@demo.local", "DND", "")
        async with given["initializer"].open("anna") as model:
            await model._provider.snapshot()
            assert model.agent.state == "DND"

    anyio.run(act, backend=backend)
