"""Whether a call would have sound, looked at without one: the steps of ``cti doctor`` for a user with a web phone.

Devices are opened for a moment and heard, servers are asked as a call asks them. What only a call shows is said to be untried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import attrs

from cti_framework.diagnosis import Checks, Finding, StepState
from cti_framework.media.available import require_media
from cti_framework.media.devices import Microphone, Speaker, sound_devices
from cti_framework.media.errors import IceFailedError
from cti_framework.media.files import FileSource
from cti_framework.media.pcm import FRAME_SECONDS, level_dbfs
from cti_framework.media.peers import AiortcPeers, MediaPeers
from cti_framework.media.sinks import AudioSink
from cti_framework.media.values import IceServer, MediaSettings

__all__ = ["check_sound"]

_LISTENED_FRAMES: Final = 25
_NOTHING_DBFS: Final = -95.0
_MORE_SECONDS: Final = 5.0


async def check_sound(checks: Checks, media: MediaPeers) -> None:
    """Take the steps that tell whether calls can have sound here.

    Args:
        checks: Takes them: ``sound: libraries``, ``devices``, ``microphone``, ``speaker``, ``ringing``, ``stun``, ``turn`` and
            ``call``.
        media: What would make the calls' media.
    """
    if not isinstance(media, AiortcPeers):
        checks.tell("sound: libraries", Finding("Not looked at: the host has the sound elsewhere.", StepState.SKIPPED))
        return
    looked = _Looked(media)

    async def check(what: str, act: Callable[[], Awaitable[Finding | str]], *needs: str, seconds: float | None = None) -> None:
        await checks.check(f"sound: {what}", act, needs=[f"sound: {need}" for need in needs], timeout_seconds=seconds)

    seconds = looked.settings.gather_timeout_seconds + _MORE_SECONDS
    await check("libraries", looked.libraries)
    await check("devices", looked.devices, "libraries")
    await check("microphone", looked.microphone, "devices")
    await check("speaker", looked.speaker, "devices")
    await check("ringing", looked.ringing, "devices")
    await check("stun", looked.stun, "libraries", seconds=seconds)
    await check("turn", looked.turn, "libraries", seconds=seconds)
    untried = "Not tried: that sound finds its way to the PBX and back only a call shows, `cti phone` for one."
    checks.tell("sound: call", Finding(untried, StepState.SKIPPED))


class _Looked:
    def __init__(self, media: AiortcPeers) -> None:
        self.options = media.options
        self.settings: MediaSettings = media.options.media_settings()

    async def libraries(self) -> str:
        require_media()
        return "aiortc and PyAV are there."

    async def devices(self) -> Finding | str:
        found = await sound_devices()
        if not found:
            return Finding(
                "This computer has no sound device.",
                StepState.WARNING,
                remedy="Plug one in, or give the session a source and a sink of its own: a robot needs no device.",
            )
        inputs = [device.name for device in found if device.inputs]
        outputs = [device.name for device in found if device.outputs]
        return f"Microphones: {', '.join(inputs) or 'none'}. Speakers: {', '.join(outputs) or 'none'}."

    async def microphone(self) -> Finding | str:
        microphone = Microphone(self.options.microphone)
        loudest = -96.0
        await microphone.open()
        try:
            for _ in range(_LISTENED_FRAMES):
                await anyio.sleep(FRAME_SECONDS)
                loudest = max(loudest, level_dbfs(await microphone.read() or b""))
        finally:
            with anyio.CancelScope(shield=True):
                await microphone.close()
        named = _named(self.options.microphone)
        if loudest <= _NOTHING_DBFS:
            return Finding(
                f"The microphone ({named}) opens, and gives nothing but digital silence.",
                StepState.WARNING,
                remedy="Look for a switch on the headset, at the system's volume, and whether this program is allowed to listen.",
            )
        return f"The microphone ({named}) opens; the loudest of half a second was {loudest:.0f} dB of full scale."

    async def speaker(self) -> str:
        await _open(Speaker(self.options.speaker))
        return f"The speaker ({_named(self.options.speaker)}) opens. Whether it is heard only ears can tell."

    async def ringing(self) -> str:
        options = self.options
        await _open(Speaker(options.ring_device))
        if options.ring_file is None:
            return f"A call that comes in rings on the {_named(options.ring_device)}."
        file = FileSource(options.ring_file)
        await file.open()
        try:
            await file.read()
        finally:
            with anyio.CancelScope(shield=True):
                await file.close()
        return f"A call that comes in is heard as {options.ring_file} on the {_named(options.ring_device)}."

    async def stun(self) -> Finding | str:
        server = self._first("stun:")
        if server is None:
            return Finding("media.stun_servers names none: this computer shows its own addresses only.", StepState.SKIPPED)
        found = await _addresses(attrs.evolve(self.settings, ice_servers=(server,), relay_only=False), "srflx")
        if not found:
            raise IceFailedError(
                f"{server.url} does not answer.", remedy="Check the name and the port; UDP to it must pass the firewall."
            )
        return f"{server.url} answers: from outside this computer is {found}."

    async def turn(self) -> Finding | str:
        server = self._first("turn:", "turns:")
        if server is None:
            return Finding("media.turn_servers names none: nobody would relay the sound.", StepState.SKIPPED)
        found = await _addresses(attrs.evolve(self.settings, ice_servers=(server,), relay_only=True), "relay")
        if not found:
            raise IceFailedError(
                f"{server.url} gives no address: it does not answer, or refuses media.turn_username and media.turn_password.",
                remedy="Check name, port, user and password; where UDP is blocked take turns: with ?transport=tcp.",
            )
        return f"{server.url} relays, by {found}."

    def _first(self, *schemes: str) -> IceServer | None:
        # The media library asks one of each kind, the first.
        return next((server for server in self.settings.ice_servers if server.url.startswith(schemes)), None)


def _named(device: str | None) -> str:
    return "computer's default" if device is None else device


async def _open(sink: AudioSink) -> None:
    await sink.open()
    await sink.close()


async def _addresses(settings: MediaSettings, kind: str) -> str:
    """Ask a server as a call does.

    Returns:
        What was got from it; empty: nothing.
    """
    # aiortc is loaded by whoever needs it.
    from cti_framework.media.rtc_peer import AiortcPeer

    async with AiortcPeer(settings) as peer:
        sdp = await peer.offer()
    found = [line.split() for line in sdp.splitlines() if line.startswith("a=candidate:")]
    # foundation, component, transport, priority, address, port, "typ", kind
    return ", ".join(dict.fromkeys(parts[4] for parts in found if parts[7] == kind))
