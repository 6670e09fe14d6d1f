"""A capture of the web phone's signalling, gone through again: the dialogs, as Webitel's own library calls back for them.

What the client asked stands in the capture beside what the server said; the protocol is told of both, as when it happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from cti_framework.provider import ReplayLine
from cti_webitel.engine.callbacks import OnDestroyWebRtcCall, OnNewWebRtcCall, OnVideoWebRtcCall, WebRtcCallback
from cti_webitel.verto.dialogs import Dialog
from cti_webitel.verto.protocol import VertoProtocol
from cti_webitel.verto.requests import Action, Answer, Attach, Bye, DialogMessage, Invite, Modify
from cti_webitel.web_phone.video import both_show_video

__all__ = ["VertoReplay"]


class VertoReplay:
    """The signalling's side of a capture: each of its connections has a protocol of its own."""

    def __init__(self) -> None:
        self._clients: dict[object, _Client] = {}

    def feed(self, client: object, direction: str, frame: Any, at_seconds: float) -> Iterator[ReplayLine]:
        """Take a frame.

        Args:
            client: Whose connection it is of.
            direction: Which way it went, as a capture's ``dir`` says.
            frame: It.
            at_seconds: When, since the capture began.

        Yields:
            What the library would call back.
        """
        known = self._clients.get(client)
        if known is None:
            known = self._clients[client] = _Client()
        for callback in known.feed(direction, frame):
            yield ReplayLine(at_seconds, callback.name, callback.payload(), True, text=callback.name)


class _Client:
    """One client of a capture."""

    def __init__(self) -> None:
        self._protocol = VertoProtocol()
        self._known: dict[str, Dialog] = {}
        self._ours: dict[str, str] = {}
        self._shows_video: set[str] = set()
        self._is_open = False

    def feed(self, direction: str, frame: Any) -> Iterator[WebRtcCallback]:
        if direction == "close":
            self._protocol.closed()
            self._is_open = False
        elif direction == "open" or not self._is_open:
            # A ring of frames can lack the beginning.
            self._protocol.opened()
            self._is_open = True
        if direction == "c2s" and isinstance(frame, dict):
            self._sent(frame)
        elif direction == "s2c":
            self._protocol.receive(frame if isinstance(frame, str) else orjson.dumps(frame))
        self._protocol.take_replies()
        yield from self._differences()

    def _sent(self, frame: Mapping[str, Any]) -> None:
        params = frame.get("params")
        dialog = params.get("dialogParams") if isinstance(params, dict) else None
        call_id = dialog.get("callID") if isinstance(dialog, dict) else None
        read = _READ.get(str(frame.get("method")))
        request_id = frame.get("id")
        if read is None or not isinstance(params, dict) or not isinstance(call_id, str) or type(request_id) is not int:
            return
        if isinstance(params.get("sdp"), str):
            self._ours[call_id] = params["sdp"]
        self._protocol.record_sent(request_id, read(call_id, params))

    def _differences(self) -> Iterator[WebRtcCallback]:
        """Tell the dialogs that are new, show video or are over since the last frame."""
        live = dict(self._protocol.dialogs)
        for call_id, dialog in live.items():
            if call_id not in self._known:
                yield _about(OnNewWebRtcCall, dialog)
            theirs, ours = dialog.remote_sdp, self._ours.get(call_id)
            if dialog.is_answered and theirs and ours and call_id not in self._shows_video and both_show_video(ours, theirs):
                self._shows_video.add(call_id)
                yield _about(OnVideoWebRtcCall, dialog)
        for call_id, dialog in self._known.items():
            if call_id not in live:
                self._ours.pop(call_id, None)
                self._shows_video.discard(call_id)
                yield _about(OnDestroyWebRtcCall, dialog)
        self._known = live


def _about(kind: type[WebRtcCallback], dialog: Dialog) -> WebRtcCallback:
    return kind(dialog.call_id, dialog.is_incoming, dialog.number, dialog.name)


def _invite(call_id: str, params: Mapping[str, Any]) -> DialogMessage:
    return Invite(call_id, str(params["dialogParams"].get("destination_number", "")), str(params.get("sdp", "")))


def _modify(call_id: str, params: Mapping[str, Any]) -> DialogMessage:
    actions = {action.value: action for action in Action}
    return Modify(call_id, actions.get(str(params.get("action")), Action.TOGGLE_HOLD))


_READ: Final[Mapping[str, Callable[[str, Mapping[str, Any]], DialogMessage]]] = MappingProxyType(
    {
        "verto.invite": _invite,
        "verto.answer": lambda call_id, params: Answer(call_id, str(params.get("sdp", ""))),
        "verto.attach": lambda call_id, params: Attach(call_id, str(params.get("sdp", ""))),
        "verto.bye": lambda call_id, params: Bye(call_id),
        "verto.modify": _modify,
    }
)
"""What of the client's requests changes its dialogs."""
