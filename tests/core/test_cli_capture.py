"""``cti listen --capture`` and ``cti support-bundle``: what they write, and what they do where they cannot."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from typed_settings.types import Secret

from cti_framework.calls import Call, Party
from cti_framework.cli import main
from cti_framework.cli.capture import CaptureFile
from cti_framework.cli.replay import _Session
from cti_framework.errors import CredentialsRefusedError, NetworkError, UserConnectionError
from cti_framework.events import CallFinished, CallStarted
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, ProviderContext, ReplayLine
from cti_framework.reports import Offered, Snapshot, Started
from cti_framework.settings import setting
from tests.core.wired import SECRET, WiredProvider, wired_plugins

PASSWORD = "canary-5e9c"
BLABS = Plugins(entry_points=lambda: [EntryPoint("blabs", f"{__name__}:Blabs", "cti_framework.providers")])
WIRED = ("--set", "cti.provider=wired", "--set", f"wired.password={PASSWORD}")


@attrs.frozen(kw_only=True)
class BlabsSettings:
    password: Secret[str] = setting()
    at_once: bool = setting(default=False)


class Blabs(BaseCtiProvider):
    """Writes the password into errors of the framework's own kinds."""

    user_settings_type = BlabsSettings

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.said = f"100/{context.user_settings.password.get_secret_value()}"
        if context.user_settings.at_once:
            raise UserConnectionError(f"nobody knows {self.said}")
        self.times = 0
        self.asked = anyio.Event()

    async def run(self) -> None:
        self.times += 1
        if self.times == 1:
            self.context.report(Started(at=self.context.clock.now()))
            await self.asked.wait()
            # Until the answer is taken over: the session is open then.
            await anyio.wait_all_tasks_blocked()
            raise NetworkError(f"refused {self.said}")
        raise CredentialsRefusedError("no", remedy=f"ask for {self.said.partition('/')[2]}")

    async def snapshot(self) -> Snapshot:
        self.asked.set()
        return Snapshot(at=self.context.clock.now(), complete=True)

    async def make_call(self, destination: str) -> Call:
        raise AssertionError

    async def drop_call(self, call: Call) -> None:
        raise AssertionError


