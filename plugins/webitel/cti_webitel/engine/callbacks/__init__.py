"""What the engine's protocol tells: one frozen value class a callback, named as in Webitel's own client library.

==============  ====================================================================================================
`callback`      what every callback is
`call`          one call, as it is told
`calls`         the callbacks about calls
`users`         the accounts of the domain, and the callbacks about them
`account`       the callbacks about the connection and its own account
`events`        what was subscribed to, and what others send
`web_phone`     the callbacks about the web phone's dialogs, which the engine knows nothing of
==============  ====================================================================================================

`Callback.payload` gives the JSON value that the library passes to its consumer, byte for byte the same keys, so that a capture
of the library can be compared with what we make of the same frames. The values themselves are right where the library's are
not (facts: webitel-protocol 7): an ``agent`` that says "false" is false, a time that says "0" is none, ``webitel_data`` keeps
its apostrophes.

Some callbacks are ours (`Callback.ours`): what the library does not see, such as the far end's hold, or does not call back for.
"""

from __future__ import annotations

from typing import Final

from cti_webitel.engine.callbacks.account import (
    CALL_ERROR,
    AccountCallback,
    OnAuthTimeout,
    OnConnect,
    OnDisconnect,
    OnError,
    OnReady,
    OnSilenced,
    OnSubscriptionLost,
    OnUserLogin,
    SilencedBy,
)
from cti_webitel.engine.callbacks.call import WebitelCall, WebitelCallState, WebitelDirection, parse_data
from cti_webitel.engine.callbacks.callback import NO_PAYLOAD, Callback, NoPayload
from cti_webitel.engine.callbacks.calls import (
    CallCallback,
    OnAcceptCall,
    OnBridgeCall,
    OnDtmfCall,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnNewLeg,
    OnStartRecordCall,
    OnStopRecordCall,
    OnUnBridgeCall,
    OnUnholdCall,
    OnUuidCall,
    OnVideoChangeWebRTCCall,
)
from cti_webitel.engine.callbacks.events import OnCustomMessage, OnDomainChange, OnServerEvent
from cti_webitel.engine.callbacks.users import OnAddUser, OnRemoveUser, OnUserStatusChange, UserCallback, WebitelUser
from cti_webitel.engine.callbacks.web_phone import OnDestroyWebRtcCall, OnNewWebRtcCall, OnVideoWebRtcCall, WebRtcCallback

__all__ = [
    "CALLBACKS",
    "CALL_ERROR",
    "NO_PAYLOAD",
    "WEB_PHONE_CALLBACKS",
    "AccountCallback",
    "CallCallback",
    "Callback",
    "NoPayload",
    "OnAcceptCall",
    "OnAddUser",
    "OnAuthTimeout",
    "OnBridgeCall",
    "OnConnect",
    "OnCustomMessage",
    "OnDestroyWebRtcCall",
    "OnDisconnect",
    "OnDomainChange",
    "OnDtmfCall",
    "OnError",
    "OnFarHoldCall",
    "OnFarUnholdCall",
    "OnHangupCall",
    "OnHoldCall",
    "OnNewCall",
    "OnNewLeg",
    "OnNewWebRtcCall",
    "OnReady",
    "OnRemoveUser",
    "OnServerEvent",
    "OnSilenced",
    "OnStartRecordCall",
    "OnStopRecordCall",
    "OnSubscriptionLost",
    "OnUnBridgeCall",
    "OnUnholdCall",
    "OnUserLogin",
    "OnUserStatusChange",
    "OnUuidCall",
    "OnVideoChangeWebRTCCall",
    "OnVideoWebRtcCall",
    "SilencedBy",
    "UserCallback",
    "WebRtcCallback",
    "WebitelCall",
    "WebitelCallState",
    "WebitelDirection",
    "WebitelUser",
    "parse_data",
]

CALLBACKS: Final[tuple[type[Callback], ...]] = (
    OnConnect,
    OnUserLogin,
    OnReady,
    OnDisconnect,
    OnError,
    OnAddUser,
    OnRemoveUser,
    OnUserStatusChange,
    OnNewCall,
    OnAcceptCall,
    OnBridgeCall,
    OnUnBridgeCall,
    OnHoldCall,
    OnUnholdCall,
    OnDtmfCall,
    OnUuidCall,
    OnHangupCall,
    OnStartRecordCall,
    OnStopRecordCall,
    OnVideoChangeWebRTCCall,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnNewLeg,
    OnServerEvent,
    OnCustomMessage,
    OnDomainChange,
    OnSilenced,
    OnSubscriptionLost,
    OnAuthTimeout,
)
"""Every callback that the engine's side can tell."""

WEB_PHONE_CALLBACKS: Final[tuple[type[WebRtcCallback], ...]] = (OnNewWebRtcCall, OnVideoWebRtcCall, OnDestroyWebRtcCall)
"""Every callback that the web phone's side can tell."""
