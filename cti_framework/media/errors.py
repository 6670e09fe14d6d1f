"""Why there is no sound: whose fault it is, whether to try again, what to do now.

::

    MediaError                       below ``CtiError``
    ├── MediaUnavailableError        the extra is not installed, a library is missing, or the event loop is not asyncio's
    ├── MediaStateError              the peer is closed, or was asked for a step out of its order
    ├── MediaFileError               an audio file cannot be read or written
    ├── MediaDeviceError             a sound device cannot be used
    │   ├── DeviceNotFoundError      there is no such device, or none at all
    │   └── DevicePermissionError    this program may not use it
    ├── SdpError                     what the other side says of its media cannot be used
    │   └── NoCommonCodecError       it can, but both sides know no codec in common
    ├── MediaConnectionError         the media found no way to the other side, or lost it
    │   ├── IceFailedError           no pair of addresses works
    │   └── DtlsFailedError          addresses work, and the two sides cannot agree on keys
    └── RelayError                   the remote party that has the media did not do its part
"""

from __future__ import annotations

from cti_framework.errors import CtiError, ErrorType

__all__ = [
    "DeviceNotFoundError",
    "DevicePermissionError",
    "DtlsFailedError",
    "IceFailedError",
    "MediaConnectionError",
    "MediaDeviceError",
    "MediaError",
    "MediaFileError",
    "MediaStateError",
    "MediaUnavailableError",
    "NoCommonCodecError",
    "RelayError",
    "SdpError",
]


class MediaError(CtiError):
    """The web phone's media did not do what it was asked."""

    step = "media"


class MediaUnavailableError(MediaError):
    """Media cannot be had in this process: a package or a system library is missing, or the event loop is not asyncio's."""

    error_type = ErrorType.LOAD_LIBRARY
    remedy = "Install the extra: pip install 'cti-framework[media]'."


class MediaStateError(MediaError):
    """The peer is closed, or the step does not come next: an answer without an offer, a second first offer."""

    error_type = ErrorType.COMMAND


class MediaFileError(MediaError):
    """An audio file cannot be read, holds no sound, or cannot be written."""

    remedy = "Check the path, the rights, and that the file holds sound: 'ffprobe FILE' tells what it holds."


class MediaDeviceError(MediaError):
    """A sound device is there and cannot be used: another program holds it, or it cannot do 48 kHz."""

    retryable = True
    remedy = "Close other programs that use it, or choose another device."


class DeviceNotFoundError(MediaDeviceError):
    """There is no such device, or no sound device at all."""

    remedy = (
        "Plug it in, or choose one of those that sound_devices() lists. A robot needs none: give it a file, a tone or silence."
    )


class DevicePermissionError(MediaDeviceError):
    """This program may not use the device."""

    retryable = False
    remedy = (
        "Allow it the microphone: on Linux the user belongs to the group 'audio'; on macOS and Windows see the privacy settings."
    )


class SdpError(MediaError):
    """What the other side says of its media (SDP) cannot be used: none, no audio, no keys, no addresses, or nonsense."""

    error_type = ErrorType.OPEN_CONNECTION
    remedy = "The PBX has to offer WebRTC audio: ICE, DTLS-SRTP and rtcp-mux. Look at the SDP in a capture."


class NoCommonCodecError(SdpError):
    """The two sides know no codec in common.

    Args:
        message: What happened.
        ours: The codecs that this side knows.
        theirs: The codecs that the other side named.

    Attributes:
        ours: As given.
        theirs: As given.
    """

    def __init__(self, message: str, *, ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
        super().__init__(
            message, remedy=f"Allow one of {', '.join(ours)} on the PBX, or one of its codecs in the media settings."
        )
        self.ours = ours
        self.theirs = theirs


class MediaConnectionError(MediaError):
    """The media found no way to the other side, or lost it."""

    error_type = ErrorType.OPEN_CONNECTION
    retryable = True


class IceFailedError(MediaConnectionError):
    """No pair of addresses of the two sides works, or the pair that worked stopped working."""

    remedy = "Let UDP through the firewall between this computer and the PBX, or set a STUN or TURN server."


class DtlsFailedError(MediaConnectionError):
    """The addresses work, and the two sides cannot agree on keys: another certificate than was named, or no cipher that fits."""

    retryable = False
    remedy = "Something between the two sides may change the SDP or the certificate. Compare the fingerprints of both."


class RelayError(MediaConnectionError):
    """The remote party that has the media did not answer in time, failed, or is gone."""

    remedy = "Look at the page or program that holds the microphone: it must be open and allowed to use it."