@attrs.frozen
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def cti(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in [name for name in os.environ if name.startswith("CTI_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, plugins: Plugins | None = None) -> Ran:
        code = main(arguments, plugins=plugins or wired_plugins())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        assert PASSWORD not in captured.out + captured.err
        return Ran(code, captured.out, captured.err)

    yield run


def files(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


# listen --capture ----------------------------------------------------------------------------------------------------------


def test_listen_writes_frames_as_they_come(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    ran = cti(*WIRED, "--set", "wired.mode=refuses", "listen", "--capture", str(path))
    assert ran.code == 1
    assert "refuses user 100" in ran.err
    opened, sent = map(json.loads, path.read_text().splitlines())
    assert (opened["dir"], opened["frame"]) == ("open", "ws://***@pbx.example")
    assert sent["frame"]["password"] == "***"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_capture_that_is_there_is_not_replaced_unless_asked_for(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("mine")
    listen = (*WIRED, "--set", "wired.mode=refuses", "listen", "--capture", str(path))
    ran = cti(*listen)
    assert ran.code == 1
    assert "there is such a file" in ran.err
    assert path.read_text() == "mine"
    path.chmod(0o644)
    assert "refuses user 100" in cti(*listen, "--force").err
    assert len(path.read_text().splitlines()) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_capture_says_that_it_is_empty_and_that_it_cannot_be_made(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    ran = cti(*WIRED, "--set", "wired.mode=nobody", "listen", "--capture", str(path))
    assert "is empty: no frame came by" in ran.err
    ran = cti(*WIRED, "listen", "--capture", str(tmp_path / "nowhere" / "x.jsonl"))
    assert (ran.code, "No such file" in ran.err) == (1, True)


def test_a_full_disk_ends_the_command_and_not_the_session(cti: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = CaptureFile.write

    def fail_at_the_second(self: CaptureFile, line: str) -> None:
        if self.frames:
            # What the system would say.
            self._file.close()
            self._file = Full()  # type: ignore[assignment]  # what is written to it is refused
        write(self, line)

    monkeypatch.setattr(CaptureFile, "write", fail_at_the_second)
    path = tmp_path / "x.jsonl"
    ran = cti(*WIRED, "listen", "--capture", str(path))
    assert ran.code == 1
    assert "cannot be written: No space left on device" in ran.err
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_is_written_to_as_it_is(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o640)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    listen = (*WIRED, "--set", "wired.mode=refuses", "listen", "--force", "--capture", str(path))
    assert "refuses user 100" in cti(*listen).err
    assert len(os.read(reader, 10_000).splitlines()) == 2
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "cannot be written" in cti(*listen).err


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_in_an_event_holds_no_secret(cti: Any, as_json: bool) -> None:
    arguments = ("--set", "cti.provider=blabs", "--set", f"blabs.password={PASSWORD}", "listen")
    ran = cti(*arguments, *(["--json"] if as_json else []), plugins=BLABS)
    assert ran.code == 1
    # What the engine says is told as it is; the fixture has looked for the password.
    assert "refused 100/***" in ran.out
    assert "ask for ***" in ran.err
    if as_json:
        (told,) = [event for event in map(json.loads, ran.out.splitlines()) if event["event"] == "Disconnected"]
        assert told["error"]["message"] == "refused 100/***"


class Full:
    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# support-bundle ------------------------------------------------------------------------------------------------------------


def test_a_bundle_is_recorded_and_played_again(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    ran = cti(*WIRED, "--set", "wired.mode=talks", "support-bundle", "--for", "0.3", "--output", str(path), "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == {"file": str(path), "frames": 7, "events": len(files(path)["events.jsonl"].splitlines())}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ran = cti("replay", str(path), "--json")
    assert ran.code == 0
    again = [event for line in ran.out.splitlines() for event in json.loads(line)["events"]]
    live = [json.loads(line) for line in files(path)["events.jsonl"].splitlines()]
    names = [[event["event"] for event in events if "call" in event] for events in (live, again)]
    assert names[0] == names[1]
    assert "CallFinished" in names[0]
    assert "CallFinished" in cti("replay", str(path)).out
    text = "\n".join(files(path).values())
    assert PASSWORD not in text
    assert SECRET not in text
    assert "cti.connection.in_service" in files(path)["log.txt"]


@pytest.mark.parametrize("mode", ["nobody", "refuses"])
def test_a_bundle_is_written_where_nothing_can_be_connected(cti: Any, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.zip"
    ran = cti(*WIRED, "--set", f"wired.mode={mode}", "support-bundle", "--for", "0.2", "--output", str(path))
    assert ran.code == 0
    said = "Nobody answers" if mode == "nobody" else "refuses user 100"
    assert said in ran.err
    assert said in files(path)["diagnosis.txt"]
    assert "cti.connection" in files(path)["log.txt"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("--set", "cti.provider=wirde"), "No installed plugin offers the provider 'wirde'"),
        ((), "No provider is chosen"),
        (("--set", "cti.provider=wired", "--set", "cti.auto_connect=perhaps"), "cti.auto_connect"),
        (("--settings", "nowhere.toml"), "settings file cannot be read"),
    ],
)
def test_a_bundle_is_written_where_there_is_no_session(cti: Any, tmp_path: Path, settings: tuple[str, ...], said: str) -> None:
    path = tmp_path / "x.zip"
    ran = cti(*settings, "support-bundle", "--for", "0.2", "--output", str(path))
    assert ran.code == 0
    assert said in ran.err
    told = files(path)
    assert json.loads(told["diagnosis.json"])["error"]["error"]
    assert [record["name"] for record in json.loads(told["diagnosis.json"])["plugins"]] == ["wired", "broken"]
    assert told["frames.jsonl"] == ""


@pytest.mark.parametrize("number", [PASSWORD, "48151623"])
def test_a_bundle_without_a_session_holds_no_secret(cti: Any, tmp_path: Path, number: str) -> None:
    path = tmp_path / "x.zip"
    settings = ("--set", "cti.provider=blabs", "--set", f"blabs.password={number}", "--set", "blabs.at_once=true")
    ran = cti(*settings, "support-bundle", "--for", "0.2", "--output", str(path), plugins=BLABS)
    assert ran.code == 0
    assert number not in ran.err
    told = files(path)
    assert json.loads(told["diagnosis.json"])["error"]["message"] == "nobody knows 100/***"
    assert number not in "\n".join(told.values())


def test_what_cannot_be_written_is_told_before_anything_is_recorded_and_once(cti: Any, tmp_path: Path) -> None:
    for force in ((), ("--force",)):
        ran = cti(*WIRED, "support-bundle", "--for", "9", "--output", str(tmp_path / "nowhere" / "x.zip"), *force)
        assert ran.code == 1
        assert "Recording" not in ran.err
        assert ran.err.count("cannot be written") == 1


@pytest.mark.parametrize("mode", ["", "nobody"])
def test_what_can_be_written_no_more_is_told_once_and_leaves_nothing(
    cti: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cti_framework.model.write_bundle", full)
    path = tmp_path / "x.zip"
    path.write_text("mine")
    bundle = (*WIRED, "--set", f"wired.mode={mode}", "support-bundle", "--for", "0.1")
    ran = cti(*bundle, "--output", str(path), "--force")
    assert (ran.code, ran.err.count("cannot be written: No space left")) == (1, 1)
    assert cti(*bundle, "--output", str(tmp_path / "y.zip")).code == 1
    assert (os.listdir(tmp_path), path.read_text()) == (["x.zip"], "mine")


@pytest.mark.parametrize("seconds", ["nan", "-1", "0", "soon"])
def test_seconds_that_are_none(cti: Any, tmp_path: Path, seconds: str) -> None:
    ran = cti(*WIRED, "support-bundle", "--for", seconds, "--output", str(tmp_path / "x.zip"))
    assert (ran.code, "--for" in ran.err, os.listdir(tmp_path)) == (2, True, [])


def test_a_bundle_that_is_there_is_not_replaced_and_nothing_is_recorded_for_nothing(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_text("mine")
    bundle = (*WIRED, "support-bundle", "--for", "0.1", "--output", str(path))
    ran = cti(*bundle)
    assert (ran.code, path.read_text()) == (1, "mine")
    assert "there is such a file" in ran.err
    assert "Recording" not in ran.err
    assert cti(*bundle, "--force").code == 0
    assert "README.txt" in files(path)


def test_a_session_that_waits_for_connect_is_connected(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    arguments = (*WIRED, "--set", "cti.auto_connect=false", "support-bundle", "--for", "0.3", "--output", str(path))
    assert cti(*arguments).code == 0
    assert json.loads(files(path)["diagnosis.json"])["provider_state"] == "in_service"


def test_a_provider_without_a_wire_makes_a_bundle_without_frames(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    plugins = Plugins(entry_points=lambda: [EntryPoint("dummy", "cti_dummy:DummyCtiProvider", "cti_framework.providers")])
    arguments = ("--set", "cti.provider=dummy", "support-bundle", "--for", "0.2", "--output", str(path))
    assert cti(*arguments, plugins=plugins).code == 0
    told = files(path)
    assert told["frames.jsonl"] == ""
    assert "Initialized" in told["events.jsonl"]
    ran = cti("replay", str(path), plugins=plugins)
    assert ran.code == 1
    assert "brings no way to replay captures" in ran.err


# replay --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["no bundle", "no zip", "no diagnosis"])
def test_what_is_no_bundle_is_told(cti: Any, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.zip"
    if content == "no zip":
        path.write_bytes(b"PK\x03\x04 and nothing more")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("frames.jsonl" if content == "no diagnosis" else "x.txt", "")
    ran = cti("replay", str(path), "--provider", "wired")
    assert ran.code == 1
    assert "cannot be replayed" in ran.err


def _bundle(path: Path, compression: int = zipfile.ZIP_DEFLATED, diagnosis: str = '{"provider":"wired"}') -> bytearray:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("diagnosis.json", diagnosis)
        frames = ({"t": number, "dir": "s2c", "frame": {"say": "ready", "number": number * 7919}} for number in range(200))
        archive.writestr("frames.jsonl", "".join(json.dumps(frame) + "\n" for frame in frames))
    return bytearray(path.read_bytes())


def _frames_at(path: Path, data: bytearray) -> int:
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo("frames.jsonl").header_offset + data[26] + len("frames.jsonl") + 16


def _with_flag(data: bytearray, mark: bytes, offset: int) -> bytearray:
    place = data.find(mark)
    while place >= 0:
        data[place + offset] |= 1
        place = data.find(mark, place + 1)
    return data


def _damaged(path: Path, how: str) -> None:
    methods = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA, "stored": zipfile.ZIP_STORED}
    data = _bundle(path, methods.get(how, zipfile.ZIP_DEFLATED), "[" * 100_000 if how == "deep" else '{"provider":"wired"}')
    match how:
        case "cut":
            data = data[: len(data) // 2]
        case "encrypted":
            data = _with_flag(_with_flag(data, b"PK\x01\x02", 8), b"PK\x03\x04", 6)
        case "method":
            # A way to compress that nobody knows.
            for mark, offset in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
                for place in (found.start() for found in re.finditer(re.escape(mark), bytes(data))):
                    data[place + offset] = 77
        case "bits" | "bzip2" | "lzma" | "stored":
            begin = _frames_at(path, data) + 20
            data[begin : begin + 8] = bytes(byte ^ 0xFF for byte in data[begin : begin + 8])
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "encrypted", "method", "bits", "bzip2", "lzma", "stored", "deep"])
def test_a_bundle_that_is_damaged_is_told(cti: Any, tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.zip"
    _damaged(path, how)
    ran = cti("replay", str(path))
    assert (ran.code, ran.out) == (1, "")
    assert f"{path} cannot be replayed: " in " ".join(ran.err.split())
    assert "A fault of the program" not in ran.err
    # Nothing of it is played up to the place where it is damaged.
    assert ("what it holds is damaged" in ran.err) is (how == "stored")


@pytest.mark.parametrize("t", ["1e15", "-1e18", "1e300"])
def test_a_time_that_no_calendar_knows_is_told(cti: Any, tmp_path: Path, t: str) -> None:
    path = tmp_path / "x.frames.jsonl"
    lines = ['{"t":0,"dir":"s2c","frame":{"say":"ready"}}', f'{{"t":{t},"dir":"s2c","frame":{{"say":"offered"}}}}']
    path.write_text("\n".join(lines))
    ran = cti("replay", str(path), "--provider", "wired")
    assert ran.code == 1
    assert "cannot be replayed" in ran.err


def test_a_closed_standard_input_is_told(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ran = cti("replay", "-", "--provider", "wired")
    assert ran.code == 2
    assert "the standard input is closed" in ran.err


def test_a_bundle_without_frames_says_so(cti: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    cti(*WIRED, "--set", "wired.mode=nobody", "support-bundle", "--for", "0.1", "--output", str(path))
    ran = cti("replay", str(path))
    assert (ran.code, ran.out) == (0, "")
    assert "The bundle holds no frames" in ran.err


def test_a_snapshot_is_true_of_the_time_at_which_it_was_asked_for() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    session = _Session(WiredProvider)
    told = []
    for line in (
        ReplayLine(0.0, None, reports=(Started(at=at),)),
        ReplayLine(0.1, None, asks_snapshot=True),
        ReplayLine(0.2, None, reports=(Offered(at=at, call_id="c", other=Party("5")),)),
        # It was made before the call began, and came after.
        ReplayLine(0.3, None, reports=(Snapshot(at=at + timedelta(seconds=1)),)),
    ):
        told += session.events(line)
    assert any(isinstance(event, CallStarted) for event in told)
    assert not any(isinstance(event, CallFinished) for event in told)
    # Asked for again, it is newer than the call, which is long enough ago for a list to have it.
    again = [
        *session.events(ReplayLine(9.0, None, asks_snapshot=True)),
        *session.events(ReplayLine(9.1, None, reports=(Snapshot(at=at + timedelta(seconds=9.1)),))),
    ]
    assert any(isinstance(event, CallFinished) for event in again)
