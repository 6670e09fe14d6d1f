"""What the doctor says of the sound: libraries, devices, the servers that calls ask; and that a call was not tried."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cti_framework.diagnosis import Checks, DiagnosisStep, StepState
from cti_framework.media import AiortcPeers, MediaOptions, MediaPeers, RelayPeers, check_sound
from tests.media.listening import nothing_left
from tests.media.sound_card import sound_card

pytestmark = pytest.mark.anyio

FAILED, OK, SKIPPED, WARNING = StepState.FAILED, StepState.OK, StepState.SKIPPED, StepState.WARNING
STEPS = ["libraries", "devices", "microphone", "speaker", "ringing", "stun", "turn", "call"]


async def looked(media: MediaPeers | None = None, **options: Any) -> dict[str, DiagnosisStep]:
    checks = Checks()
    options = {"host_addresses": ("127.0.0.1",), "gather_timeout_seconds": 0.3, **options}
    async with nothing_left():
        await check_sound(checks, AiortcPeers(MediaOptions(**options)) if media is None else media)
    return {step.step.removeprefix("sound: "): step for step in checks.steps}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return sound_card(monkeypatch)


@contextmanager
def stun_server() -> Iterator[str]:
    """Answer binding requests (RFC 5389): who asks is 203.0.113.7:4321."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(("127.0.0.1", 0))
        served.settimeout(0.05)
        is_over = threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                try:
                    asked, who = served.recvfrom(2048)
                except TimeoutError:
                    continue
                cookie, address = asked[4:8], socket.inet_aton("203.0.113.7")
                mixed = bytes(one ^ other for one, other in zip(address, cookie, strict=True))
                port = 4321 ^ int.from_bytes(cookie[:2], "big")
                body = struct.pack(">HHBBH", 0x0020, 8, 0, 1, port) + mixed
                served.sendto(struct.pack(">HH", 0x0101, len(body)) + asked[4:20] + body, who)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"stun:127.0.0.1:{served.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()


async def test_all_is_well(card: SimpleNamespace, tmp_path: Path) -> None:
    steps = await looked()
    assert list(steps) == STEPS
    assert {name: step.state for name, step in steps.items()} == {
        **dict.fromkeys(("libraries", "devices", "microphone", "speaker", "ringing"), OK),
        **dict.fromkeys(("stun", "turn", "call"), SKIPPED),
    }
    assert steps["devices"].detail == "Microphones: Headset. Speakers: Headset."
    assert "was -21 dB of full scale" in steps["microphone"].detail
    assert "Not tried" in steps["call"].detail


async def test_a_microphone_that_is_switched_off(card: SimpleNamespace) -> None:
    card.said = bytes(1920)
    step = (await looked())["microphone"]
    assert step.state is WARNING
    assert "digital silence" in step.detail
    assert "allowed to listen" in (step.remedy or "")


async def test_devices_that_are_not_there(card: SimpleNamespace) -> None:
    steps = await looked(microphone="gone", speaker="gone", ring_device="gone")
    for name in ("microphone", "speaker", "ringing"):
        assert steps[name].state is FAILED
        assert "'gone'" in steps[name].detail
        assert "Plug it in" in (steps[name].remedy or "")


async def test_no_device_at_all(card: SimpleNamespace) -> None:
    card.devices = []
    step = (await looked())["devices"]
    assert step.state is WARNING
    assert "a robot needs no device" in (step.remedy or "")


async def test_without_portaudio_nothing_of_devices_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    steps = await looked()
    assert steps["devices"].state is FAILED
    assert "sounddevice" in steps["devices"].detail
    assert {steps[name].state for name in ("microphone", "speaker", "ringing")} == {SKIPPED}
    assert steps["libraries"].state is OK


async def test_a_ring_file_that_cannot_be_played(card: SimpleNamespace, tmp_path: Path) -> None:
    step = (await looked(ring_file=tmp_path / "none.wav"))["ringing"]
    assert step.state is FAILED
    assert "none.wav" in step.detail


async def test_without_the_libraries_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiortc", None)
    steps = await looked()
    assert steps["libraries"].state is FAILED
    assert "cti-framework[media]" in (steps["libraries"].remedy or "")
    assert {step.state for name, step in steps.items() if name != "libraries"} == {SKIPPED}


async def test_a_stun_server_that_answers(card: SimpleNamespace) -> None:
    with stun_server() as url:
        step = (await looked(stun_servers=(url,), gather_timeout_seconds=3.0))["stun"]
    assert step.state is OK
    assert step.detail == f"{url} answers: from outside this computer is 203.0.113.7."


async def test_servers_that_do_not_answer(card: SimpleNamespace) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{deaf.getsockname()[1]}"
        steps = await looked(stun_servers=(f"stun:{place}",), turn_servers=(f"turn:{place}",), turn_password="pw-4711")
    assert steps["stun"].state is FAILED
    assert f"stun:{place} does not answer" in steps["stun"].detail
    assert steps["turn"].state is FAILED
    assert f"turn:{place} gives no address" in steps["turn"].detail
    assert "pw-4711" not in repr(steps)


async def test_sound_that_is_elsewhere() -> None:
    steps = await looked(RelayPeers(lambda _: pytest.fail("Nobody is asked.")))
    assert {name: step.state for name, step in steps.items()} == {"libraries": SKIPPED}
