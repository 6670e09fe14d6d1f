"""``cti phone`` from the command line, on a provider with real sound: as scripts use it, and by lines."""

from __future__ import annotations

import json
import os
import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra 'media' is not installed")

from cti_framework.cli import main
from cti_framework.media import DeviceNotFoundError, MediaUnavailableError, NoSink, Silence, SoundDevice, Tone
from tests.core.sounding import FAR_HZ, share_of, sounding_plugins
from tests.core.test_cli import Ran

FAST = ("--set", "media.host_addresses=127.0.0.1", "--set", "media.quality_interval_seconds=0.2")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CTI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def cti(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str, does: str = "", provider: str = "sounding") -> Ran:
        given = ("--set", f"cti.provider={provider}", *(("--set", f"sounding.does={does}") if does else ()), *FAST)
        code = main((*given, "phone", *arguments), plugins=sounding_plugins())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        # The command tells whatever happens to it, a time-out of the test, too.
        assert "Unexpected" not in captured.err
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets the standard input be a pipe that these lines come from, and nothing more."""
    with ExitStack() as pipes:

        def type_lines(text: str) -> None:
            reader, writer = os.pipe()
            os.write(writer, text.encode())
            os.close(writer)
            monkeypatch.setattr(sys, "stdin", pipes.enter_context(os.fdopen(reader)))

        yield type_lines


async def _pcm_of(frequency_hz: int, seconds: float) -> bytes:
    tone = Tone(frequency_hz)
    return b"".join([await tone.read() or b"" for _ in range(round(seconds * 50))])


def a_file(path: Path, *tones: tuple[int, float]) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        for frequency_hz, seconds in tones:
            file.writeframes(anyio.run(_pcm_of, frequency_hz, seconds))
    return str(path)


def heard_in(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (48_000, 1)
        return bytes(file.readframes(file.getnframes()))


def holds_far_tone(path: Path) -> bool:
    pcm = heard_in(path)
    window = 9_600
    return any(share_of(pcm[start : start + window], FAR_HZ) > 0.9 for start in range(0, len(pcm) - window, window))


def names_of(ran: Ran) -> list[str]:
    return [event["event"] for event in ran.objects]


# For scripts ---------------------------------------------------------------------------------------------------------------


def test_a_script_answers_plays_and_saves(cti: Callable[..., Ran], tmp_path: Path) -> None:
    saved = tmp_path / "heard.wav"
    played = a_file(tmp_path / "hello.wav", (1_200, 0.3), (1_950, 0.3))
    # It waits until the call is connected: the other side hears both tones, the first one first.
    ran = cti("--answer", "--play", played, "--save", str(saved), does="rings late 1200 1950")
    assert ran.code == 0
    assert "normal (HEARD_ALL)" in ran.out
    assert f"Saved {saved}.\n" in ran.err
    assert "s, -18 dB at the loudest." in ran.err
    assert holds_far_tone(saved)


def test_a_script_hangs_up_when_the_file_is_over(cti: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cti("--call", "5", "--play", a_file(tmp_path / "hello.wav", (1_200, 0.2)), "--json")
    assert ran.code == 0
    assert ran.err == ""
    assert names_of(ran).index("CallConnected") < names_of(ran).index("CallFinished")
    # Not before it has arrived.
    ran = cti("--call", "5", "--play", a_file(tmp_path / "short.wav", (1_200, 0.16)), does="1200")
    assert "normal (HEARD_ALL)" in ran.out


def test_a_script_may_listen_on_when_the_file_is_over(cti: Callable[..., Ran], tmp_path: Path) -> None:
    played = a_file(tmp_path / "hello.wav", (1_200, 0.1))
    ran = cti("--call", "5", "--play", played, "--seconds", "1.2", "--json")
    finished = next(event for event in ran.objects if event["event"] == "CallFinished")
    assert finished["call"]["talk_seconds"] > 1.1


def test_a_script_talks_as_long_as_it_was_told(cti: Callable[..., Ran], tmp_path: Path) -> None:
    saved = tmp_path / "heard.wav"
    ran = cti("--call", "5", "--source", "tone:440", "--sink", str(saved), "--seconds", "0.7", "--json")
    assert ran.code == 0
    finished = next(event for event in ran.objects if event["event"] == "CallFinished")
    assert 0.6 < finished["call"]["talk_seconds"] < 5
    assert "WebRtcQuality" in names_of(ran)
    assert holds_far_tone(saved)


def test_the_exit_code_tells_that_no_call_took_place(cti: Callable[..., Ran], tmp_path: Path) -> None:
    saved = tmp_path / "heard.wav"
    ran = cti("--call", "busy", "--source", "silence", "--save", str(saved))
    assert ran.code == 1
    assert "busy (USER_BUSY)" in ran.out
    assert not saved.exists()
    assert "Saved" not in ran.err


def test_a_caller_who_gave_up_is_not_the_one_who_is_answered(cti: Callable[..., Ran]) -> None:
    ran = cti("--answer", "--source", "tone:440", "--sink", "none", does="rings gone 440")
    assert ran.code == 0
    assert "normal (HEARD_ALL)" in ran.out
    assert "from 0501234567 (Ann), ended" in ran.out


def test_a_script_ends_in_time_where_the_call_does_not(cti: Callable[..., Ran]) -> None:
    ran = cti("--call", "5", "--source", "silence", "--seconds", "0.1", does="stubborn lost")
    assert ran.code == 0
    assert "The call could not be hung up: The PBX is gone.\n" in ran.err


@pytest.mark.parametrize("arguments", [("--answer",), ("--call", "nobody")])
def test_a_script_need_not_wait_for_ever(cti: Callable[..., Ran], arguments: tuple[str, ...]) -> None:
    ran = cti(*arguments, "--source", "silence", "--within", "0.2")
    assert ran.code == 1
    assert "cti: No call was connected within 0.2 s.\n" in ran.err
    assert ("CallFinished" in ran.out) is ("--call" in arguments)


def no_device(name: str | None) -> Any:
    raise AssertionError("asked for")


def test_a_missing_microphone_is_known_before_anybody_calls(cti: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(Silence):
        async def open(self) -> None:
            raise DeviceNotFoundError("There is no microphone.")

    monkeypatch.setattr("cti_framework.cli.phone.using.Microphone", lambda name: Missing())
    monkeypatch.setattr("cti_framework.cli.phone.using.Speaker", lambda name: NoSink())
    ran = cti("--answer", does="rings")
    assert (ran.code, ran.out) == (1, "")
    assert "cti: There is no microphone.\n" in ran.err


def test_the_end_that_was_not_named_is_silent(cti: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Microphone", "Speaker"):
        monkeypatch.setattr(f"cti_framework.cli.phone.using.{name}", no_device)
    assert cti("--call", "5", "--source", "tone:440", "--seconds", "0.1").code == 0
    assert cti("--call", "5", "--sink", "none", "--seconds", "0.1").code == 0


def test_devices_are_those_of_the_settings(cti: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str | None] = []

    def device(name: str | None) -> Any:
        named.append(name)
        return Silence() if name == "mic" else NoSink()

    monkeypatch.setattr("cti_framework.cli.phone.using.Microphone", device)
    monkeypatch.setattr("cti_framework.cli.phone.using.Speaker", device)
    code = main(
        [
            *("--set", "cti.provider=sounding", "--set", "media.microphone=mic", "--set", "media.speaker=box", *FAST),
            *("phone", "--call", "5", "--seconds", "0.1"),
        ],
        plugins=sounding_plugins(),
    )
    assert code == 0
    assert set(named) == {"mic", "box"}


# What does not go together, and who is no phone ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--answer", "--call", "5"), "--answer and --call"),
        (("--play", __file__, "--source", "silence"), "--play and --source"),
        (("--save", "a.wav", "--sink", "b.wav"), "--save and a file"),
        (("--seconds", "5"), "--seconds and --within go with"),
        (("--within", "5"), "--seconds and --within go with"),
        (("--source", "tone:0"), "a tone has 1 to 20000"),
        (("--sink", "x.mp3"), "a file that ends in .wav"),
        (("--play", "/nowhere/x.wav"), "does not exist"),
        (("--answer", "--seconds", "0"), "x>0"),
    ],
)
def test_what_does_not_go_together_is_refused(cti: Callable[..., Ran], arguments: tuple[str, ...], told: str) -> None:
    ran = cti(*arguments)
    assert ran.code == 2
    assert told in ran.err
    assert not Path("a.wav").exists()


def test_a_phone_on_the_desk_plays_nothing(cti: Callable[..., Ran], typed: Callable[[str], None]) -> None:
    ran = cti("--answer", "--source", "silence", provider="desk")
    assert ran.code == 1
    assert "The provider 'desk' (DeskProvider) has no sound here" in ran.err
    typed("")
    ran = cti(provider="desk")
    assert ran.code == 1
    assert "can neither answer calls nor mute them" in ran.err
    assert "`cti call`" in ran.err


def test_the_web_phone_is_used_unless_a_setting_says_otherwise(cti: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_SOUNDING__USE_WEB_PHONE", "false")
    ran = cti("--call", "5", "--source", "silence")
    assert ran.code == 1
    assert "it is no phone" in ran.err
    assert "Set sounding.use_web_phone to true: the variable CTI_SOUNDING__USE_WEB_PHONE says false." in ran.err


def test_without_a_provider_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phone", "--answer"], plugins=sounding_plugins()) == 1
    assert "No provider is chosen" in capsys.readouterr().err


# By lines ------------------------------------------------------------------------------------------------------------------

SILENT = ("--source", "tone:440", "--sink", "none")


def test_lines_are_keys_and_the_last_call_ends_it(cti: Callable[..., Ran], typed: Callable[[str], None]) -> None:
    # The PBX of the tests hangs up after a hash.
    typed("5\nmute\nm\nhold\nH\n12\nanswer\n3#\n")
    ran = cti(*SILENT, "--json")
    assert ran.code == 0
    of_interest = ("CallConnected", "CallInfoChanged", "CallHeld", "CallUnheld", "DtmfEntered", "CallFinished")
    told = [event for event in ran.objects if event["event"] in of_interest and event.get("changed", ["muted"]) == ["muted"]]
    assert [event["event"] for event in told] == [
        "CallConnected",
        "CallInfoChanged",
        "CallInfoChanged",
        "CallHeld",
        "CallUnheld",
        *["DtmfEntered"] * 4,
        "CallFinished",
    ]
    assert [event["call"]["muted"] for event in told[:3]] == [False, True, False]
    assert "".join(event["digits"] for event in told if event["event"] == "DtmfEntered") == "123#"
    # What cannot be done is told, and goes on.
    assert json.loads(ran.err)["message"] == "Cannot answer now."


def test_lines_answer_and_hang_up(cti: Callable[..., Ran], typed: Callable[[str], None], tmp_path: Path) -> None:
    typed("call 5\nwhatever\nh\n6\nquit\n")
    ran = cti(*SILENT, "--save", str(tmp_path / "x.wav"))
    assert ran.code == 0
    assert ran.out.count("CallFinished ") == 2
    assert "'whatever' means nothing here; there are answer, back, call" in ran.err


def test_when_there_are_no_more_lines_the_last_call_goes_on(cti: Callable[..., Ran], typed: Callable[[str], None]) -> None:
    typed("5\n")
    ran = cti(*SILENT, does="440")
    assert ran.code == 0
    assert "normal (HEARD_ALL)" in ran.out


def test_without_lines_and_calls_it_ends(cti: Callable[..., Ran], typed: Callable[[str], None]) -> None:
    typed("")
    ran = cti(*SILENT)
    assert ran.code == 0
    assert "Initialized" in ran.out


def test_what_is_missing_is_told_and_the_phone_is_there_all_the_same(
    cti: Callable[..., Ran], typed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(Silence):
        async def open(self) -> None:
            raise DeviceNotFoundError("There is no microphone.")

    monkeypatch.setattr("cti_framework.cli.phone.using.Microphone", lambda name: Missing())
    typed("5\n")
    ran = cti("--sink", "none")
    assert ran.code == 0
    assert "cti: There is no microphone.\n" in ran.err
    assert "media_failure" in ran.out


# Devices -------------------------------------------------------------------------------------------------------------------


def test_devices_are_listed(cti: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    async def two() -> tuple[SoundDevice, ...]:
        return (
            SoundDevice(name="Headset", inputs=1, outputs=2, is_default_input=True, is_default_output=False),
            SoundDevice(name="HDMI", inputs=0, outputs=8, is_default_input=False, is_default_output=True),
        )

    monkeypatch.setattr("cti_framework.cli.phone.using.sound_devices", two)
    assert [line.split() for line in cti("--devices").out.splitlines()] == [
        ["name", "microphone", "speaker"],
        ["Headset", "default", "yes"],
        ["HDMI", "default"],
    ]
    assert cti("--devices", "--json").objects[1]["outputs"] == 8

    async def none() -> tuple[SoundDevice, ...]:
        return ()

    monkeypatch.setattr("cti_framework.cli.phone.using.sound_devices", none)
    assert cti("--devices") == Ran(0, "", "This computer has no sound device.\n")

    async def broken() -> tuple[SoundDevice, ...]:
        raise MediaUnavailableError("PortAudio is not installed.")

    monkeypatch.setattr("cti_framework.cli.phone.using.sound_devices", broken)
    assert cti("--devices").code == 1
