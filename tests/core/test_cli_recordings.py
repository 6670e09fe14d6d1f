"""``cti recordings`` on a provider of the tests' own: what it prints, what it saves, what it keeps to itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call
from cti_framework.cli import main
from cti_framework.errors import CommandRefusedError, NetworkError
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, Capabilities, FetchProgress
from cti_framework.reports import Snapshot, Started

ROOT = Path(__file__).parents[2]
SECRET = "nobody-may-see-this"
LINKS = {
    "one": (f"https://ann:{SECRET}@pbx.example:4004/files/one?x_key={SECRET}",),
    "two": (f"https://pbx.example/files/a?key={SECRET}", f"https://pbx.example/files/b?key={SECRET}#{SECRET}"),
    "half": (f"https://pbx.example/files/gone?key={SECRET}", f"https://pbx.example/files/b?key={SECRET}"),
    "slow": (f"https://pbx.example/files/slow?key={SECRET}",),
    "none": (),
}


class RecordingProvider(BaseCtiProvider):
    capabilities = Capabilities(agent=AgentFeature.CALL_RECORDS)

    async def run(self) -> None:
        self.context.report(Started(at=self.context.clock.now()))
        await anyio.sleep_forever()

    async def snapshot(self) -> Snapshot:
        return Snapshot(at=self.context.clock.now())

    async def make_call(self, destination: str) -> Call:
        raise NetworkError("Nobody calls here.")

    async def drop_call(self, call: Call) -> None:
        raise NetworkError("Nobody calls here.")

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        return LINKS[call_id]

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        name = link.partition("?")[0].rpartition("/")[2]
        if name == "gone":
            raise CommandRefusedError("That recording is gone.", remedy="Ask for another.")
        assert progress is not None
        for received_bytes in (0, 500, 1000):
            progress(FetchProgress(received_bytes, None if received_bytes == 0 else 1000))
        if name == "slow":
            (directory / "slow.part").write_bytes(b"x" * 500)
            await anyio.sleep_forever()
        file = directory / f"{name}.wav"
        file.write_bytes(b"x" * 1000)
        return file


class Silent(RecordingProvider):
    """It cannot tell of recordings."""

    capabilities = Capabilities()


def plugins() -> Plugins:
    here = "tests.core.test_cli_recordings"
    kinds = {"fake": "RecordingProvider", "silent": "Silent"}
    return Plugins(
        entry_points=lambda: [EntryPoint(name, f"{here}:{value}", "cti_framework.providers") for name, value in kinds.items()]
    )


@attrs.frozen
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def cti(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    for name in [name for name in os.environ if name.startswith("CTI_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, provider: str = "fake") -> Ran:
        code = main(["-vv", "--set", f"cti.provider={provider}", "recordings", *arguments], plugins=plugins())
        captured = capsys.readouterr()
        assert SECRET not in captured.out + captured.err
        return Ran(code, captured.out, captured.err)

    return run


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_links_are_printed_without_what_is_secret_in_them(cti: Callable[..., Ran]) -> None:
    ran = cti("one")
    assert (ran.code, ran.out) == (0, "https://pbx.example:4004/files/one\n")
    ran = cti("two", "--json")
    assert ran.code == 0
    assert objects(ran.out) == [
        {"recording": "https://pbx.example/files/a"},
        {"recording": "https://pbx.example/files/b"},
    ]


def test_recordings_are_saved_in_a_directory_that_is_made(cti: Callable[..., Ran], tmp_path: Path) -> None:
    directory = tmp_path / "new" / "audio"
    ran = cti("two", "--save", str(directory))
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"https://pbx.example/files/{name}  {directory / name}.wav  1000 bytes" for name in ("a", "b")
    ]
    assert sorted(path.name for path in directory.iterdir()) == ["a.wav", "b.wav"]
    # What goes into a file draws nothing.
    assert "\x1b" not in ran.out + ran.err


def test_saved_recordings_are_objects_with_json(cti: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cti("one", "--json", "--save", str(tmp_path))
    assert ran.code == 0
    told = {"recording": "https://pbx.example:4004/files/one", "file": str(tmp_path / "one.wav"), "bytes": 1000}
    assert objects(ran.out) == [told]


def test_one_that_cannot_be_had_does_not_keep_the_others(cti: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cti("half", "--save", str(tmp_path))
    assert ran.code == 1
    assert ran.out == f"https://pbx.example/files/b  {tmp_path / 'b.wav'}  1000 bytes\n"
    assert "cti: That recording is gone.\n     Ask for another.\n" in ran.err
    ran = cti("half", "--json", "--save", str(tmp_path))
    assert [error["message"] for error in objects(ran.err)] == ["That recording is gone."]


def test_no_recording_is_a_failure_that_says_why(cti: Callable[..., Ran], tmp_path: Path) -> None:
    ran = cti("none", "--save", str(tmp_path / "new"))
    assert (ran.code, ran.out) == (1, "")
    assert "cti: There is no recording of call none." in ran.err
    ran = cti("none", "--json")
    (error,) = objects(ran.err)
    assert (ran.code, error["error"], error["step"]) == (1, "CommandRefusedError", "query_recordings")


def test_a_provider_that_has_no_recordings_says_so(cti: Callable[..., Ran]) -> None:
    ran = cti("one", provider="silent")
    assert ran.code == 1
    assert "query_recordings: provider 'silent' can never do that" in ran.err


def test_a_directory_that_cannot_be_made_is_told(cti: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ran = cti("one", "--save", str(tmp_path / "file" / "below"))
    assert ran.code == 1
    assert "file/below: Not a directory" in ran.err
    assert cti("one", "--save", str(tmp_path / "file")).code == 2


COMMAND = """
import sys
from cti_framework.cli import main
from tests.core.test_cli_recordings import plugins
sys.exit(main(["--set", "cti.provider=fake", "recordings", *sys.argv[1:]], plugins=plugins()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_what_came(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "slow", "--save", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "slow.part").exists():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, err = running.communicate()
    assert (running.returncode, err) == (130, "")
    assert (tmp_path / "slow.part").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_terminal_is_shown_how_far_it_is(tmp_path: Path) -> None:
    leading, following = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "two", "--save", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=following,
        env=environment,
        text=True,
    ) as running:
        os.close(following)
        drawn = b""
        while chunk := read_terminal(leading):
            drawn += chunk
        out, _ = running.communicate()
    os.close(leading)
    assert running.returncode == 0
    assert len(out.splitlines()) == 2
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    for name in ("a", "b"):
        assert re.search(rf"\r{name} \S+ 1,000/1,000 bytes", shown), shown
    assert SECRET not in shown + out


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux says so when nobody writes any more.
        return b""
