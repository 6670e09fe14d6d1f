"""The web phone's media: a port that the signalling speaks to, and two that have the sound.

`AiortcPeer` has ICE, DTLS and Opus in this process, and needs the extra `media` and asyncio. `RelayPeer` forwards to a party
that has its own WebRTC stack, a browser for example, and needs neither. Sound goes from sources to sinks in one form, ``pcm``.
`MediaPeers` makes the peers of a session's calls: `AiortcPeers` as the settings under ``media.`` say (`MediaOptions`), or
`RelayPeers`.

Importing this loads neither aiortc nor PyAV nor PortAudio; ``require_media`` tells early whether they are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cti_framework.media.available import require_media
from cti_framework.media.devices import Microphone, SoundDevice, Speaker, sound_devices
from cti_framework.media.diagnosis import check_sound
from cti_framework.media.errors import (
    DeviceNotFoundError,
    DevicePermissionError,
    DtlsFailedError,
    IceFailedError,
    MediaConnectionError,
    MediaDeviceError,
    MediaError,
    MediaFileError,
    MediaStateError,
    MediaUnavailableError,
    NoCommonCodecError,
    RelayError,
    SdpError,
)
from cti_framework.media.files import AvDevice, FileSource
from cti_framework.media.options import MediaOptions
from cti_framework.media.pcm import FRAME_BYTES, FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE_HZ, SILENCE, level_dbfs
from cti_framework.media.peers import AiortcPeers, MediaPeers, RelayPeers
from cti_framework.media.port import MediaPeer
from cti_framework.media.quality import MediaCounters, MediaQuality, mean_opinion_score, measure, rating
from cti_framework.media.relay import RelayPeer, RemoteParty
from cti_framework.media.sinks import AudioSink, LevelMeter, NoSink, Several, WavSink
from cti_framework.media.sources import AudioSource, DtmfTones, Pipe, Silence, Tone
from cti_framework.media.values import (
    AudioFailed,
    IceServer,
    MediaConnected,
    MediaEnded,
    MediaFailed,
    MediaNotice,
    MediaSettings,
    MediaState,
    QualityMeasured,
    SourceEnded,
    Told,
)

if TYPE_CHECKING:
    from cti_framework.media.rtc_peer import AiortcPeer

__all__ = [
    "FRAME_BYTES",
    "FRAME_SAMPLES",
    "FRAME_SECONDS",
    "SAMPLE_RATE_HZ",
    "SILENCE",
    "AiortcPeer",
    "AiortcPeers",
    "AudioFailed",
    "AudioSink",
    "AudioSource",
    "AvDevice",
    "DeviceNotFoundError",
    "DevicePermissionError",
    "DtlsFailedError",
    "DtmfTones",
    "FileSource",
    "IceFailedError",
    "IceServer",
    "LevelMeter",
    "MediaConnected",
    "MediaConnectionError",
    "MediaCounters",
    "MediaDeviceError",
    "MediaEnded",
    "MediaError",
    "MediaFailed",
    "MediaFileError",
    "MediaNotice",
    "MediaOptions",
    "MediaPeer",
    "MediaPeers",
    "MediaQuality",
    "MediaSettings",
    "MediaState",
    "MediaStateError",
    "MediaUnavailableError",
    "Microphone",
    "NoCommonCodecError",
    "NoSink",
    "Pipe",
    "QualityMeasured",
    "RelayError",
    "RelayPeer",
    "RelayPeers",
    "RemoteParty",
    "SdpError",
    "Several",
    "Silence",
    "SoundDevice",
    "SourceEnded",
    "Speaker",
    "Told",
    "Tone",
    "WavSink",
    "check_sound",
    "level_dbfs",
    "mean_opinion_score",
    "measure",
    "rating",
    "require_media",
    "sound_devices",
]


def __getattr__(name: str) -> Any:
    """Load aiortc when its peer is first asked for."""
    if name == "AiortcPeer":
        require_media()
        from cti_framework.media.rtc_peer import AiortcPeer

        return AiortcPeer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
