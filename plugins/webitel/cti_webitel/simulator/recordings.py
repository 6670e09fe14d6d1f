"""The recordings that the simulated PBX keeps: a tone for as long as a call was joined (facts: webitel-protocol 3.5, 4.5).

A recording is kept by the identifier of the leg on which the call began: an operator's client finds it as the leg on whose
behalf his own was rung, or as his own leg if it was he who called.
"""

from __future__ import annotations

import io
import math
import wave
from array import array
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import attrs

from cti_framework.switchboard import LegSnapshot, Switchboard, SwitchEvent, SwitchEventName
from cti_webitel.simulator.tokens import Token

__all__ = ["Recording", "Recordings"]

_FRAMES_A_SECOND: Final = 8000
_TONE_HERTZ: Final = 400
_LOUDNESS: Final = 8000


@attrs.frozen(kw_only=True)
class Recording:
    """A call's recording.

    Attributes:
        uuid: What it is kept by.
        seconds: How long it is.
        ended_at: When the call ended.
    """

    uuid: str
    seconds: float
    ended_at: datetime

    def wav(self) -> bytes:
        """Make the file: one channel of 16 bits, 8 kHz.

        Returns:
            It, the same each time.
        """
        frames = round(self.seconds * _FRAMES_A_SECOND)
        period = _FRAMES_A_SECOND // _TONE_HERTZ
        tone = array("h", (round(_LOUDNESS * math.sin(2 * math.pi * frame / period)) for frame in range(period)))
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(tone.itemsize)
            writer.setframerate(_FRAMES_A_SECOND)
            writer.writeframes((tone * math.ceil(frames / period))[:frames].tobytes())
        return file.getvalue()


class Recordings:
    """Every call that ended after two parties were joined, by identifier.

    Args:
        switchboard: Whose calls.

    Attributes:
        address: Where they are served: scheme, host and port; empty: nowhere.
    """

    def __init__(self, switchboard: Switchboard) -> None:
        self.address = ""
        self._kept: dict[str, Recording] = {}
        self._joined_at: dict[str, datetime] = {}
        self._joined_for: dict[str, timedelta] = {}
        switchboard.subscribe(self._on_event)

    def get(self, uuid: str) -> Recording | None:
        """Find a recording.

        Args:
            uuid: What it is kept by.

        Returns:
            It; ``None``: there is none.
        """
        return self._kept.get(uuid)

    def keep(self, recording: Recording) -> None:
        """Put a recording there, whether a call was behind it or not.

        Args:
            recording: It.
        """
        self._kept[recording.uuid] = recording

    def link(self, uuid: str, token: Token) -> str | None:
        """Tell where a recording can be fetched.

        Args:
            uuid: What it is kept by.
            token: Whoever's it is may fetch it.

        Returns:
            The link, with the token's secrets; ``None``: there is no such recording, or nobody serves it.
        """
        if uuid not in self._kept or not self.address:
            return None
        return f"{self.address}/api/v2/files/{quote(uuid, safe='')}?x_key={quote(token.key)}&access_token={quote(token.token)}"

    def _on_event(self, event: SwitchEvent) -> None:
        if event.leg is None:
            return
        if event.name is SwitchEventName.CHANNEL_BRIDGE:
            for side in (event.bridge_a, event.bridge_b):
                if side is not None:
                    self._joined_at[side] = event.at
        elif event.name is SwitchEventName.CHANNEL_UNBRIDGE:
            for side in (event.bridge_a, event.bridge_b):
                self._parted(side, event.at)
        elif event.name is SwitchEventName.CHANNEL_HANGUP_COMPLETE:
            self._ended(event.leg, event.at)

    def _parted(self, leg_uuid: str | None, at: datetime) -> None:
        joined_at = self._joined_at.pop(leg_uuid or "", None)
        if leg_uuid is not None and joined_at is not None:
            self._joined_for[leg_uuid] = self._joined_for.get(leg_uuid, timedelta()) + (at - joined_at)

    def _ended(self, leg: LegSnapshot, at: datetime) -> None:
        # The called side can be hung up before the two are parted.
        self._parted(leg.uuid, at)
        joined_for = self._joined_for.pop(leg.uuid, None)
        if joined_for is None:
            return
        uuid, seconds = leg.originating_leg or leg.uuid, joined_for.total_seconds()
        kept = self._kept.get(uuid)
        if kept is None or kept.seconds < seconds:
            self._kept[uuid] = Recording(uuid=uuid, seconds=seconds, ended_at=at)
