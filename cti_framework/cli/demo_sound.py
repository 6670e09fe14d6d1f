"""The sound of ``cti demo --web-phone``: both sides say a tone, and what arrives is measured by its frequency."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Final

import anyio

from cti_framework.calls import Call
from cti_framework.cli.tracing import OPERATOR, SUBSCRIBER, Trace
from cti_framework.errors import NotSupportedError, StepTimeoutError
from cti_framework.media import SAMPLE_RATE_HZ, AiortcPeers, AudioSink, MediaOptions, MediaPeers, Tone, level_dbfs
from cti_framework.media.pcm import samples_of
from cti_framework.provider import Simulation

__all__ = ["DemoSound", "frequency_hz"]

_OPERATOR_HZ: Final = 700
_SUBSCRIBER_HZ: Final = 1_200
_WITHIN_HZ: Final = 5
_HEARD_FRAMES: Final = 15
_FRESH_SECONDS: Final = 0.2
_QUIET_DBFS: Final = -50.0
_LOOK_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 10.0


def frequency_hz(pcm: bytes) -> float | None:
    """Measure the frequency of a tone.

    Args:
        pcm: A few frames of it.

    Returns:
        Hertz, to within some; ``None``: it is silent. Of what is no tone it says little.
    """
    if level_dbfs(pcm) < _QUIET_DBFS:
        return None
    samples = samples_of(pcm)
    rises = [place for place in range(1, len(samples)) if samples[place - 1] < 0 <= samples[place]]
    if len(rises) < 2:
        return None
    return SAMPLE_RATE_HZ * (len(rises) - 1) / (rises[-1] - rises[0])


class DemoSound:
    """Both ends of the demo's call.

    Args:
        simulation: The PBX in a box, of a user with a web phone.
        trace: Where steps go.

    Raises:
        NotSupportedError: Its far side has no sound.
    """

    def __init__(self, simulation: Simulation, trace: Trace) -> None:
        self._far_side: Any = simulation.far_side
        if not all(callable(getattr(self._far_side, verb, None)) for verb in ("voice", "hears")):
            raise NotSupportedError(
                "The far side of this simulator has no sound: its `voice` and `hears` are missing.", command="demo"
            )
        self._subscriber = simulation.subscriber
        self._trace = trace
        self._ear = _Ear()

    def peers(self) -> MediaPeers:
        """Give what makes the operator's sound: a tone instead of a microphone, and an ear that is looked into.

        Returns:
            It.
        """
        # Often enough that a call of some seconds has one.
        options = MediaOptions(quality_interval_seconds=0.5)
        return AiortcPeers(options, source=lambda call_id: Tone(_OPERATOR_HZ), sink=lambda call_id: self._ear)

    async def begin(self) -> None:
        """Give the subscriber a voice."""
        done = self._far_side.voice(self._subscriber, _SUBSCRIBER_HZ)
        if isawaitable(done):
            await done

    async def both_hear(self, call: Call) -> None:
        """Wait until each hears the other.

        Args:
            call: The call.

        Raises:
            StepTimeoutError: They do not.
        """
        await self._until(call, "each hears the other", lambda near, far: _is(near, _SUBSCRIBER_HZ) and _is(far, _OPERATOR_HZ))

    async def neither_hears(self, call: Call) -> None:
        """Wait until neither hears the other: the call is held.

        Args:
            call: The call.

        Raises:
            StepTimeoutError: One does.
        """
        await self._until(
            call, "neither hears the other", lambda near, far: not _is(near, _SUBSCRIBER_HZ) and not _is(far, _OPERATOR_HZ)
        )

    async def only_operator_hears(self, call: Call) -> None:
        """Wait until the subscriber hears nothing, and the operator him: the microphone is off.

        Args:
            call: The call.

        Raises:
            StepTimeoutError: It is otherwise.
        """
        await self._until(
            call, "the operator hears and is not heard", lambda near, far: _is(near, _SUBSCRIBER_HZ) and far is None
        )

    async def _until(self, call: Call, wanted: str, fits: Callable[[float | None, float | None], bool]) -> None:
        near: float | None = None
        far: float | None = None
        with anyio.move_on_after(_WAIT_SECONDS):
            while True:
                near = self._ear.hears()
                heard = self._far_side.hears(self._subscriber)
                far = await heard if isawaitable(heard) else heard
                if fits(near, far):
                    for source, target, hertz, told in (
                        (OPERATOR, SUBSCRIBER, _OPERATOR_HZ, far),
                        (SUBSCRIBER, OPERATOR, _SUBSCRIBER_HZ, near),
                    ):
                        self._trace.step(source, target, "sound", f"{hertz} Hz said, {_hertz(told)} heard", call=call.id)
                    return
                await anyio.sleep(_LOOK_SECONDS)
        raise StepTimeoutError(
            f"Within {_WAIT_SECONDS:g} s it did not come to this: {wanted}. The operator hears {_hertz(near)}, the subscriber"
            f" {_hertz(far)}.",
            step="demo",
            remedy="The lines above tell which layer was the last to do something; `cti -v demo` shows the log beside them.",
        )


class _Ear(AudioSink):
    """What the operator heard in the last third of a second."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=_HEARD_FRAMES)
        self._heard_at = 0.0

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self._frames.append(frame)
        self._heard_at = time.monotonic()

    def hears(self) -> float | None:
        # Where nothing comes any more nothing is heard, whatever came last.
        if len(self._frames) < _HEARD_FRAMES or time.monotonic() - self._heard_at > _FRESH_SECONDS:
            return None
        return frequency_hz(b"".join(self._frames))


def _is(heard: float | None, hertz: int) -> bool:
    return heard is not None and abs(heard - hertz) < _WITHIN_HZ


def _hertz(heard: float | None) -> str:
    return "nothing" if heard is None else f"{heard:.0f} Hz"
