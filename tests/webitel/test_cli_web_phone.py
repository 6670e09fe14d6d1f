"""``cti demo --web-phone`` and ``cti phone`` on the simulated Webitel: what one side says, the other hears."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra 'media' is not installed")

from cti_framework.cli import main
from cti_framework.cli.demo_sound import DemoSound, frequency_hz
from cti_framework.cli.tracing import Step, Trace
from cti_framework.media import SILENCE
from cti_framework.provider import CtiUser, Simulation
from cti_framework.switchboard import FarSide
from tests.core.test_cli_phone_keys import a_call

ROOT = Path(__file__).parents[2]
_HALF_A_SECOND_BYTES = 48_000


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# The demo ------------------------------------------------------------------------------------------------------------------


def test_the_demo_shows_that_each_side_heard_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--web-phone", "--provider", "webitel", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    steps = objects(out)
    heard = [(step["from"], step["detail"]) for step in steps if step["step"] == "sound"]
    both = [("operator", "700 Hz said, 700 Hz heard"), ("subscriber", "1200 Hz said, 1200 Hz heard")]
    # Tones are measured to within some hertz.
    exact = [(who, re.sub(r"\b(?:69|70)\d Hz", "700 Hz", re.sub(r"\b1(?:19|20)\d Hz", "1200 Hz", told))) for who, told in heard]
    assert exact[:2] == exact[4:6] == exact[8:10] == both
    # Whoever is held hears music, and the holder nothing.
    assert exact[2:4] == [("operator", "700 Hz said, 523 Hz heard"), ("subscriber", "1200 Hz said, nothing heard")]
    assert exact[6:8] == [("operator", "700 Hz said, nothing heard"), both[1]]
    told = [(step["from"], step["to"], step["step"]) for step in steps]
    expected = [
        ("Line", "CtiModel", "CallConnected"),
        ("subscriber", "operator", "sound"),
        ("host", "CtiModel", "hold_call"),
        ("Line", "CtiModel", "CallHeld"),
        ("host", "CtiModel", "unhold_call"),
        ("Line", "CtiModel", "CallUnheld"),
        ("host", "CtiModel", "set_mute"),
        ("subscriber", "PBX", "hold"),
        ("host", "CtiModel", "drop_call"),
        ("Line", "CtiModel", "WebRtcDestroyed"),
        ("host", "operator", "summary"),
    ]
    positions = [told.index(step) for step in expected]
    assert positions == sorted(positions)


def test_the_demo_of_a_provider_without_a_web_phone_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--web-phone", "--provider", "dummy"]) == 1
    assert "cti: The simulator of the provider 'dummy' has no web phone.\n" in capsys.readouterr().err


def test_the_demo_with_sound_needs_asyncio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--web-phone", "--provider", "webitel", "--backend", "trio"]) == 1
    assert "needs asyncio" in capsys.readouterr().err


def test_what_is_not_heard_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cti_framework.cli.demo_sound._WAIT_SECONDS", 1.0)
    # The subscriber says something else than the demo waits for.
    monkeypatch.setattr("cti_framework.cli.demo_sound._is", lambda heard, hertz: heard is not None and hertz == 700)
    assert main(["demo", "--web-phone", "--provider", "webitel"]) == 1
    assert "it did not come to this: each hears the other. The operator hears" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wait", "heard", "told"),
    [
        (
            "both_hear",
            [(None, None), (1_200, None), (None, 700), (1_203, 698)],
            ["700 Hz said, 698 Hz heard", "1200 Hz said, 1203 Hz heard"],
        ),
        (
            "neither_hears",
            [(1_200, 700), (None, 700), (1_200, 523), (None, 523)],
            ["700 Hz said, 523 Hz heard", "1200 Hz said, nothing heard"],
        ),
        (
            "only_operator_hears",
            [(1_200, 700), (None, None), (1_200, None)],
            ["700 Hz said, nothing heard", "1200 Hz said, 1200 Hz heard"],
        ),
    ],
)
def test_the_demo_waits_until_it_is_heard_as_it_should_be(
    wait: str, heard: list[tuple[float | None, float | None]], told: list[str]
) -> None:
    steps: list[Step] = []
    looks = iter(heard)
    now: list[tuple[float | None, float | None]] = []

    class Far:
        def voice(self, number: str, hertz: int) -> None:
            raise AssertionError("it has one already")

        def hears(self, number: str) -> float | None:
            return now[-1][1]

    def near() -> float | None:
        now.append(next(looks))
        return now[-1][0]

    simulation = Simulation(settings={}, user=CtiUser("103"), far_side=cast(FarSide, Far()), subscriber="5")
    sound = DemoSound(simulation, Trace(steps.append))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound._ear, "hears", near)
        anyio.run(getattr(sound, wait), a_call("c"))
    assert [step.detail for step in steps] == told
    assert now == heard


def test_silence_has_no_frequency() -> None:
    assert frequency_hz(SILENCE * 10) is None
    assert frequency_hz(b"\x00\x40" * 9_600) is None


# The phone -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[str, str]]:
    """A simulator in a process of its own; its engine's address and that of its web phones."""
    command = [sys.executable, "-m", "cti_framework.cli", "simulate", "webitel"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"engine at (ws://[\d.]+:\d+),.*Web phones at (ws://[\d.]+:\d+)", line)
        assert found is not None, line
        yield found[1], found[2]
        process.send_signal(signal.SIGTERM)
        process.communicate()


