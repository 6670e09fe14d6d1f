"""The command ``cti`` as processes of their own: nothing of what the settings keep secret is written, listed or shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import pytest

from tests.canary.canary import Canary
from tests.canary.scenarios import ACCOUNT, UUID, Marked, marked_simulator
from tests.webitel.sessions import FAR, PATIENCE_SECONDS

pytestmark = [
    pytest.mark.anyio,
    # The processes have event loops of their own.
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]

ROOT: Final = Path(__file__).parents[2]
_COMMAND: Final = [sys.executable, "-m", "cti_framework.cli"]
_UNREDACTED: Final = [
    sys.executable,
    "-c",
    """
import sys
from cti_framework.redaction import SecretRedactor
SecretRedactor.__call__ = lambda self, logger, method_name, event_dict: event_dict
SecretRedactor.redact = lambda self, value: value
from cti_framework.cli import main
sys.exit(main())
""",
]
_LEAKY: Final = """
import os
from cti_framework.hooks import hookimpl
from cti_framework.errors import NetworkError, UserConnectionError
from cti_framework.provider import BaseCtiProvider
from cti_framework.reports import Snapshot, Started
from typed_settings.types import Secret
from cti_framework.settings import setting
import anyio
import attrs

@attrs.frozen(kw_only=True)
class UserSettings:
    password: Secret[str] = setting()

class Provider(BaseCtiProvider):
    user_settings_type = UserSettings
    async def run(self):
        raise RuntimeError("cannot log in with " + self.context.user_settings.password.get_secret_value())
    async def snapshot(self): ...
    async def make_call(self, destination): ...
    async def drop_call(self, call): ...

class Refusing(Provider):
    def __init__(self, context):
        super().__init__(context)
        raise UserConnectionError("nobody knows " + context.user_settings.password.get_secret_value())

class Breaking(Provider):
    def __init__(self, context):
        super().__init__(context)
        self.asked = anyio.Event()
    async def run(self):
        self.context.report(Started(at=self.context.clock.now()))
        await self.asked.wait()
        # Until the answer is taken over: the session is open then.
        await anyio.wait_all_tasks_blocked()
        raise NetworkError("broke off with " + self.context.user_settings.password.get_secret_value())
    async def snapshot(self):
        self.asked.set()
        return Snapshot(at=self.context.clock.now(), complete=True)

class Companion:
    @hookimpl
    def cti_call_started(self, model, event):
        raise RuntimeError("cannot tell the CRM with " + os.environ["CTI_WEBITEL__PASSWORD"])

