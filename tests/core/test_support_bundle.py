"""The support bundle: what is in it, what is never in it, and that it can be played again."""

from __future__ import annotations

import json
import os
import ssl
import stat
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import pytest

from cti_framework.calls import Party
from cti_framework.errors import ConnectionFailedError, NetworkError, ProviderNotFoundError
from cti_framework.events import ErrorOccurred, Initialized
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plain import event_as_plain
from cti_framework.provider import CtiUser
from cti_framework.recorder import FrameDirection
from cti_framework.reports import Offered
from cti_framework.support_bundle import SupportBundle, write_bundle
from tests.core.wired import SECRET, TOKEN, WiredProvider, wired_plugins

pytestmark = pytest.mark.anyio

PASSWORD = "canary-5e9c"
USER = CtiUser("100", parameters={"wired.password": PASSWORD})
FILES = {
    "README.txt",
    "diagnosis.txt",
    "diagnosis.json",
    "settings.json",
    "versions.json",
    "frames.jsonl",
    "events.jsonl",
}


def initializer(**settings: Any) -> CtiProviderInitializer:
    given = {"cti.provider": "wired", "wired.token": TOKEN, **settings}
    return CtiProviderInitializer(given, environ={}, plugins=wired_plugins())


def contents(path: Path) -> Mapping[str, str]:
    with zipfile.ZipFile(path) as bundle:
        assert bundle.testzip() is None
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