def phone(addresses: tuple[str, str], account: str, *arguments: str) -> subprocess.Popen[str]:
    engine, web_phones = addresses
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "cti_framework.cli", "--set", "cti.provider=webitel"),
            *("--set", f"webitel.connection_string={engine}", "--set", f"webitel.webrtc_connection_string={web_phones}"),
            *("--set", f"webitel.login={account}@demo.local", "--set", f"webitel.password={account}"),
            *("phone", *arguments),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word} was not printed")


def frequencies_in(path: Path) -> list[int]:
    """What each half second holds, to within ten hertz."""
    with wave.open(str(path)) as file:
        pcm = file.readframes(file.getnframes())
    starts = range(0, len(pcm) - _HALF_A_SECOND_BYTES, _HALF_A_SECOND_BYTES)
    return [round((frequency_hz(pcm[start : start + _HALF_A_SECOND_BYTES]) or 0) / 10) * 10 for start in starts]


def test_two_scripts_talk_to_each_other(addresses: tuple[str, str], tmp_path: Path) -> None:
    callee_heard, caller_heard = tmp_path / "callee.wav", tmp_path / "caller.wav"
    with phone(addresses, "104", "--answer", "--source", "tone:600", "--save", str(callee_heard)) as callee:
        wait_for(callee, "SnapshotTaken")
        caller_says = ("--source", "tone:440", "--save", str(caller_heard), "--seconds", "2.5")
        with phone(addresses, "103", "--call", "104", *caller_says) as caller:
            _, caller_err = caller.communicate()
        _, callee_err = callee.communicate()
    assert (caller.returncode, callee.returncode) == (0, 0)
    assert f"Saved {caller_heard}." in caller_err
    assert f"Saved {callee_heard}." in callee_err
    # The middle of each recording holds the other side's tone.
    assert 600 in frequencies_in(caller_heard)[1:-1]
    assert 440 in frequencies_in(callee_heard)[1:-1]


def test_a_script_tells_that_nobody_took_the_call(addresses: tuple[str, str], tmp_path: Path) -> None:
    saved = tmp_path / "nothing.wav"
    # Nobody has a phone there.
    with phone(addresses, "103", "--call", "104", "--save", str(saved), "--json") as caller:
        out, err = caller.communicate()
    assert caller.returncode == 1
    finished = next(event for event in objects(out) if event["event"] == "CallFinished")
    assert finished["call"]["connected_at"] is None
    assert (err, saved.exists()) == ("", False)
