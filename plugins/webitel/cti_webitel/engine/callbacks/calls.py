"""What is told of calls."""

from __future__ import annotations

from typing import Any

import attrs

from cti_webitel.engine.callbacks.call import WebitelCall
from cti_webitel.engine.callbacks.callback import Callback

__all__ = [
    "CallCallback",
    "OnAcceptCall",
    "OnBridgeCall",
    "OnDtmfCall",
    "OnFarHoldCall",
    "OnFarUnholdCall",
    "OnHangupCall",
    "OnHoldCall",
    "OnNewCall",
    "OnNewLeg",
    "OnStartRecordCall",
    "OnStopRecordCall",
    "OnUnBridgeCall",
    "OnUnholdCall",
    "OnUuidCall",
    "OnVideoChangeWebRTCCall",
]


@attrs.frozen
class CallCallback(Callback):
    """Something about one call.

    Attributes:
        call: The call as it is now.
        trigger: The ``Event-Name`` of the frame that it came by.
        leg_uuid: The own leg that the frame is about.
    """

    call: WebitelCall
    trigger: str
    leg_uuid: str

    def payload(self) -> Any:
        """Tell the call."""
        return self.call.payload()


@attrs.frozen
class OnNewCall(CallCallback):
    """A call appeared.

    Attributes:
        adopted: Its beginning was missed: it is known from a later frame (facts: webitel-protocol 7.7).
    """

    name = "onNewCall"

    adopted: bool = False


@attrs.frozen
class OnNewLeg(CallCallback):
    """Another device of the account rings for a call that is known: ``leg_uuid`` is its leg. The library says nothing of it."""

    name = "onNewLeg"
    ours = True


@attrs.frozen
class OnAcceptCall(CallCallback):
    """The operator's own device was picked up: nothing is said about the far end."""

    name = "onAcceptCall"


@attrs.frozen
class OnBridgeCall(CallCallback):
    """The own leg was bridged, or a number or an identifier of the call changed: ``trigger`` says which.

    An outgoing call is connected at the trigger ``CHANNEL_BRIDGE`` and an incoming one at ``CHANNEL_ANSWER``; at any other
    trigger only what is told about the call changed (facts: webitel-protocol 4.5, 7.8).
    """

    name = "onBridgeCall"


@attrs.frozen
class OnUnBridgeCall(CallCallback):
    """The own leg's bridge ended; only an own leg that began the bridge is told so."""

    name = "onUnBridgeCall"


@attrs.frozen
class OnHoldCall(CallCallback):
    """The operator put the far end on hold."""

    name = "onHoldCall"


@attrs.frozen
class OnUnholdCall(CallCallback):
    """The operator took the far end back from hold."""

    name = "onUnholdCall"


@attrs.frozen
class OnFarHoldCall(CallCallback):
    """The far end put the operator on hold (facts: webitel-protocol 4.2).

    Attributes:
        seconds_ago: How long it has been so: it is certain only after a while.
    """

    name = "onFarHoldCall"
    ours = True

    seconds_ago: float = 0.0


@attrs.frozen
class OnFarUnholdCall(CallCallback):
    """The far end took the operator back from hold.

    Attributes:
        seconds_ago: How long it has been so: where we hold, too, it is certain only after a while.
    """

    name = "onFarUnholdCall"
    ours = True

    seconds_ago: float = 0.0


@attrs.frozen
class OnDtmfCall(CallCallback):
    """A tone was heard on the own leg.

    Attributes:
        digits: The tone, one a callback.
    """

    name = "onDtmfCall"

    digits: str

    def payload(self) -> Any:
        """Tell call and tone."""
        return {"call": self.call.payload(), "digits": self.digits}


@attrs.frozen
class OnUuidCall(CallCallback):
    """The call has another identifier: ``call.uuid`` is the former one.

    At the trigger ``CHANNEL_HANGUP_COMPLETE`` (or ``CHANNEL_DESTROY``) it is the one that the call's record and recording are
    kept by, and `OnHangupCall` follows, still by the former one. At any other, later callbacks come by the new one.

    Attributes:
        new_id: The identifier from now on; ``None``: the engine told none, and the call keeps its own. The library calls back
            even so, with nothing.
    """

    name = "onUuidCall"

    new_id: str | None

    def payload(self) -> Any:
        """Tell call and identifier."""
        told = {"call": self.call.payload()}
        return told if self.new_id is None else {**told, "newId": self.new_id}


@attrs.frozen
class OnHangupCall(CallCallback):
    """The call ended: its last own leg did."""

    name = "onHangupCall"


@attrs.frozen
class OnStartRecordCall(CallCallback):
    """The switch records the call from now on. A stock installation does not tell (facts: webitel-protocol 4.2)."""

    name = "onStartRecordCall"


@attrs.frozen
class OnStopRecordCall(CallCallback):
    """The switch records the call no longer. A stock installation does not tell."""

    name = "onStopRecordCall"


@attrs.frozen
class OnVideoChangeWebRTCCall(CallCallback):
    """The far end's web phone switched its camera on or off, and said so by a message (facts: webitel-protocol 4.5).

    Attributes:
        remote_video_enabled: Whether it is on.
    """

    name = "onVideoChangeWebRTCCall"

    remote_video_enabled: bool

    def payload(self) -> Any:
        """Tell call and camera."""
        return {"call": self.call.payload(), "remoteVideoEnabled": self.remote_video_enabled}
