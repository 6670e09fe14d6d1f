"""What is loaded when, and what is said where media cannot be had: before a call, not in one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import anyio
import pytest

import cti_framework.media
from cti_framework.errors import CtiError
from cti_framework.media import IceServer, MediaSettings, MediaUnavailableError, require_media
from cti_framework.media import errors as media_errors

LIBRARIES = {"aioice", "aiortc", "av", "sounddevice", "numpy"}


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return set(json.loads(done.stdout))


def test_nothing_of_it_is_loaded_unless_asked_for() -> None:
    """The room itself loads none of its libraries; `tests/core/test_import.py` looks at the whole framework."""
    script = "import sys, cti_framework\nassert not [name for name in sys.modules if name.startswith('cti_framework.media')]\n"
    assert modules_after(script + "import cti_framework.media") & LIBRARIES == set()


def test_the_peer_is_loaded_when_it_is_asked_for() -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    loaded = modules_after("from cti_framework.media import AiortcPeer")
    assert {"aiortc", "av"} <= loaded
    assert "numpy" not in loaded


def test_every_public_name_is_there() -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    assert len(set(cti_framework.media.__all__)) == len(cti_framework.media.__all__)
    for name in cti_framework.media.__all__:
        assert getattr(cti_framework.media, name) is not None
    with pytest.raises(AttributeError):
        _ = cti_framework.media.NoSuchName


def test_every_error_is_one_of_the_tree_and_is_drawn() -> None:
    drawn = media_errors.__doc__ or ""
    for name in media_errors.__all__:
        error = getattr(media_errors, name)
        assert issubclass(error, CtiError)
        assert error.__name__ in drawn
        assert error.__name__ in cti_framework.media.__all__


async def _require() -> None:
    require_media()


def test_on_asyncio() -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    require_media()
    anyio.run(_require, backend="asyncio")


def test_on_trio_it_is_said_at_once() -> None:
    pytest.importorskip("trio", reason="the extra trio is not installed")
    with pytest.raises(MediaUnavailableError, match="needs asyncio") as raised:
        anyio.run(_require, backend="trio")
    assert "RelayPeer" in raised.value.remedy


def test_on_trio_no_peer_can_be_made() -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    pytest.importorskip("trio", reason="the extra trio is not installed")
    from cti_framework.media import AiortcPeer

    async def make() -> None:
        AiortcPeer()

    with pytest.raises(MediaUnavailableError, match="needs asyncio"):
        anyio.run(make, backend="trio")


@pytest.mark.parametrize("library", ["aiortc", "av"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MediaUnavailableError, match=library) as raised:
        require_media()
    assert "cti-framework[media]" in raised.value.remedy
    with pytest.raises(MediaUnavailableError):
        _ = cti_framework.media.AiortcPeer


@pytest.mark.parametrize("name", ["_RTCPeerConnection__connect", "_RTCPeerConnection__createDtlsTransport"])
def test_an_aiortc_of_another_make_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    from aiortc import RTCPeerConnection

    from cti_framework.media import AiortcPeer

    async def offer() -> None:
        async with AiortcPeer() as peer:
            await peer.offer()

    monkeypatch.delattr(RTCPeerConnection, name)
    with pytest.raises(MediaUnavailableError, match=f"made differently inside: it has no {name}") as raised:
        anyio.run(offer)
    assert "aiortc 1.16" in raised.value.remedy


# --- settings


@pytest.mark.parametrize(
    "url",
    [
        "stun:stun.example.com",
        "stun:10.0.0.1:3478",
        "turn:t.example.com:3478?transport=tcp",
        "turns:t.example.com:443?transport=tcp",
    ],
)
def test_addresses_of_servers(url: str) -> None:
    assert IceServer(url=url).url == url


@pytest.mark.parametrize(
    "url", ["", "stun.example.com", "http://stun.example.com", "stun:a:b", "turn:x?transport=smoke", "stun:a b"]
)
def test_what_is_no_address_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match="url: "):
        IceServer(url=url)


def test_a_credential_is_not_shown() -> None:
    server = IceServer(url="turn:t.example.com", username="u", credential="very secret")
    assert "very secret" not in repr(MediaSettings(ice_servers=(server,)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"codecs": ()},
        {"codecs": ("opus", "speex")},
        {"connect_timeout_seconds": 0},
        {"gather_timeout_seconds": -1},
        {"quality_interval_seconds": float("nan")},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MediaSettings(**wrong)
