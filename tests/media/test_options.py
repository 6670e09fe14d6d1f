"""The settings under ``media.``: what they are read as, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from cti_framework import SettingsError, SystemSettings
from cti_framework.media import IceServer, MediaOptions, MediaSettings
from cti_framework.media.options import MEDIA_PREFIX
from cti_framework.settings import describe_settings, secret_values


def read(values: dict[str, Any], parameters: dict[str, Any] | None = None) -> MediaOptions:
    settings = SystemSettings.load(values, environ={})
    settings.check_unknown({MEDIA_PREFIX: MediaOptions})
    return settings.with_user(parameters or {}).read(MEDIA_PREFIX, MediaOptions)


def test_without_any_the_media_is_as_it_is_by_default() -> None:
    options = read({})
    assert options == MediaOptions()
    assert options.media_settings() == MediaSettings()
    assert (options.microphone, options.speaker, options.ring_device, options.ring_file) == (None, None, None, None)


def test_all_of_them_reach_the_media() -> None:
    options = read(
        {
            "media.stun_servers": "stun:stun.example.com, stun:10.0.0.1:3478",
            "media.turn_servers": ["turns:turn.example.com:443?transport=tcp"],
            "media.turn_username": "phone",
            "media.turn_password": "very secret",
            "media.relay_only": "true",
            "media.host_addresses": "127.0.0.1, ::1",
            "media.codecs": "PCMA",
            "media.connect_timeout_seconds": "4",
            "media.gather_timeout_seconds": 1,
            "media.quality_interval_seconds": 2.5,
        }
    )
    assert options.media_settings() == MediaSettings(
        ice_servers=(
            IceServer(url="stun:stun.example.com"),
            IceServer(url="stun:10.0.0.1:3478"),
            IceServer(url="turns:turn.example.com:443?transport=tcp", username="phone", credential="very secret"),
        ),
        relay_only=True,
        host_addresses=("127.0.0.1", "::1"),
        codecs=("PCMA",),
        connect_timeout_seconds=4.0,
        gather_timeout_seconds=1.0,
        quality_interval_seconds=2.5,
    )


def test_a_user_has_devices_of_his_own() -> None:
    options = read(
        {"media.microphone": "Built-in", "media.speaker": "Built-in"},
        {"media.microphone": "Headset", "ringDevice": "Loudspeaker", "media.ring_file": "ring.wav"},
    )
    assert options.microphone == "Headset"
    assert options.speaker == "Built-in"
    assert options.ring_device == "Loudspeaker"
    assert options.ring_file == Path("ring.wav")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("stun_servers", "stun.example.com", "'stun.example.com' is no address of a STUN server"),
        ("stun_servers", "stun:a, turn:b", "'turn:b' is no address of a STUN server"),
        ("turn_servers", "stun:a", "'stun:a' is no address of a TURN server"),
        ("turn_servers", "turn:a:b:c", "'turn:a:b:c' is no address of a TURN server"),
        ("host_addresses", "10.0.0.300", "'10.0.0.300' is no IP address of this computer"),
        ("codecs", "opus,GSM", "one or more of opus, G722, PCMU, PCMA"),
        ("codecs", [], "one or more of opus, G722, PCMU, PCMA"),
        ("connect_timeout_seconds", 0, "> 0"),
        ("gather_timeout_seconds", "nan", "> 0"),
        ("quality_interval_seconds", -1, "> 0"),
        ("relay_only", "perhaps", "true or false"),
    ],
)
def test_what_cannot_be_is_named(key: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read({f"media.{key}": value})
    (problem,) = raised.value.problems
    assert problem.startswith(f"media.{key}: holds ")
    assert said in problem


def test_a_relay_alone_needs_one() -> None:
    with pytest.raises(SettingsError) as raised:
        read({"media.relay_only": True})
    assert raised.value.problems == ("media: relay_only needs turn_servers: there is no way for any sound",)
    assert read({"media.relay_only": True, "media.turn_servers": "turn:a"}).relay_only


def test_the_password_is_a_secret() -> None:
    options = read({"media.turn_password": "very secret"})
    assert "very secret" not in repr(options)
    assert "very secret" not in repr(options.media_settings())
    assert secret_values(options) == ("very secret",)


def test_each_says_what_it_is_for_and_names_itself_as_the_class_does() -> None:
    described = describe_settings(MEDIA_PREFIX, MediaOptions)
    assert [one.key for one in described] == [f"media.{field.name}" for field in attrs.fields(MediaOptions)]
    assert all(one.help.endswith(".") for one in described)
    assert [one.key for one in described if one.secret] == ["media.turn_password"]
    assert not [one.key for one in described if one.required or one.system_only]
