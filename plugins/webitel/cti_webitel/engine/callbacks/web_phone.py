"""What is told of the web phone's own calls, by Verto instead of the engine's socket (facts: webitel-protocol 4.5, 6)."""

from __future__ import annotations

from typing import Any

import attrs

from cti_webitel.engine.callbacks.callback import Callback

__all__ = ["OnDestroyWebRtcCall", "OnNewWebRtcCall", "OnVideoWebRtcCall", "WebRtcCallback"]


@attrs.frozen
class WebRtcCallback(Callback):
    """Something about one dialog of the web phone.

    The library hands over its own object for the dialog, media elements of the page and all. Here it is what can be said of it.

    Attributes:
        call_id: The dialog, which is the ``Unique-ID`` of its leg.
        is_incoming: It came in; else it was asked for here.
        remote_number: The other party's number, as far as it is known.
        remote_name: The other party's name, likewise.
    """

    call_id: str
    is_incoming: bool
    remote_number: str = ""
    remote_name: str = ""

    def payload(self) -> Any:
        """Tell the dialog."""
        direction = "inbound" if self.is_incoming else "outbound"
        told = {
            "callID": self.call_id,
            "direction": direction,
            "remoteNumber": self.remote_number,
            "remoteName": self.remote_name,
        }
        return {key: value for key, value in told.items() if value}


@attrs.frozen
class OnNewWebRtcCall(WebRtcCallback):
    """The web phone has a new dialog."""

    name = "onNewWebRTCCall"


@attrs.frozen
class OnVideoWebRtcCall(WebRtcCallback):
    """Both sides of the dialog show video."""

    name = "onVideoWebRTCCall"


@attrs.frozen
class OnDestroyWebRtcCall(WebRtcCallback):
    """The dialog is over."""

    name = "onDestroyWebRTCCall"
