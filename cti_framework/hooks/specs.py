"""Every hook: its name, what it is given, what it may answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pluggy

from cti_framework.events import (
    AgentStateChanged,
    CallBusy,
    CallCentreModeChanged,
    CallConnected,
    CallFinished,
    CallHeld,
    CallInfoChanged,
    CallSaved,
    CallStarted,
    CallUnheld,
    CurrentCallChanged,
    Disconnected,
    DtmfEntered,
    ErrorOccurred,
    Event,
    Initialized,
    LineStateChanged,
    ProviderStateChanged,
    RawMessage,
    RecordingStateChanged,
    ResyncRequired,
    SnapshotTaken,
    WebRtcDestroyed,
    WebRtcQuality,
    WebRtcStarted,
    WebRtcVideoStarted,
)

if TYPE_CHECKING:
    from cti_framework.provider import CtiUser

__all__ = ["CATCH_ALL", "PROJECT", "RESYNC", "HookSpecs", "hook_name", "hookimpl"]

PROJECT: Final = "cti_framework"
CATCH_ALL: Final = "cti_event"
RESYNC: Final = "cti_resync_required"

hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks a function as the implementation of a hook."""

_hookspec: Final = pluggy.HookspecMarker(PROJECT)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def hook_name(event_type: type[Event]) -> str:
    """Tell the hook of a class of event.

    Args:
        event_type: One of ``EVENT_TYPES``.

    Returns:
        ``cti_`` and the class's name in snake case: ``CallStarted`` is told to ``cti_call_started``.
    """
    return "cti_" + re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


def _asked(function: _Function) -> _Function:
    return _hookspec(firstresult=True)(function)


class HookSpecs:
    """Every hook. ``model`` is the session's ``CtiModel``."""

    # Told ------------------------------------------------------------------------------------------------------------

    @_hookspec
    def cti_event(self, model: Any, event: Event) -> None:
        """Be told every event, after the event's own hook."""

    @_hookspec
    def cti_initialized(self, model: Any, event: Initialized) -> None:
        """Be told that the session is logged in and ready for calls: for the first time, or again."""

    @_hookspec
    def cti_disconnected(self, model: Any, event: Disconnected) -> None:
        """Be told that the connection to the PBX is gone."""

    @_hookspec
    def cti_provider_state_changed(self, model: Any, event: ProviderStateChanged) -> None:
        """Be told that the connection to the PBX does something else now."""

    @_hookspec
    def cti_call_started(self, model: Any, event: CallStarted) -> None:
        """Be told that a call appeared."""

    @_hookspec
    def cti_call_connected(self, model: Any, event: CallConnected) -> None:
        """Be told that both parties of a call can talk."""

    @_hookspec
    def cti_call_held(self, model: Any, event: CallHeld) -> None:
        """Be told that a party put a call on hold."""

    @_hookspec
    def cti_call_unheld(self, model: Any, event: CallUnheld) -> None:
        """Be told that a party took a call back."""

    @_hookspec
    def cti_call_busy(self, model: Any, event: CallBusy) -> None:
        """Be told that the far end is busy."""

    @_hookspec
    def cti_call_info_changed(self, model: Any, event: CallInfoChanged) -> None:
        """Be told that something about a call changed that no other hook tells."""

    @_hookspec
    def cti_call_finished(self, model: Any, event: CallFinished) -> None:
        """Be told that a call is over."""

    @_hookspec
    def cti_call_saved(self, model: Any, event: CallSaved) -> None:
        """Be told that a journal stored a call."""

    @_hookspec
    def cti_recording_state_changed(self, model: Any, event: RecordingStateChanged) -> None:
        """Be told that recording of a call started or stopped."""

    @_hookspec
    def cti_dtmf_entered(self, model: Any, event: DtmfEntered) -> None:
        """Be told that tones were sent or received."""

    @_hookspec
    def cti_web_rtc_started(self, model: Any, event: WebRtcStarted) -> None:
        """Be told that the web phone's media session for a call began."""

    @_hookspec
    def cti_web_rtc_video_started(self, model: Any, event: WebRtcVideoStarted) -> None:
        """Be told that video flows in the web phone's media session."""

    @_hookspec
    def cti_web_rtc_quality(self, model: Any, event: WebRtcQuality) -> None:
        """Be told how good the sound of a call is, every few seconds."""

    @_hookspec
    def cti_web_rtc_destroyed(self, model: Any, event: WebRtcDestroyed) -> None:
        """Be told that the web phone's media session for a call is over."""

    @_hookspec
    def cti_current_call_changed(self, model: Any, event: CurrentCallChanged) -> None:
        """Be told that another call, or none, is the one that the operator deals with first."""

    @_hookspec
    def cti_line_state_changed(self, model: Any, event: LineStateChanged) -> None:
        """Be told that what may be done has changed."""

    @_hookspec
    def cti_agent_state_changed(self, model: Any, event: AgentStateChanged) -> None:
        """Be told that the operator's state changed."""

    @_hookspec
    def cti_call_centre_mode_changed(self, model: Any, event: CallCentreModeChanged) -> None:
        """Be told that the operator takes calls of queues, or no longer."""

    @_hookspec
    def cti_snapshot_taken(self, model: Any, event: SnapshotTaken) -> None:
        """Be told that the PBX was asked for its calls and the line agrees with the answer."""

    @_hookspec
    def cti_error_occurred(self, model: Any, event: ErrorOccurred) -> None:
        """Be told that something went wrong that no command's outcome tells."""

    @_hookspec
    def cti_raw_message(self, model: Any, event: RawMessage) -> None:
        """Be told a message of the PBX, unchanged; only where raw messages were asked for."""

    @_hookspec
    def cti_resync_required(self, model: Any, event: ResyncRequired) -> None:
        """Be told that this plugin alone missed events, with all there is; what it is told next came after that.

        It took longer than events came, or it was switched off for a while. The catch-all is not told it.
        """

    # Asked -----------------------------------------------------------------------------------------------------------

    @_asked
    def cti_log_in(self, user: CtiUser, licences: tuple[str, ...]) -> bool | str | None:
        """Decide whether the user may use telephony, before anything connects. May be ``async``.

        Args:
            user: Who.
            licences: The licences that the provider needs.

        Returns:
            ``True`` or the text of a session: yes. ``False``: no. ``None``: no opinion. To say why not, raise
            ``LogInRefusedError``.
        """

    @_asked
    def cti_user_connection(self, user: CtiUser, provider: str) -> Mapping[str, Any] | None:
        """Look up the user's own connection settings in a users directory. May be ``async``.

        Args:
            user: Who.
            provider: The name of the provider that is going to connect.

        Returns:
            Settings: dotted keys, the product's codes, or names without a prefix. ``None``: this directory does not know
            the user.
        """

    @_asked
    def cti_identify(self, number: str) -> Any | None:
        """Find out whose number it is. May be ``async``.

        Args:
            number: As the PBX tells it.

        Returns:
            Whoever the host knows by it; ``None``: nobody.
        """

    @_asked
    def cti_save_call(self, entry: Any) -> str | int | None:
        """Store a journal entry. May be ``async``.

        Args:
            entry: The entry.

        Returns:
            Its identifier in the store; ``None``: not stored here.
        """

    @_asked
    def cti_setting(self, key: str) -> Any | None:
        """Give a system setting. May be ``async``.

        Args:
            key: The dotted key, for example ``"webitel.connection_string"``.

        Returns:
            Its value; ``None``: not known here.
        """
