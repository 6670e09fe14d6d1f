"""A robot without a sound device: it takes calls, says a greeting, writes down what is said to it, and hangs up."""

import wave
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from cti_framework import CallFeature, CallFinished, CtiModel, CtiProviderInitializer
from cti_framework.media import AiortcPeers, AudioSource, FileSource, Tone, WavSink
from cti_webitel import WebitelCtiProvider


class Greeting(AudioSource):
    """A file, and when it is over."""

    def __init__(self, path: Path) -> None:
        self._file = FileSource(path)
        self.is_over = anyio.Event()

    async def open(self) -> None:
        await self._file.open()

    async def read(self) -> bytes | None:
        frame = await self._file.read()
        if frame is None:
            self.is_over.set()
        return frame

    async def close(self) -> None:
        await self._file.close()


class AnsweringMachine:
    def __init__(self, greeting: Path, folder: Path, *, listens_seconds: float) -> None:
        self._greeting = greeting
        self._folder = folder
        self._listens_seconds = listens_seconds
        self._said: list[Greeting] = []
        # Each call has a source and a sink of its own.
        self.peers = AiortcPeers(source=self._say, sink=self._write_down)

    def _say(self, call_id: str) -> AudioSource:
        self._said.append(Greeting(self._greeting))
        return self._said[-1]

    def _write_down(self, call_id: str) -> WavSink:
        return WavSink(self._folder / f"{call_id}.wav")

    async def take_call(self, model: CtiModel) -> None:
        """Take one call, whoever calls."""
        events = model.events()
        call = None
        while call is None:
            # A call may be shown before its sound is here: it can be answered as soon as it says so.
            await anext(events)
            call = next((call for call in model.calls if CallFeature.ANSWER in call.features), None)
        await model.answer_call(call)
        await self._said[-1].is_over.wait()
        print(f"{call.other.number} was greeted")
        await anyio.sleep(self._listens_seconds)
        await model.drop_call(call)
        async for event in events:
            # At its end a call may be given the identifier of its record.
            if isinstance(event, CallFinished) and call.id in (event.call.id, *event.call.former_ids):
                return


async def record_greeting(path: Path) -> None:
    """Write a second of a tone: sources and sinks need no call."""
    tone, file = Tone(440), WavSink(path)
    await file.open()
    for _ in range(50):
        await file.write(await tone.read() or b"")
    await file.close()


def show_files(folder: Path) -> None:
    """Tell how much was heard in each call."""
    for path in folder.glob("*-*.wav"):
        with wave.open(str(path)) as file:
            print(f"heard for {file.getnframes() / file.getframerate():.0f} s")


async def take_one_call() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        await record_greeting(folder / "greeting.wav")
        machine = AnsweringMachine(folder / "greeting.wav", folder, listens_seconds=1.5)
        async with WebitelCtiProvider.simulator() as simulation:
            pbx = simulation.web_phone
            assert pbx is not None, "The extra media is not installed: pip install 'cti-framework[media]'"
            initializer = CtiProviderInitializer({"cti.provider": "webitel", **pbx.settings})
            async with initializer.open(pbx.user, media=machine.peers) as model, anyio.create_task_group() as tasks:
                tasks.start_soon(machine.take_call, model)
                await pbx.far_side.incoming("0671112233", "Ann")
        show_files(folder)


if __name__ == "__main__":
    anyio.run(take_one_call)
