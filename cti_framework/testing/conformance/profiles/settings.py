"""Settings: readable, described, with defaults that hold, and secret where they name a secret."""

from __future__ import annotations

import re
from typing import Final

import attrs

from cti_framework.errors import SettingsError
from cti_framework.settings import SettingDescription, describe_settings
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.running import Broken
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["SettingsProfile"]

_NAMES_A_SECRET: Final = re.compile(r"(^|_)(password|passwd|secret|token|api_?key|private_key|credentials?)($|_)", re.IGNORECASE)
_NO_SECRET: Final = re.compile(r"(_file|_path|_seconds|_url|_timeout|_name|_id)$", re.IGNORECASE)


class SettingsProfile(Profile):
    """What a host and its administrator set."""

    @rule(
        "settings.types",
        "settings_type and user_settings_type are attrs classes that the core can read and describe.",
        contract="BaseCtiProvider.settings_type, settings.setting",
    )
    def test_the_types_can_be_read(self, bench: ProviderBench) -> None:
        for settings_type in _types(bench):
            if not attrs.has(settings_type):
                raise Broken(f"{settings_type.__name__} is no attrs class.")
        _described(bench)

    @rule(
        "settings.described",
        "Each setting says in a sentence what it is for.",
        contract="settings.setting(help=…)",
    )
    def test_each_is_described(self, bench: ProviderBench) -> None:
        without = [one.key for one in _described(bench) if not one.help.strip()]
        if without:
            raise Broken(f"Without help: {', '.join(without)}.")

    @rule(
        "settings.defaults",
        "The defaults hold: a setting that does not have to be set can be left out.",
        contract="settings.setting(default=…)",
    )
    def test_the_defaults_hold(self, bench: ProviderBench) -> None:
        for settings_type in _types(bench):
            for field in attrs.fields(settings_type):
                if field.default is attrs.NOTHING or field.validator is None or isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]  # attrs types Factory as a function
                    continue
                try:
                    field.validator(None, field, field.default)
                except Exception as error:
                    raise Broken(f"The default of {field.name} is {field.default!r}, and its validator says: {error}.") from error

    @rule(
        "settings.secret",
        "A setting that names a password, a token or a secret is a secret one, which is never shown.",
        contract="settings.setting(secret=…)",
    )
    def test_secrets_are_secret(self, bench: ProviderBench) -> None:
        shown = [
            one.key
            for one in _described(bench)
            if not one.secret and _NAMES_A_SECRET.search(name := one.key.rpartition(".")[2]) and not _NO_SECRET.search(name)
        ]
        if shown:
            raise Broken(f"Not secret: {', '.join(shown)}.")

    @rule(
        "settings.apart",
        "The system's settings and a user's are apart: no name is in both.",
        contract="BaseCtiProvider.settings_type, BaseCtiProvider.user_settings_type",
    )
    def test_they_are_apart(self, bench: ProviderBench) -> None:
        system, user = ({field.name for field in attrs.fields(one)} for one in _types(bench))
        if system & user:
            raise Broken(f"In both: {', '.join(sorted(system & user))}.")

    @rule(
        "settings.unknown",
        "A setting that there is not is refused before anything is connected.",
        contract="settings; initializer.CtiProviderInitializer.open",
        opens=False,
    )
    async def test_an_unknown_setting(self, stand: Stand) -> None:
        misspelt = {f"{stand.bench.provider_name}.no_such_setting_at_all": "1"}
        with stand.expect_error(SettingsError, doing="Opening a session with a setting that there is not"):
            await stand.initializer(misspelt).create(stand.simulation.user)
        stand.expect(not stand.seen.runs, "run() was called all the same.")


def _types(bench: ProviderBench) -> tuple[type, type]:
    return bench.provider_class.settings_type, bench.provider_class.user_settings_type


def _described(bench: ProviderBench) -> list[SettingDescription]:
    found: list[SettingDescription] = []
    for settings_type in _types(bench):
        try:
            found += describe_settings(bench.provider_name, settings_type)
        except Exception as error:
            raise Broken(f"{settings_type.__name__} cannot be read: {type(error).__name__}: {error}") from error
    return found
