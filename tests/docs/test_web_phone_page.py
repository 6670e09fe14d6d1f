"""The page about the web phone tells every error that it can come to, with what to do; and every step of the doctor's."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest

from cti_framework.diagnosis import Checks
from cti_framework.errors import CtiError
from cti_framework.media import MediaOptions, check_sound, errors
from cti_framework.media.peers import AiortcPeers
from cti_framework.settings import SettingDescription, describe_settings
from cti_webitel import settings as webitel_settings
from cti_webitel.verto import errors as verto_errors
from cti_webitel.web_phone import sound
from tests.docs.reference_pages import DOCS
from tests.media.sound_card import sound_card

PAGE = (DOCS / "how-to" / "web-phone.md").read_text(encoding="utf-8")
DOCTOR = (DOCS / "how-to" / "find-a-fault.md").read_text(encoding="utf-8")


def errors_of(module: ModuleType) -> list[type[CtiError]]:
    found = [getattr(module, name) for name in module.__all__]
    return [one for one in found if inspect.isclass(one) and issubclass(one, CtiError)]


ERRORS = [error for module in (errors, verto_errors, sound) for error in errors_of(module)]
OWN = [
    told
    for told in describe_settings("webitel", webitel_settings.WebitelUserSettings)
    if "web_phone" in told.key or "use_" in told.key
]


def test_all_modules_have_some() -> None:
    assert len(ERRORS) >= 16
    assert len(OWN) == 5


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_is_told_with_what_to_do(error: type[CtiError]) -> None:
    rows = re.findall(rf"^\| `{error.__name__}` \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 1
    means, remedy = rows[0]
    assert means.strip()
    assert remedy.strip()


def test_no_error_is_told_that_there_is_not() -> None:
    section = PAGE.partition("## What each error means")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+Error)` \|", section, re.MULTILINE)) == {error.__name__ for error in ERRORS}


@pytest.mark.parametrize("told", OWN, ids=lambda told: told.key)
def test_every_setting_of_the_users_is_told(told: SettingDescription) -> None:
    assert told.key in PAGE or told.key.partition(".")[2] in PAGE
    assert all(code in PAGE for code in told.codes)


def test_the_settings_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`media\.(\w+)", PAGE))
    assert named <= {told.key.partition(".")[2] for told in describe_settings("media", MediaOptions)}
    assert {"stun_servers", "turn_servers", "relay_only", "host_addresses", "codecs"} <= named


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_step_of_the_sound_is_told(monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    sound_card(monkeypatch)
    checks = Checks()
    await check_sound(checks, AiortcPeers())
    steps = [step.step for step in checks.steps]
    assert len(steps) == 8
    for step in (*steps, "web_phone: log_in"):
        assert f"`{step}`" in PAGE
        assert f"`{step}`" in DOCTOR
