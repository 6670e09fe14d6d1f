"""Why a recording could not be fetched: whose fault it is, whether to try again, what to do now.

::

    RecordingError                  below ``CommandError``; trying again never does harm
    ├── RecordingExpiredError       the key or the token of the link is refused
    ├── RecordingNotFoundError      there is no such recording, or it is gone
    ├── RecordingUnavailableError   nobody answers there, or the server is down
    ├── RecordingInterruptedError   it broke off, and again each time it was continued
    ├── RecordingAnswerError        what answers is no recording: a web page, a redirect
    ├── RecordingInsecureError      it may not be fetched as the link says: in plain text over a network
    └── RecordingFileError          it cannot be saved where it is to go, or is there already

None of them holds the key or the token, in no attribute and in no cause.
"""

from __future__ import annotations

from cti_framework.errors import CommandError, CommandStage, CtiError, ErrorType, SettingsError

__all__ = [
    "RecordingAnswerError",
    "RecordingError",
    "RecordingExpiredError",
    "RecordingFileError",
    "RecordingInsecureError",
    "RecordingInterruptedError",
    "RecordingNotFoundError",
    "RecordingUnavailableError",
]


class RecordingError(CommandError):
    """A recording could not be fetched."""

    step = "fetch_recording"


class RecordingExpiredError(RecordingError):
    """The server refuses the link's key or token: they are too old, or missing. A fresh link is the remedy."""

    error_type = ErrorType.AUTHENTICATION
    stage = CommandStage.REJECTED
    remedy = "Ask for the recordings of the call again: that gives a fresh link. What has come is continued."


class RecordingNotFoundError(RecordingError):
    """The server knows no such recording, or has removed it."""

    stage = CommandStage.REJECTED
    remedy = "The call may not have been recorded, its recording may come later, or the site keeps recordings for a time only."


class RecordingUnavailableError(RecordingError):
    """Nobody answers at the link's address, or who answers is down. Nothing is wrong with the link."""

    error_type = ErrorType.OPEN_CONNECTION
    retryable = True


class RecordingInterruptedError(RecordingError):
    """The download broke off, and again each time it was continued. What came is kept."""

    error_type = ErrorType.OPEN_CONNECTION
    stage = CommandStage.ACCEPTED
    retryable = True
    remedy = "Fetch it again into the same directory: it goes on from there."


class RecordingAnswerError(RecordingError):
    """What answers is no recording: a web page, a redirect, another program."""

    stage = CommandStage.REJECTED
    remedy = "Check the address of the recordings in the PBX's settings: the link comes from there."


class RecordingInsecureError(RecordingError):
    """The link leads over a network in plain text, which the settings do not allow, or the files for TLS cannot be used."""

    error_type = ErrorType.CONNECTION_CONFIG

    @classmethod
    def of(cls, error: CtiError) -> RecordingInsecureError:
        """Say of a recording what was said of an address.

        Args:
            error: Why the address may not be connected to.

        Returns:
            The error to raise.
        """
        problems = "; ".join(error.problems) if isinstance(error, SettingsError) else ""
        return cls(problems or error.message, remedy=error.remedy)


class RecordingFileError(RecordingError):
    """The file cannot be written where it is to go, is being written by somebody else, or is there already."""
