"""Recordings become files: whole, continued, refused; and the link's secrets are nowhere."""

from __future__ import annotations

import io
import logging
import os
import ssl
import sys
import threading
import traceback
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest
import structlog
import trustme
from typed_settings.types import Secret

from cti_framework.calls import Call
from cti_framework.errors import CommandError, CommandStage, ErrorType, InvalidArgumentError
from cti_framework.events import CallConnected, CallFinished, Cursor
from cti_framework.model import CtiModel
from cti_framework.provider import FetchProgress
from cti_webitel.recordings import (
    DownloadLimits,
    RecordingAnswerError,
    RecordingError,
    RecordingExpiredError,
    RecordingFile,
    RecordingFileError,
    RecordingInterruptedError,
    RecordingNotFoundError,
    RecordingUnavailableError,
    download_recording,
)
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.recordings import Recording
from tests.core.test_import import modules_after
from tests.webitel.http_script import Script, Silence, Unasked, answer, serve_script
from tests.webitel.sessions import FAR, OWN, PATIENCE_SECONDS, model_at

pytestmark = pytest.mark.anyio

UUID = "08080808-0000-4000-8000-000000000008"
KEY = "key-that-nobody-may-see"
TOKEN = "token-that-nobody-may-see"
AUDIO = bytes(range(256)) * 400
SWIFT = DownloadLimits(pause_seconds=0.001)
ONCE = DownloadLimits(attempts=1)


def link_at(url: str) -> str:
    return f"{url}/api/v2/files/{UUID}?x_key={KEY}&access_token={TOKEN}"


