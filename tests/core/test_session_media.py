"""Whose sound a session's web phone has: the host's, or this computer's as the settings say; and nothing for all the others."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from cti_framework import BlockingCtiModel, CtiHub, CtiProviderInitializer, open_session
from cti_framework.calls import Call, CallFeature
from cti_framework.clock import SessionClock
from cti_framework.diagnosis import StepState
from cti_framework.doctor import examine
from cti_framework.errors import NotAllowedNowError, SessionClosedError, SettingsError
from cti_framework.hooks import hookimpl
from cti_framework.media import AiortcPeers, MediaPeer, MediaPeers, RelayPeer, Told
from cti_framework.model import CtiModel
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, EmptySettings, ProviderContext
from cti_framework.reports import Snapshot, Started
from cti_framework.settings import setting
from tests.media.test_relay import Browser

pytestmark = pytest.mark.anyio


@attrs.frozen(kw_only=True)
class PhoneUserSettings:
    use_web_phone: bool = setting(default=False)


class Desk(BaseCtiProvider):
    """Has no web phone."""

    capabilities = Capabilities(calls=CallFeature.DIAL)

    async def run(self) -> None:
        self.context.report(Started(at=self.context.clock.now()))
        await anyio.sleep_forever()

    async def snapshot(self) -> Snapshot:
        return Snapshot(at=self.context.clock.now())

    async def make_call(self, destination: str) -> Call:
        raise AssertionError

    async def drop_call(self, call: Call) -> None:
        raise AssertionError


class Phone(Desk):
    """Has one for the users who want it."""

    user_settings_type = PhoneUserSettings
    uses_media = True

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.media = context.media() if context.user_settings.use_web_phone else None


class Own(MediaPeers):
    def peer(self, call_id: str, told: Told) -> MediaPeer:
        return RelayPeer(Browser(), told)


def plugins() -> Plugins:
    return Plugins(
        entry_points=lambda: [
            EntryPoint("phone", f"{__name__}:Phone", "cti_framework.providers"),
            EntryPoint("desk", f"{__name__}:Desk", "cti_framework.providers"),
        ]
    )


def initializer(*companions: object, provider: str = "phone", **settings: Any) -> CtiProviderInitializer:
    given = {"cti.provider": provider, **{f"media.{name}": value for name, value in settings.items()}}
    return CtiProviderInitializer(given, environ={}, plugins=plugins(), companions=companions)


USER = CtiUser("ann", parameters={"useWebPhone": True})


def media_of(model: CtiModel) -> Any:
    provider = model._provider
    assert isinstance(provider, Phone)
    return provider.media


# Whose it is -----------------------------------------------------------------------------------------------------------


async def test_the_hosts_own_is_what_the_provider_gets() -> None:
    own = Own()
    async with initializer(connect_timeout_seconds=-1).open(USER, media=own) as model:
        assert media_of(model) is own
        assert model._provider.context.media() is own


async def test_this_computer_has_it_as_the_settings_say() -> None:
    user = CtiUser("ann", parameters={"useWebPhone": True, "media.microphone": "Headset", "speaker": "Earphones"})
    async with initializer(microphone="Built-in", codecs="PCMA").open(user) as model:
        media = media_of(model)
        assert isinstance(media, AiortcPeers)
        assert (media.options.microphone, media.options.speaker, media.options.codecs) == ("Headset", "Earphones", ("PCMA",))
        assert model._provider.context.media() is media


async def test_this_computer_has_it_where_a_session_is_made_by_hand() -> None:
    model = CtiModel(
        Phone, user=USER, settings=EmptySettings(), user_settings=PhoneUserSettings(use_web_phone=True), name="phone"
    )
    media = media_of(model)
    assert isinstance(media, AiortcPeers)
    assert media.options.microphone is None


async def test_whoever_has_no_web_phone_asks_for_nothing() -> None:
    async with initializer(connect_timeout_seconds=-1).open("ann") as model:
        assert media_of(model) is None


async def test_without_a_session_there_is_none() -> None:
    context = ProviderContext(
        user=USER, settings=None, user_settings=None, clock=SessionClock(), report=lambda *_: None, find_call=lambda _: None
    )
    with pytest.raises(SessionClosedError, match="CtiModel"):
        context.media()


async def test_a_hub_hands_it_on_to_the_session_that_it_opens() -> None:
    own = Own()
    async with CtiHub(initializer()) as hub:
        model = await hub.open(USER, media=own)
        assert media_of(model) is own
        assert await hub.open(USER) is model
        assert await hub.open(USER, media=own) is model
        with pytest.raises(NotAllowedNowError, match="open with other media"):
            await hub.open(USER, media=Own())
        without = await hub.open("bob")
        with pytest.raises(NotAllowedNowError, match="open with other media"):
            await hub.open("bob", media=own)
        assert media_of(without) is None


def test_so_does_a_session_that_waits() -> None:
    own = Own()
    with open_session(initializer(), USER, media=own) as model:
        assert isinstance(model, BlockingCtiModel)
        assert media_of(model._model) is own


# What the settings may be ----------------------------------------------------------------------------------------------


async def test_a_setting_that_cannot_be_is_told_to_who_has_a_web_phone() -> None:
    with pytest.raises(SettingsError) as raised:
        async with initializer(codecs="GSM").open(USER):
            pass
    assert raised.value.problems[0].startswith("media.codecs: holds 'GSM'")


async def test_a_setting_that_nobody_reads_is_refused() -> None:
    with pytest.raises(SettingsError) as raised:
        async with initializer(microfone="Headset").open("ann"):
            pass
    assert "did you mean media.microphone?" in raised.value.problems[0]
    with pytest.raises(SettingsError) as raised:
        async with initializer().open(CtiUser("ann", parameters={"media.spaeker": "x"})):
            pass
    assert "did you mean media.speaker?" in raised.value.problems[0]


async def test_a_variable_that_was_to_be_one_is_refused() -> None:
    given = {"cti.provider": "phone"}
    by = CtiProviderInitializer(given, environ={"CTI_MEDIA_SPEAKER": "Earphones"}, plugins=plugins())
    with pytest.raises(SettingsError, match="CTI_MEDIA__SPEAKER"):
        async with by.open("ann"):
            pass
    by = CtiProviderInitializer(given, environ={"CTI_MEDIA__SPEAKER": "Earphones"}, plugins=plugins())
    async with by.open(USER) as model:
        assert media_of(model).options.speaker == "Earphones"


async def test_whoever_uses_no_media_leaves_the_hosts_own_keys_alone() -> None:
    async with initializer(provider="desk", root="/srv/media").open("ann") as model:
        assert model.provider_name == "desk"


async def test_the_hook_is_asked_for_them() -> None:
    class Answers:
        asked: list[str] = []  # noqa: RUF012

        @hookimpl
        def cti_setting(self, key: str) -> object:
            self.asked.append(key)
            return "stun:stun.example.com" if key == "media.stun_servers" else None

    async with initializer(Answers()).open(USER) as model:
        assert media_of(model).options.stun_servers == ("stun:stun.example.com",)
    Answers.asked.clear()
    async with initializer(Answers(), provider="desk").open(USER):
        assert not [key for key in Answers.asked if key.startswith("media.")]


async def test_a_support_bundle_tells_them_without_the_password(tmp_path: Path) -> None:
    password = "correct-horse-battery"
    settings = initializer(turn_servers="turn:t.example.com", turn_username="phone", turn_password=password)
    async with settings.open(USER) as model:
        path = await model.write_support_bundle(tmp_path / "x.zip", log=[f"the password is {password}"])
    with zipfile.ZipFile(path) as bundle:
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert "media.turn_servers" in texts["settings.json"]
    assert not [name for name, text in texts.items() if password in text]


async def test_the_doctor_names_them_and_hides_the_password() -> None:
    password = "correct-horse-battery"
    user = CtiUser("ann", parameters={"useWebPhone": True, "media.codecs": password})
    settings = initializer(turn_servers="turn:t.example.com", turn_password=password, microphone="Headset")
    steps = {step.step: step for step in await examine(lambda: settings, user)}
    assert "media.microphone, media.turn_servers, media.turn_password" in steps["provider_settings"].detail
    assert steps["provider_made"].state is StepState.FAILED
    assert "media.codecs" in steps["provider_made"].detail
    assert not [step for step in steps.values() if password in step.detail]


async def test_the_doctor_tells_a_password_that_cannot_be_had() -> None:
    steps = {step.step: step for step in await examine(lambda: initializer(turn_password="env:NO_SUCH_VARIABLE"), USER)}
    assert steps["secrets"].state is StepState.FAILED
    assert "media.turn_password" in steps["secrets"].detail


# What is loaded --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parameters", "is_loaded"), [({}, False), ({"useWebPhone": True}, True)])
def test_nothing_of_media_is_loaded_for_whoever_has_no_web_phone(
    tmp_path: Path, parameters: dict[str, Any], is_loaded: bool
) -> None:
    (tmp_path / "acme_phone.py").write_text(_PROVIDER)
    script = _OPEN.format(parameters=parameters)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, timeout=30, cwd=tmp_path
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert ("cti_framework.media" in loaded) is is_loaded
    # What has the sound is loaded by the first call, or by `check()`.
    assert not {"aiortc", "av", "sounddevice"} & loaded


_PROVIDER = """
import anyio, attrs
from cti_framework.provider import BaseCtiProvider
from cti_framework.reports import Snapshot, Started
from cti_framework.settings import setting

@attrs.frozen(kw_only=True)
class UserSettings:
    use_web_phone: bool = setting(default=False)

class Provider(BaseCtiProvider):
    user_settings_type = UserSettings
    uses_media = True
    def __init__(self, context):
        super().__init__(context)
        if context.user_settings.use_web_phone:
            context.media()
    async def run(self):
        self.context.report(Started(at=self.context.clock.now()))
        await anyio.sleep_forever()
    async def snapshot(self):
        return Snapshot(at=self.context.clock.now())
    async def make_call(self, destination): ...
    async def drop_call(self, call): ...
"""
_OPEN = """
import anyio, json, sys
from importlib.metadata import EntryPoint
from cti_framework import CtiProviderInitializer, CtiUser
from cti_framework.plugins import Plugins
plugins = Plugins(entry_points=lambda: [EntryPoint("acme", "acme_phone:Provider", "cti_framework.providers")])
async def main():
    initializer = CtiProviderInitializer({{"cti.provider": "acme"}}, environ={{}}, plugins=plugins)
    async with initializer.open(CtiUser("ann", parameters={parameters!r})):
        print(json.dumps(sorted(sys.modules)))
anyio.run(main)
"""