def jsons(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_bundle_tells_all_there_is(tmp_path: Path) -> None:
    async with initializer().open(USER) as model:
        await model.make_call("5")
        await model.drop_call()
        path = await model.write_support_bundle(tmp_path / "x.zip")
        events = [event_as_plain(event) for event in model._events.kept()]
    files = contents(path)
    assert set(files) == FILES
    assert jsons(files["events.jsonl"]) == json.loads(json.dumps(events))
    assert [frame["dir"] for frame in jsons(files["frames.jsonl"])] == ["open", "c2s", "s2c", "s2c", "s2c"]
    diagnosis = json.loads(files["diagnosis.json"])
    assert (diagnosis["provider"], diagnosis["provider_state"], diagnosis["error"]) == ("wired", "in_service", None)
    assert [command["verb"] for command in diagnosis["commands"]] == ["make_call", "drop_call"]
    broken = next(record for record in diagnosis["plugins"] if record["name"] == "broken")
    assert broken["status"] == "import-failed"
    assert "broken" in files["diagnosis.txt"]
    assert files["diagnosis.json"].startswith('{\n  "provider": "wired",\n')
    settings = {entry["key"]: entry for entry in json.loads(files["settings.json"])}
    assert settings["cti.provider"] == {"key": "cti.provider", "value": "wired", "origin": "cti.provider in the host's settings"}
    assert settings["cti.query_timeout_seconds"]["origin"] == "default"
    assert settings["wired.password"] == {
        "key": "wired.password",
        "value": "***",
        "origin": "wired.password in the user's parameters",
    }
    assert settings["wired.token"]["value"] == "***"
    versions = json.loads(files["versions.json"])
    assert versions["distributions"]["cti-framework"]
    assert versions["libraries"]["anyio"]


async def test_half_a_character_and_a_large_number_are_told_as_they_are(tmp_path: Path) -> None:
    user = CtiUser("\udcff", parameters={"wired.password": PASSWORD})
    async with initializer(**{"wired.address": "ws://pbx.example/\udcff"}).open(user) as model:
        provider = WiredProvider.latest
        provider.context.report(Offered(at=model.now(), call_id="c1", other=Party("0501", "Ole\ud83d")))
        provider.context.frame(FrameDirection.FROM_PBX, {"name": "\ud83d", "number": 10**30})
        path = await model.write_support_bundle(tmp_path / "x.zip", log=["Ole\ud83d"])
    files = contents(path)
    diagnosis = json.loads(files["diagnosis.json"])
    assert diagnosis["user"] == "\udcff"
    assert [call["other"]["name"] for call in diagnosis["calls"]] == ["Ole\ud83d"]
    assert "\\ud83d" in files["diagnosis.txt"]
    assert json.loads(files["settings.json"])
    assert jsons(files["frames.jsonl"])[-1]["frame"] == {"name": "\ud83d", "number": 10**30}
    (started,) = [event for event in jsons(files["events.jsonl"]) if event["event"] == "CallStarted"]
    assert started["call"]["other"]["name"] == "Ole\ud83d"
    assert files["log.txt"] == "Ole\\ud83d\n"


async def test_the_password_of_an_address_is_not_in_it_however_it_is_written(tmp_path: Path) -> None:
    for password in ("it's-canary", 'a"b<c-canary', "a/b'c-canary", "sla/sh-canary", "p%20q-canary"):
        async with initializer(**{"wired.address": f"ws://bob:{password}@pbx.example"}).open(USER) as model:
            log = [f"cannot reach wss://bob:{password}@pbx/x", f"the password is {password!r}", f"or {unquote(password)}"]
            files = contents(await model.write_support_bundle(tmp_path / f"{len(password)}.zip", log=log, force=True))
            lines = "\n".join(model.recorder.lines())
        assert "canary" not in "\n".join(files.values()).replace(PASSWORD, "") + lines, password


async def test_no_secret_is_in_it(tmp_path: Path) -> None:
    async with initializer().open(USER) as model:
        log = [f"somebody logged {PASSWORD}", "and password=hush-hush-hush"]
        path = await model.write_support_bundle(tmp_path / "x.zip", log=log)
    files = contents(path)
    assert set(files) == FILES | {"log.txt"}
    text = "\n".join(files.values())
    for secret in (PASSWORD, SECRET, TOKEN, "hush-hush-hush"):
        assert secret not in text
    assert "welcome ***" in files["frames.jsonl"]
    # What would be found if nothing were taken out.
    raw = b"".join(bytes(data) for *_, batch, _ in model.recorder._entries for data in batch if isinstance(data, bytes))
    assert PASSWORD.encode() in raw


async def test_a_secret_of_the_core_and_a_number_are_not_in_it(tmp_path: Path) -> None:
    number, key = "48151623", "key-canary-1"
    user = CtiUser("100", parameters={"wired.password": number})
    async with initializer(**{"cti.tls_client_key_password": key}).open(user) as model:
        model.recorder.record(FrameDirection.TO_PBX, f"userauth 100@pbx:{number}")
        model.recorder.record(FrameDirection.FROM_PBX, f'{{"caller":"{number}","echo":"{key}"}}')
        log = [f"the key's password {key}", f"bad password: {number}, said 0{number}"]
        files = contents(await model.write_support_bundle(tmp_path / "x.zip", log=log))
    assert key not in "\n".join(files.values())
    assert [frame["frame"] for frame in jsons(files["frames.jsonl"])][-2:] == [
        "userauth 100@pbx:***",
        {"caller": number, "echo": "***"},
    ]
    assert files["log.txt"].splitlines() == ["the key's password ***", f"bad password: ***, said 0{number}"]


def test_an_error_s_words_are_without_a_number_that_is_secret(tmp_path: Path) -> None:
    error = NetworkError("refused 100/48151623")
    event = ErrorOccurred(epoch="e", seq=1, at=datetime.now(UTC), error=error)
    bundle = SupportBundle("x", events=(event,), diagnosis={"commands": [{"error": error}]}, secrets=("48151623",), error=error)
    files = contents(write_bundle(tmp_path / "x.zip", bundle))
    assert "48151623" not in "\n".join(files.values())
    assert files["diagnosis.txt"].count("refused 100/***") == 2
    assert "refused 100/***" in files["events.jsonl"]


@pytest.mark.parametrize("frames", [(), ('{"t":0,"dir":"s2c","frame":1}', '{"t":1,"dir":"s2c","frame":2}')])
def test_its_readme_says_what_can_be_replayed(tmp_path: Path, frames: tuple[str, ...]) -> None:
    files = contents(write_bundle(tmp_path / "x.zip", SupportBundle(None, frames=iter(frames))))
    assert files["frames.jsonl"].splitlines() == list(frames)
    assert ("cti replay THIS.zip" in files["README.txt"]) is bool(frames)
    assert ("nothing to replay" in files["README.txt"]) is not bool(frames)
    assert max(map(len, files["README.txt"].splitlines())) <= 130
    assert json.loads(files["versions.json"])["openssl"] == ssl.OPENSSL_VERSION


async def test_it_is_its_owner_s_alone_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    async with initializer().open(USER) as model:
        await model.write_support_bundle(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_text("mine")
        with pytest.raises(FileExistsError):
            await model.write_support_bundle(path)
        assert path.read_text() == "mine"
        path.chmod(0o644)
        await model.write_support_bundle(path, force=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert set(contents(path)) == FILES
        with pytest.raises(OSError, match="No such file"):
            await model.write_support_bundle(tmp_path / "nowhere" / "x.zip")
    assert os.listdir(tmp_path) == [path.name]


async def test_half_a_bundle_is_not_left(tmp_path: Path) -> None:
    def torn() -> Any:
        yield '{"t":0,"dir":"s2c","frame":1}'
        raise ZeroDivisionError

    for force in (False, True):
        with pytest.raises(ZeroDivisionError):
            write_bundle(tmp_path / "x.zip", SupportBundle(provider=None, frames=torn()), force=force)
    assert os.listdir(tmp_path) == []


async def test_it_can_be_written_where_nothing_could_be_connected_and_after_the_end(tmp_path: Path) -> None:
    for mode, error in (("nobody", "NetworkError"), ("refuses", "CredentialsRefusedError")):
        model = await initializer(**{"wired.mode": mode}).create(USER)
        with pytest.raises(ConnectionFailedError):
            async with model:
                pass
        path = await model.write_support_bundle(tmp_path / f"{mode}.zip")
        files = contents(path)
        assert json.loads(files["diagnosis.json"])["error"]["error"] == error
        assert error in files["diagnosis.txt"]
        assert SECRET not in "\n".join(files.values())
        assert [frame["dir"] for frame in jsons(files["frames.jsonl"])] == ([] if mode == "nobody" else ["open", "c2s"])


async def test_the_ring_is_as_large_as_the_settings_say(tmp_path: Path) -> None:
    async with initializer(**{"cti.flight_recorder_seconds": 0}).open(USER) as model:
        assert list(model.recorder.lines()) == []
        files = contents(await model.write_support_bundle(tmp_path / "x.zip"))
        assert files["frames.jsonl"] == ""
    async with initializer(**{"cti.flight_recorder_kilobytes": 1}).open(USER) as model:
        for _ in range(40):
            WiredProvider.latest.hear("offered")
        assert model.recorder.lost
        files = contents(await model.write_support_bundle(tmp_path / "y.zip"))
        assert json.loads(files["diagnosis.json"])["session"]["frames_lost"] == model.recorder.lost


async def test_events_of_an_outage_are_in_it(tmp_path: Path) -> None:
    async with initializer(**{"cti.reconnect_initial_seconds": 0.01}).open(USER) as model:
        await model.make_call("5")
        reader = model.events()
        WiredProvider.latest.cut.set()
        with anyio.fail_after(5):
            WiredProvider.latest.cut = anyio.Event()
            async for event in reader:
                if isinstance(event, Initialized):
                    break
        files = contents(await model.write_support_bundle(tmp_path / "x.zip"))
    assert [frame["dir"] for frame in jsons(files["frames.jsonl"])].count("open") == 2
    assert "Disconnected" in [event["event"] for event in jsons(files["events.jsonl"])]


async def test_an_unknown_provider_is_no_session() -> None:
    with pytest.raises(ProviderNotFoundError):
        await initializer(**{"cti.provider": "wirde"}).create(USER)