async def fetch(script: Script, directory: Path, **more: Any) -> RecordingFile:
    with anyio.fail_after(PATIENCE_SECONDS):
        return await download_recording(link_at(script.url), directory, **{"limits": SWIFT, **more})


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that was logged on our side of the wire, by anybody, at every level."""
    caplog.set_level(logging.DEBUG)

    def heard() -> str:
        records = [record for record in caplog.records if not record.name.startswith("cti_webitel.simulator")]
        return "\n".join([*(f"{record.getMessage()} {vars(record)}" for record in records), *map(repr, logged)])

    with structlog.testing.capture_logs() as logged:
        yield heard


def all_of(error: BaseException) -> str:
    """All that an error could tell somebody, what caused it included."""
    texts = [*traceback.format_exception(error)]
    while True:
        texts += [str(error), repr(error), repr(error.args), repr(vars(error))]
        if isinstance(error, CommandError):
            texts.append(repr(error.describe()))
        further = error.__cause__ or error.__context__
        if further is None:
            return "\n".join(texts)
        error = further


# --- on the simulator


@asynccontextmanager
async def simulator_with(seconds: float, **options: Any) -> AsyncIterator[tuple[WebitelSimulator, Recording]]:
    async with serve_webitel(control_port=None, options=SimulatorOptions(**options)) as simulator:
        recording = Recording(uuid=UUID, seconds=seconds, ended_at=datetime.now(UTC))
        simulator.engine.recordings.keep(recording)
        yield simulator, recording


def link_of(simulator: WebitelSimulator) -> str:
    link = simulator.engine.recordings.link(UUID, simulator.engine.tokens.give(OWN))
    assert link is not None
    return link


async def test_a_recording_is_saved_whole(tmp_path: Path) -> None:
    progress: list[FetchProgress] = []
    async with simulator_with(10) as (simulator, recording):
        saved = await download_recording(Secret(link_of(simulator)), tmp_path, progress=progress.append)
    size_bytes = len(recording.wav())
    assert saved == RecordingFile(path=tmp_path / f"{UUID}.wav", size_bytes=size_bytes, content_type="audio/wav")
    assert saved.path.read_bytes() == recording.wav()
    assert names_in(tmp_path) == [f"{UUID}.wav"]
    with wave.open(io.BytesIO(saved.path.read_bytes())) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        assert file.getnframes() == 80_000
    received = [state.received_bytes for state in progress]
    assert received == sorted(received)
    assert (received[0], progress[-1]) == (0, FetchProgress(size_bytes, size_bytes))
    assert len(progress) > 3


async def test_a_download_that_breaks_off_is_continued_at_once(tmp_path: Path) -> None:
    async with simulator_with(10, recording_cut_after_bytes=60_000) as (simulator, recording):
        saved = await download_recording(link_of(simulator), tmp_path, limits=SWIFT)
        ranges = [asked for _, _, asked in simulator.recording_server.requests]
    assert ranges == ["", "bytes=60000-", "bytes=120000-"]
    assert saved.path.read_bytes() == recording.wav()
    assert names_in(tmp_path) == [f"{UUID}.wav"]


async def test_a_download_that_was_given_up_is_continued_by_a_fresh_link(tmp_path: Path) -> None:
    # A token that is good for less than a day is never given again.
    async with simulator_with(10, recording_cut_after_bytes=100_000, token_seconds=60) as (simulator, recording):
        first, second = link_of(simulator), link_of(simulator)
        assert first != second
        with pytest.raises(RecordingInterruptedError, match=r"broke off after 100000 of 160044 bytes") as caught:
            await download_recording(first, tmp_path, limits=ONCE)
        assert (caught.value.retryable, caught.value.stage) == (True, CommandStage.ACCEPTED)
        assert names_in(tmp_path) == [f"{UUID}.part", f"{UUID}.part.json"]
        assert (tmp_path / f"{UUID}.part").stat().st_size == 100_000
        progress: list[FetchProgress] = []
        saved = await download_recording(second, tmp_path, limits=ONCE, progress=progress.append)
        ranges = [asked for _, _, asked in simulator.recording_server.requests]
    assert ranges == ["", "bytes=100000-"]
    assert progress[0] == FetchProgress(100_000, 160_044)
    assert saved.path.read_bytes() == recording.wav()
    assert names_in(tmp_path) == [f"{UUID}.wav"]


async def test_an_expired_token_is_told_and_what_came_is_kept(tmp_path: Path, told: Callable[[], str]) -> None:
    async with simulator_with(10, recording_cut_after_bytes=100_000) as (simulator, _):
        simulator.configure(token_seconds=0)
        link = link_of(simulator)
        with pytest.raises(RecordingExpiredError, match=r"refuses the key or the token of the link \(401\)") as caught:
            await download_recording(link, tmp_path)
        assert names_in(tmp_path) == []
        error = caught.value
        assert (error.retryable, error.step, error.error_type) == (False, "fetch_recording", ErrorType.AUTHENTICATION)
        assert "fresh link" in error.remedy
        simulator.configure(token_seconds=60)
        with pytest.raises(RecordingInterruptedError):
            await download_recording(link_of(simulator), tmp_path, limits=ONCE)
        with pytest.raises(RecordingExpiredError):
            await download_recording(link, tmp_path)
        assert (tmp_path / f"{UUID}.part").stat().st_size == 100_000
        await download_recording(link_of(simulator), tmp_path)
    for secret in link.partition("?")[2].split("&"):
        assert secret.partition("=")[2] not in told() + all_of(error)


async def test_a_server_that_goes_away_in_the_middle_is_tried_again(tmp_path: Path) -> None:
    async with simulator_with(10, recording_pause_seconds=0.001) as (simulator, recording):

        def cut_once(state: FetchProgress) -> None:
            if state.received_bytes > 50_000 and not cut:
                cut.append(True)
                simulator.cut(seconds=0.05)

        cut: list[bool] = []
        limits = DownloadLimits(attempts=100, pause_seconds=0.001)
        saved = await download_recording(link_of(simulator), tmp_path, progress=cut_once, limits=limits)
    assert cut
    assert saved.path.read_bytes() == recording.wav()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted on Linux")
@pytest.mark.parametrize("when", ["told", "steps"])
async def test_nothing_stays_open_whenever_a_download_is_cancelled(tmp_path: Path, when: str) -> None:
    part, whole = tmp_path / f"{UUID}.part", tmp_path / f"{UUID}.wav"
    limits = DownloadLimits(attempts=20, pause_seconds=0.0001)
    kept_bytes = set()

    def open_now() -> tuple[int, int, int]:
        return simulator.recording_server.connections, len(os.listdir("/proc/self/fd")), threading.active_count()

    async def cancel_after(count: int) -> None:
        told = 0

        def tell(state: FetchProgress) -> None:
            nonlocal told
            told += 1
            if when == "told" and told > count:
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(download_recording, link_of(simulator), tmp_path, limits=limits, progress=tell))
            if when == "steps":
                for _ in range(count * 10):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

    async with simulator_with(4, recording_cut_after_bytes=10_000) as (simulator, recording):
        (await download_recording(link_of(simulator), tmp_path, limits=limits)).path.unlink()
        with anyio.fail_after(PATIENCE_SECONDS):
            while simulator.recording_server.connections:
                await anyio.lowlevel.checkpoint()
        at_rest = open_now()
        for count in range(30):
            await cancel_after(count)
            if whole.exists():
                assert whole.read_bytes() == recording.wav()
                assert names_in(tmp_path) == [whole.name]
                whole.unlink()
            elif part.exists():
                assert recording.wav().startswith(part.read_bytes())
                kept_bytes.add(part.stat().st_size)
        with anyio.fail_after(PATIENCE_SECONDS):
            # Sockets are closed a few turns of the loop after that was asked for.
            while open_now() != at_rest:
                await anyio.lowlevel.checkpoint()
        assert when == "steps" or len(kept_bytes) > 3
        saved = await download_recording(link_of(simulator), tmp_path, limits=limits)
    assert saved.path.read_bytes() == recording.wav()


async def test_a_download_that_was_cancelled_before_the_file_had_its_name_asks_nobody(tmp_path: Path) -> None:
    async with serve_script(answer(body=AUDIO, cut_after_bytes=1000)) as script:
        with pytest.raises(RecordingInterruptedError):
            await fetch(script, tmp_path, limits=ONCE)
        (tmp_path / f"{UUID}.part").write_bytes(AUDIO)
        saved = await fetch(script, tmp_path)
        assert len(script.asked) == 1
    assert saved.path.read_bytes() == AUDIO
    assert names_in(tmp_path) == [f"{UUID}.wav"]


# --- from a call to its file


async def test_a_host_saves_the_recording_of_its_call(tmp_path: Path, told: Callable[[], str]) -> None:
    swift = SimulatorOptions(own_answer_seconds=0.0, far_answer_seconds=0.0)
    async with serve_webitel(control_port=None, options=swift) as simulator, model_at(simulator) as model:
        cursor = model.cursor
        call = await model.make_call(FAR)
        ended = await hung_up_when_connected(model, cursor)
        (link,) = await model.query_recordings(ended.id)
        assert [*await model.query_recordings(call.id)] == [link]
        progress: list[FetchProgress] = []
        file = await model.fetch_recording(link, tmp_path, progress=progress.append)
        kept = simulator.engine.recordings.get(ended.id)
        assert kept is not None
        assert (file.name, file.read_bytes()) == (f"{ended.id}.wav", kept.wav())
        assert progress[-1].received_bytes == file.stat().st_size
        # The verb's error says more than that it was not confirmed.
        simulator.engine.recordings.address = "http://127.0.0.1:1"
        (link,) = await model.query_recordings(ended.id)
        file.unlink()
        with pytest.raises(RecordingUnavailableError):
            await model.fetch_recording(link, tmp_path)
    for secret in link.partition("?")[2].split("&"):
        assert secret.partition("=")[2] not in told()


async def hung_up_when_connected(model: CtiModel, after: Cursor) -> Call:
    with anyio.fail_after(PATIENCE_SECONDS):
        async for event in model.events(after):
            if isinstance(event, CallConnected):
                await model.drop_call()
            if isinstance(event, CallFinished):
                return event.call
    raise AssertionError("the session has ended before the call")


async def test_the_command_saves_a_recording_from_the_simulator(tmp_path: Path) -> None:
    async with simulator_with(3, recording_cut_after_bytes=30_000) as (simulator, recording):
        settings = ("cti.provider=webitel", f"webitel.connection_string={simulator.url}", "webitel.login=100@demo.local")
        options = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "cti_framework.cli", "-vv", *options, "recordings", UUID, "--save", str(tmp_path)]
        with anyio.fail_after(PATIENCE_SECONDS):
            ran = await anyio.run_process(command, env={**os.environ, "CTI_WEBITEL__PASSWORD": "100"})
        address = f"{simulator.recordings_url}/api/v2/files/{UUID}"
        secrets = link_of(simulator).partition("?")[2].split("&")
    assert ran.stdout.decode() == f"{address}  {tmp_path / UUID}.wav  {len(recording.wav())} bytes\n"
    assert (tmp_path / f"{UUID}.wav").read_bytes() == recording.wav()
    assert b"webitel.recording.attempt_failed" in ran.stderr
    for secret in secrets:
        assert secret.partition("=")[2].encode() not in ran.stdout + ran.stderr


# --- what a server may say when it is asked for the rest


STRONG: dict[str, Any] = {"ETag": '"one"'}
DATED: dict[str, Any] = {"Last_Modified": "Sun, 22 Nov 2026 08:00:00 GMT"}
WEAK: dict[str, Any] = {"ETag": 'W/"one"'}


def rest(first: int = 1000, body: bytes = AUDIO, total: int | str | None = None, **headers: Any) -> bytes:
    last, total = len(body) - 1, len(body) if total is None else total
    return answer(206, body[first:], **{"Content_Range": f"bytes {first}-{last}/{total}", **headers})


@pytest.mark.parametrize(
    ("first", "condition"),
    [
        (STRONG, '"one"'),
        (DATED, "sun, 22 nov 2026 08:00:00 gmt"),
        ({**WEAK, **DATED}, "sun, 22 nov 2026 08:00:00 gmt"),
        (WEAK, None),
        ({}, None),
    ],
)
async def test_the_rest_is_asked_for_if_it_is_of_the_same_file(
    tmp_path: Path, first: dict[str, Any], condition: str | None
) -> None:
    async with serve_script(answer(body=AUDIO, cut_after_bytes=1000, **first), rest(**first)) as script:
        saved = await fetch(script, tmp_path)
        assert [asked.headers.get("range") for asked in script.asked] == [None, "bytes=1000-"]
        assert script.asked[1].headers.get("if-range") == condition
        assert {asked.headers.get("accept-encoding") for asked in script.asked} == {"identity"}
        assert [asked.target for asked in script.asked] == [f"/api/v2/files/{UUID}?x_key={KEY}&access_token={TOKEN}"] * 2
    assert saved.path.read_bytes() == AUDIO


OTHER = AUDIO[::-1] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        answer(body=OTHER, ETag='"two"'),
        rest(body=OTHER, ETag='"two"'),
        rest(body=OTHER, **STRONG),
        rest(first=999, **STRONG),
        rest(first=0, **STRONG),
        answer(206, AUDIO[999:-1], Content_Range=f"bytes 999-{len(AUDIO) - 2}/{len(AUDIO)}", **STRONG),
        answer(206, AUDIO[1000:], Content_Range="bytes", **STRONG),
        answer(416, Content_Range=f"bytes */{len(OTHER)}"),
        answer(416, b"<h1>No</h1>", Content_Type="text/html"),
        answer(416, Content_Range="bytes */1000", ETag='"two"'),
    ],
)
async def test_what_is_not_the_rest_of_the_same_file_begins_anew(tmp_path: Path, wrong: bytes) -> None:
    progress: list[FetchProgress] = []
    begun, whole = answer(body=AUDIO, cut_after_bytes=1000, **STRONG), answer(body=OTHER, ETag='"two"')
    async with serve_script(begun, wrong, whole) as script:
        saved = await fetch(script, tmp_path, progress=progress.append)
        asked = [asked.headers.get("range") for asked in script.asked]
    assert asked in ([None, "bytes=1000-"], [None, "bytes=1000-", None])
    assert saved.path.read_bytes() == OTHER
    assert 0 in [state.received_bytes for state in progress[3:]]
    assert names_in(tmp_path) == [f"{UUID}.wav"]


async def test_a_server_that_ignores_ranges_begins_anew(tmp_path: Path) -> None:
    begun = answer(body=AUDIO, cut_after_bytes=1000, **STRONG)
    async with serve_script(begun, begun, answer(body=AUDIO, **STRONG)) as script:
        saved = await fetch(script, tmp_path)
    assert saved.path.read_bytes() == AUDIO


async def test_a_rest_that_is_not_all_of_it_is_asked_for_on(tmp_path: Path) -> None:
    part = answer(206, AUDIO[1000:3000], Content_Range=f"bytes 1000-2999/{len(AUDIO)}", **STRONG)
    async with serve_script(answer(body=AUDIO, cut_after_bytes=1000, **STRONG), part, rest(first=3000, **STRONG)) as script:
        saved = await fetch(script, tmp_path)
        assert [asked.headers.get("range") for asked in script.asked] == [None, "bytes=1000-", "bytes=3000-"]
    assert saved.path.read_bytes() == AUDIO


async def test_nothing_more_to_come_is_complete(tmp_path: Path) -> None:
    chunked = b"%x\r\n%b\r\n" % (len(AUDIO), AUDIO)
    begun = answer(body=chunked, Transfer_Encoding="chunked", Content_Length="", **STRONG)
    async with serve_script(begun, answer(416, Content_Range=f"bytes */{len(AUDIO)}", **STRONG)) as script:
        saved = await fetch(script, tmp_path)
        assert [asked.headers.get("range") for asked in script.asked] == [None, f"bytes={len(AUDIO)}-"]
    assert saved.path.read_bytes() == AUDIO


async def test_a_file_of_untold_length_is_saved_if_it_ends_properly(tmp_path: Path) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(AUDIO), AUDIO)
    progress: list[FetchProgress] = []
    cut = answer(body=chunked, cut_after_bytes=1000, Transfer_Encoding="chunked", Content_Length="")
    async with serve_script(cut, answer(body=chunked, Transfer_Encoding="chunked", Content_Length="")) as script:
        saved = await fetch(script, tmp_path, progress=progress.append)
        # Nothing would tell whether the rest is that of the same file.
        assert [asked.headers.get("range") for asked in script.asked] == [None, None]
    assert saved.path.read_bytes() == AUDIO
    assert {state.total_bytes for state in progress} == {None}


@pytest.mark.parametrize("note", [b"", b"[1]", b'{"etag":7}', b'{"total_bytes":"x"}', b'{"x":1}', b'{"content_type":null}', None])
async def test_pieces_of_which_nothing_is_known_are_begun_anew(tmp_path: Path, note: bytes | None) -> None:
    (tmp_path / f"{UUID}.part").write_bytes(b"who knows what")
    if note is not None:
        (tmp_path / f"{UUID}.part.json").write_bytes(note)
    async with serve_script(answer(body=AUDIO)) as script:
        saved = await fetch(script, tmp_path)
        assert "range" not in script.asked[0].headers
    assert saved.path.read_bytes() == AUDIO
    assert names_in(tmp_path) == [f"{UUID}.wav"]


async def test_more_pieces_than_the_file_has_are_begun_anew(tmp_path: Path) -> None:
    (tmp_path / f"{UUID}.part").write_bytes(AUDIO + b"x")
    (tmp_path / f"{UUID}.part.json").write_bytes(orjson.dumps({"etag": '"one"', "total_bytes": len(AUDIO)}))
    async with serve_script(answer(body=AUDIO)) as script:
        saved = await fetch(script, tmp_path)
    assert saved.path.read_bytes() == AUDIO


# --- what goes wrong


SECRET_PLACE = f"http://evil.example/x?x_key={KEY}&access_token={TOKEN}"


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        (answer(401), RecordingExpiredError, "refuses the key or the token of the link (401)"),
        (answer(403), RecordingExpiredError, "refuses the key or the token of the link (403)"),
        (answer(404), RecordingNotFoundError, "There is no recording at "),
        (answer(410), RecordingNotFoundError, "There is no recording at "),
        (answer(302, Location=SECRET_PLACE), RecordingAnswerError, "redirects to http://evil.example (302)"),
        (answer(301, Location="/there?x=" + KEY), RecordingAnswerError, "redirects to http://127.0.0.1:"),
        (answer(307), RecordingAnswerError, "redirects to http://127.0.0.1:"),
        (answer(308, Location="http://x:y"), RecordingAnswerError, "redirects to nowhere"),
        (answer(body=b"<h1>Log in</h1>", Content_Type="text/html; charset=utf-8"), RecordingAnswerError, "with text/html, which"),
        (answer(body=b"{}", Content_Type="application/json"), RecordingAnswerError, "with application/json, which"),
        (answer(body=AUDIO, Content_Encoding="gzip"), RecordingAnswerError, "sends the recording compressed"),
        (
            answer(body=AUDIO, Content_Length="", Connection="close"),
            RecordingAnswerError,
            "does not say where the recording ends",
        ),
        (answer(body=b""), RecordingAnswerError, "is empty"),
        (answer(204, Content_Length=""), RecordingAnswerError, "answers what was not asked for (204)"),
        (answer(400), RecordingAnswerError, "answers what was not asked for (400)"),
        (rest(first=0), RecordingAnswerError, "answers what was not asked for (206)"),
        (answer(416), RecordingAnswerError, "answers what was not asked for (416)"),
        (answer(500), RecordingUnavailableError, "cannot answer now (500)"),
        (answer(503), RecordingUnavailableError, "cannot answer now (503)"),
        (answer(429), RecordingUnavailableError, "cannot answer now (429)"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", RecordingUnavailableError, "gives no answer in HTTP"),
        (b"", RecordingUnavailableError, "gives no answer in HTTP"),
        (Silence(b""), RecordingUnavailableError, "does not answer"),
        (Silence(b"HTTP/1.1 200 OK\r\nContent-"), RecordingUnavailableError, "does not answer"),
    ],
)
async def test_a_refusal_is_typed_and_leaves_nothing_behind(
    tmp_path: Path, told: Callable[[], str], said: bytes | Silence, kind: type[RecordingError], says: str
) -> None:
    async with serve_script(said) as script:
        limits = DownloadLimits(attempts=2, pause_seconds=0.001, silence_seconds=0.1)
        with pytest.raises(RecordingError) as caught:
            await fetch(script, tmp_path, limits=limits)
        error = caught.value
        assert type(error) is kind
        assert says in error.message
        assert f"{script.url}/api/v2/files/{UUID}" in error.message
        assert (error.step, bool(error.remedy)) == ("fetch_recording", True)
        assert error.retryable is (kind is RecordingUnavailableError)
        assert len(script.asked) == (2 if kind is RecordingUnavailableError else 1)
        for secret in (KEY, TOKEN):
            assert secret not in told()
            assert secret not in all_of(error)
    assert names_in(tmp_path) == []


async def test_a_redirect_is_not_followed_not_even_at_home(tmp_path: Path) -> None:
    async with serve_script(answer(body=AUDIO)) as elsewhere:
        async with serve_script(answer(302, Location=f"{elsewhere.url}/x?x_key={KEY}"), answer(body=AUDIO)) as script:
            with pytest.raises(RecordingAnswerError, match="the key is not sent there"):
                await fetch(script, tmp_path)
            assert len(script.asked) == 1
        assert elsewhere.asked == []


async def test_a_line_that_falls_silent_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    async with serve_script(Silence(answer(body=AUDIO, cut_after_bytes=1000))) as script:
        with pytest.raises(RecordingInterruptedError, match=rf"fell silent for 0\.1 s after 1000 of {len(AUDIO)} bytes"):
            await fetch(script, tmp_path, limits=DownloadLimits(attempts=1, silence_seconds=0.1))
    assert (tmp_path / f"{UUID}.part").read_bytes() == AUDIO[:1000]


async def test_the_pauses_between_attempts_grow(tmp_path: Path) -> None:
    async with serve_script(answer(503)) as script:
        began_at = anyio.current_time()
        with pytest.raises(RecordingUnavailableError):
            await fetch(script, tmp_path, limits=DownloadLimits(attempts=4, pause_seconds=0.02))
        # The upper halves of 20, 40 and 80 ms.
        assert anyio.current_time() - began_at >= 0.07
        assert len(script.asked) == 4


async def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Path, told: Callable[[], str]) -> None:
    async with serve_script(b"") as script:
        url = script.url
    slow = DownloadLimits(pause_seconds=3600)
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(RecordingUnavailableError, match="refuses connections") as caught:
        await download_recording(link_at(url), tmp_path, limits=slow)
    assert (caught.value.retryable, caught.value.error_type) == (True, ErrorType.OPEN_CONNECTION)
    # The library's error knows the request.
    assert caught.value.__context__ is None
    assert KEY not in all_of(caught.value) + told()
    assert names_in(tmp_path) == []


async def test_no_proxy_of_the_environment_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    async with serve_script(answer(body=AUDIO)) as script:
        assert (await fetch(script, tmp_path)).path.read_bytes() == AUDIO


async def test_a_host_that_nobody_knows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def unknown(*arguments: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(RecordingUnavailableError, match=r"host name .* is not known"):
        await download_recording(link_at("http://nowhere.invalid"), tmp_path)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_over_tls(tmp_path: Path, authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serve_script(answer(body=AUDIO), ssl_context=server_side(authority)) as script:
        saved = await fetch(script, tmp_path, ssl_context=trusting)
    assert saved.path.read_bytes() == AUDIO


async def test_a_certificate_that_is_not_trusted_is_told_at_once(tmp_path: Path, authority: trustme.CA) -> None:
    async with serve_script(answer(body=AUDIO), ssl_context=server_side(authority)) as script:
        with pytest.raises(RecordingUnavailableError, match=r"certificate .* is not trusted") as caught:
            await fetch(script, tmp_path, limits=DownloadLimits(pause_seconds=3600))
        assert script.asked == []
    assert not caught.value.retryable
    assert caught.value.__context__ is None


async def test_a_port_without_tls_is_told_at_once(tmp_path: Path) -> None:
    async with serve_script(Unasked(answer(400))) as script:
        script.url = script.url.replace("http:", "https:")
        with pytest.raises(RecordingUnavailableError, match=r"TLS with .* failed") as caught:
            await fetch(script, tmp_path, limits=DownloadLimits(pause_seconds=3600))
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "link",
    [
        "",
        "+OK: Not found.",
        f"ftp://pbx.example/{UUID}?x_key={KEY}",
        f"//pbx.example/{UUID}?x_key={KEY}",
        f"http:///{UUID}?x_key={KEY}",
        f"http://pbx.example:99999/{UUID}?x_key={KEY}",
        f"http://pbx.example:{KEY}/{UUID}",
        f"http://pbx.example/{UUID}?x_key={KEY}\r\nX: y",
        f"http://{'a' * 70}.example/{UUID}?x_key={KEY}",
        f"javascript:alert('{KEY}')",
    ],
)
async def test_what_is_no_link_is_refused_without_quoting_it(tmp_path: Path, link: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no address of http or https") as caught:
        await download_recording(link, tmp_path)
    assert KEY not in all_of(caught.value)
    assert names_in(tmp_path) == []


async def test_a_user_and_password_in_front_of_the_recordings(tmp_path: Path, told: Callable[[], str]) -> None:
    async with serve_script(answer(body=AUDIO)) as script:
        script.url = script.url.replace("://", f"://proxy:{TOKEN}@")
        await fetch(script, tmp_path)
        assert script.asked[0].headers["authorization"].startswith("basic ")
    assert KEY not in told()
    assert TOKEN not in told()


async def test_no_secret_is_logged_of_a_download_that_goes_well_in_the_end(tmp_path: Path, told: Callable[[], str]) -> None:
    begun = answer(body=AUDIO, cut_after_bytes=1000, Set_Cookie=f"x_key={KEY}", Link=f"<{SECRET_PLACE}>")
    async with serve_script(begun, rest()) as script:
        await fetch(script, tmp_path)
    # The logs were heard: ours, and the library's with the address alone.
    assert "webitel.recording.attempt_failed" in told()
    assert f"GET {script.url}/api/v2/files/{UUID} " in told()
    for secret in (KEY, TOKEN):
        assert secret not in told()
        assert not [name for name in names_in(tmp_path) if secret in name]


async def test_a_host_that_uses_the_library_itself_still_has_its_log(tmp_path: Path, told: Callable[[], str]) -> None:
    import httpx2

    async with serve_script(answer(body=AUDIO, X_Told="yes")) as script:
        await fetch(script, tmp_path)
        assert "X-Told" not in told()
        async with httpx2.AsyncClient(trust_env=False) as client:
            await client.get(script.url)
    assert "X-Told" in told()


async def test_the_http_library_is_loaded_by_whoever_fetches_a_recording() -> None:
    assert "httpx2" not in modules_after("import cti_webitel")
    assert "httpx2" in modules_after("import cti_webitel.recordings")


# --- the file


async def test_a_file_that_is_there_is_left_as_it_is_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / f"{UUID}.mp3").write_bytes(b"mine")
    async with serve_script(answer(body=AUDIO, Content_Type="audio/mpeg")) as script:
        with pytest.raises(RecordingFileError, match="is there already") as caught:
            await fetch(script, tmp_path)
        assert (script.asked, caught.value.retryable) == ([], False)
        assert names_in(tmp_path) == [f"{UUID}.mp3"]
        assert (tmp_path / f"{UUID}.mp3").read_bytes() == b"mine"
        saved = await fetch(script, tmp_path, overwrite=True)
    assert saved == RecordingFile(path=tmp_path / f"{UUID}.mp3", size_bytes=len(AUDIO), content_type="audio/mpeg")
    assert saved.path.read_bytes() == AUDIO


async def test_a_file_that_appears_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    def appear(state: FetchProgress) -> None:
        (tmp_path / f"{UUID}.wav").write_bytes(b"mine")

    async with serve_script(answer(body=AUDIO)) as script:
        with pytest.raises(RecordingFileError, match="is there already"):
            await fetch(script, tmp_path, progress=appear)
    assert (tmp_path / f"{UUID}.wav").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("content_type", "extension"),
    [
        ("audio/x-wav", ".wav"),
        ("Audio/MPEG; codecs=mp3", ".mp3"),
        ("application/ogg", ".ogg"),
        ("video/mp4", ".mp4"),
        ("audio/amr", ".bin"),
        ("application/octet-stream", ".bin"),
        ("", ".bin"),
    ],
)
async def test_the_content_type_names_the_file(tmp_path: Path, content_type: str, extension: str) -> None:
    async with serve_script(answer(body=AUDIO, Content_Type=content_type)) as script:
        saved = await fetch(script, tmp_path)
    assert saved.path == tmp_path / (UUID + extension)


async def test_a_path_of_the_server_leads_nowhere_else(tmp_path: Path) -> None:
    directory = tmp_path / "in" / "here"
    directory.mkdir(parents=True)
    async with serve_script(answer(body=AUDIO)) as script:
        link = f"{script.url}/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd?x_key={KEY}"
        saved = await download_recording(link, directory)
    assert saved.path == directory / "etc_passwd.wav"
    assert names_in(tmp_path) == ["in"]


async def test_a_name_of_the_hosts_own(tmp_path: Path) -> None:
    async with serve_script(answer(body=AUDIO)) as script:
        saved = await fetch(script, tmp_path, name="Ann, 22 November.wav")
        assert saved.path == tmp_path / "Ann, 22 November.wav"
        for name in ("", ".", "..", "../x", "a/b", "/x"):
            with pytest.raises(InvalidArgumentError, match="no name of a file"):
                await fetch(script, tmp_path, name=name)
    assert names_in(tmp_path) == ["Ann, 22 November.wav"]


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    async with serve_script(answer(body=AUDIO)) as script:
        with pytest.raises(RecordingFileError, match="There is no directory"):
            await fetch(script, tmp_path / "none")
        assert script.asked == []
    assert names_in(tmp_path) == []


async def test_a_disk_that_is_full_is_told_and_what_came_is_kept(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with serve_script(answer(body=AUDIO), rest(first=10_000)) as script:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, former[1]))
        try:
            with pytest.raises(RecordingFileError, match="cannot be saved") as caught:
                await fetch(script, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
        assert isinstance(caught.value.__cause__, OSError)
        assert (caught.value.retryable, bool(caught.value.remedy)) == (False, True)
        assert KEY not in all_of(caught.value)
        assert (tmp_path / f"{UUID}.part").read_bytes() == AUDIO[:10_000]
        saved = await fetch(script, tmp_path)
        assert script.asked[1].headers["range"] == "bytes=10000-"
    assert saved.path.read_bytes() == AUDIO


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is kept out there")
async def test_two_who_fetch_the_same_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with (
        serve_script(Silence(answer(body=AUDIO, cut_after_bytes=1000)), rest()) as script,
        anyio.create_task_group() as tasks,
    ):
        came = anyio.Event()

        def note(state: FetchProgress) -> None:
            if state.received_bytes:
                came.set()

        async def first() -> None:
            await fetch(script, tmp_path, progress=note)

        tasks.start_soon(first)
        await came.wait()
        with pytest.raises(RecordingFileError, match="is being written by somebody else") as caught:
            await fetch(script, tmp_path)
        assert caught.value.retryable
        assert (tmp_path / f"{UUID}.part").read_bytes() == AUDIO[:1000]
        tasks.cancel_scope.cancel()
    async with serve_script(rest()) as script:
        assert (await fetch(script, tmp_path)).path.read_bytes() == AUDIO


async def test_what_a_listener_raises_comes_out_and_the_file_is_free_again(tmp_path: Path) -> None:
    def fail(state: FetchProgress) -> None:
        if state.received_bytes:
            raise ZeroDivisionError

    async with serve_script(answer(body=AUDIO)) as script:
        with pytest.raises(ZeroDivisionError):
            await fetch(script, tmp_path, progress=fail)
        assert (await fetch(script, tmp_path)).path.read_bytes() == AUDIO