companion = Companion()
"""


class Desk:
    """A computer on which the command is used: its settings, its plugins, what is written on it."""

    def __init__(self, marked: Marked, folder: Path, command: Sequence[str] = _COMMAND) -> None:
        self.canary = marked.canary
        self._folder = folder
        self._command = command
        self._toml = folder / "pbx.toml"
        self._toml.write_text(
            f'[cti]\nprovider = "webitel"\n[webitel]\nconnection_string = "{marked.url}"\nlogin = "{ACCOUNT}"\n'
        )
        info = folder / "plugins" / "leaky-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[cti_framework.providers]\nleaky = leaky:Provider\n"
            "refusing = leaky:Refusing\nbreaking = leaky:Breaking\n[cti_framework.companions]\nleaky = leaky:companion\n"
        )
        (folder / "plugins" / "leaky.py").write_text(_LEAKY)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CTI_")},
            "PYTHONPATH": os.pathsep.join([str(folder / "plugins"), os.environ.get("PYTHONPATH", "")]),
            "CTI_WEBITEL__PASSWORD": marked.password,
            **{f"CTI_{name}__PASSWORD": marked.password for name in ("LEAKY", "REFUSING", "BREAKING")},
        }

    async def run(self, *words: str, until: str = "", **environ: str) -> int:
        """Run ``cti``, to its end or until it writes something, and look at all that it writes."""
        place = f"cti {' '.join(word for word in words if not word.startswith('/'))}"
        command = [*self._command, "-vv", "--settings", str(self._toml), *words]
        with anyio.fail_after(PATIENCE_SECONDS):
            async with await anyio.open_process(
                command, cwd=ROOT, env={**self._environ, **environ}, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdout is not None
                written = b""
                async for piece in process.stdout:
                    if not written:
                        self._see_processes()
                    written += piece
                    if until and until.encode() in written:
                        until = ""
                        process.send_signal(signal.SIGINT)
                await process.wait()
        assert not until, f"{place} never wrote {until!r}:\n{written.decode()}"
        self.canary.see(place, written.decode("utf-8", "replace"))
        assert process.returncode is not None
        return process.returncode

    def see_files(self) -> list[str]:
        """Look at all that was written to files; tell their names."""
        names = sorted(path.name for path in self._folder.iterdir() if path.suffix in (".jsonl", ".zip"))
        for name in names:
            self.canary.see_file(self._folder / name)
        return names

    def _see_processes(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                # It has ended meanwhile.
                continue
            self.canary.see("arguments of processes", words)


async def use(desk: Desk, folder: Path) -> None:
    """Go through the commands, a few at a time."""
    wrong = {"CTI_WEBITEL__PASSWORD": desk.canary.secret("wrong password")}
    of_leaky = ("--set", "cti.provider=leaky")
    connected = "cti.connection.in_service"

    def bundle(name: str) -> tuple[str, ...]:
        return ("support-bundle", "--for", "0.5", "--output", str(folder / name))

    async def sessions() -> None:
        assert await desk.run("listen", "--capture", str(folder / "a.frames.jsonl"), until=connected) == 130
        assert await desk.run("call", FAR, "--json", until="CallConnected") == 130
        assert await desk.run("listen", "--json", until='"event":"SnapshotTaken"', CTI_RAW_MESSAGES="true") == 130
        assert await desk.run("recordings", UUID, "--json", "--save", str(folder)) == 0

    async def failures() -> None:
        assert await desk.run("listen", **wrong) == 1
        assert await desk.run(*of_leaky, "listen") == 1
        assert await desk.run("--set", f"cti.query_timeout_seconds=http://x:{desk.canary.secret('url token')}@y", "listen") == 1

    async def errors_of_plugins() -> None:
        for provider in ("refusing", "breaking"):
            chosen = ("--set", f"cti.provider={provider}")
            if provider == "refusing":
                assert await desk.run(*chosen, "listen") == 1
                assert await desk.run(*chosen, "doctor") == 1
            else:
                assert await desk.run(*chosen, "listen", until="Disconnected") == 130
                assert await desk.run(*chosen, "listen", "--json", until='"event":"Disconnected"') == 130
            assert await desk.run(*chosen, *bundle(f"{provider}.zip")) == 0

    async def bundles() -> None:
        assert await desk.run(*bundle("connected.zip")) == 0
        assert await desk.run("replay", str(folder / "connected.zip"), "--json") == 0
        assert await desk.run(*bundle("refused.zip"), **wrong) == 0
        assert await desk.run(*of_leaky, *bundle("leaky.zip")) == 0

    async def diagnoses() -> None:
        traced = {"CTI_TRACE_HOOKS": "true"}
        assert await desk.run("doctor", "--user", "100", **traced) == 0
        assert await desk.run("doctor", "--json", **wrong) == 1
        assert await desk.run(*of_leaky, "doctor", "--json", **traced) == 1

    async with anyio.create_task_group() as tasks:
        for act in (sessions, failures, errors_of_plugins, bundles, diagnoses):
            tasks.start_soon(act)
    assert desk.see_files() == ["a.frames.jsonl", "breaking.zip", "connected.zip", "leaky.zip", "refused.zip", "refusing.zip"]


async def test_nothing_comes_out(tmp_path: Path) -> None:
    canary = Canary()
    async with marked_simulator(canary) as marked:
        await use(Desk(marked, tmp_path), tmp_path)
    found = canary.found()
    # What is typed at a prompt is an argument of the process; the command's help says how not to.
    found.get("arguments of processes", set()).discard("url token")
    assert {place: names for place, names in found.items() if names} == {}, canary.explain()


async def test_without_redaction_it_would(tmp_path: Path) -> None:
    canary = Canary()
    async with marked_simulator(canary) as marked:
        desk = Desk(marked, tmp_path, _UNREDACTED)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(desk.run, "call", FAR, "--json", until="CallConnected"))
            tasks.start_soon(partial(desk.run, "--set", "cti.provider=leaky", "listen"))
            tasks.start_soon(partial(desk.run, "support-bundle", "--for", "0.5", "--output", str(tmp_path / "open.zip")))
        desk.see_files()
    found = canary.found()
    assert found[f"cti call {FAR} --json"] == {"password"}
    assert found["cti --set cti.provider=leaky listen"] == {"password"}
    assert found[".zip: frames.jsonl"] == {"password"}
