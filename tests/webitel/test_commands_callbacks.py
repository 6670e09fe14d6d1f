"""Callbacks beside those of calls: queues and other subscribed events, messages, cameras, domains, the limit of the log in."""

from __future__ import annotations

from typing import Any

import pytest

from cti_webitel.engine.callbacks import (
    NO_PAYLOAD,
    OnAddUser,
    OnAuthTimeout,
    OnCustomMessage,
    OnDomainChange,
    OnServerEvent,
    OnStartRecordCall,
    OnStopRecordCall,
    OnUserStatusChange,
    OnVideoChangeWebRTCCall,
    WebitelUser,
)
from cti_webitel.engine.protocol import EngineProtocol
from tests.webitel.call_frames import (
    ACCOUNT,
    CALL,
    FAR,
    LEG,
    OTHER_LEG,
    account_status,
    call_frame,
    created,
    feed,
    log_in,
    names,
    only,
)

QUEUE_EVENTS = (
    "AGENT-OFFERING",
    "BRIDGE-AGENT-START",
    "MEMBER-QUEUE-RESUME",
    "BRIDGE-AGENT-END",
    "BRIDGE-AGENT-FAIL",
    "MEMBERS-COUNT",
    "MEMBER-QUEUE-START",
    "MEMBER-QUEUE-END",
    "AGENT-STATUS-CHANGE",
    "AGENT-STATE-CHANGE",
)
LEG_EVENTS = (
    "CHANNEL_CREATE",
    "CHANNEL_DESTROY",
    "CHANNEL_CALLSTATE",
    "CHANNEL_STATE",
    "CHANNEL_ANSWER",
    "CHANNEL_HANGUP_COMPLETE",
    "CHANNEL_HANGUP",
    "CHANNEL_HOLD",
    "CHANNEL_UNHOLD",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "DTMF",
    "HEARTBEAT",
)
SUBSCRIBED = [
    *(f"CC::{name}" for name in QUEUE_EVENTS),
    *(f"SE:{name}" for name in LEG_EVENTS),
    "SE::BROADCAST",
    "DC::CHANGE_STATE",
]


@pytest.fixture
def protocol() -> EngineProtocol:
    return EngineProtocol(ACCOUNT)


@pytest.fixture
def talking(protocol: EngineProtocol) -> EngineProtocol:
    feed(protocol, created(), call_frame("CHANNEL_ANSWER"))
    return protocol


@pytest.mark.parametrize("name", SUBSCRIBED)
def test_whatever_was_subscribed_to_is_told(protocol: EngineProtocol, name: str) -> None:
    # Headers of a leg of this account: they are of somebody's subscription, and nothing of the own calls.
    frame = created() | {"Event-Name": name, "webitel-event-name": "server"}
    event = only(feed(protocol, frame), OnServerEvent)
    assert (event.event, dict(event.headers), event.payload(), event.ours) == (name, frame, frame, True)
    assert protocol.call_ids == frozenset()
    assert LEG not in repr(event)


def test_an_event_keeps_nothing_of_the_frame(protocol: EngineProtocol) -> None:
    frame: dict[str, Any] = {"webitel-event-name": "server", "Event-Name": "CC::MEMBERS-COUNT", "CC-Count": "3"}
    event = only(protocol.receive_decoded(frame), OnServerEvent)
    frame["CC-Count"] = "4"
    assert event.headers["CC-Count"] == "3"


def message(body: Any, **changes: Any) -> dict[str, Any]:
    kind = {"webitel-event-name": "WEBITEL-CUSTOM", "Event-Name": "WEBITEL-CUSTOM-MESSAGE"}
    return {"to": ACCOUNT, "from": "101@demo.local", "body": body, **kind, **changes}


@pytest.mark.parametrize("body", [{"x": 1}, "text", None, [1], 7, {"type": "REMOTE-VIDEO-CHANGE"}, {"type": ["x"]}])
def test_a_message_is_told(protocol: EngineProtocol, body: Any) -> None:
    told = only(feed(protocol, message(body)), OnCustomMessage)
    assert told == OnCustomMessage("101@demo.local", ACCOUNT, body)
    assert told.payload() == {"to": ACCOUNT, "from": "101@demo.local", "body": body}


def test_a_message_of_nobody_is_told(protocol: EngineProtocol) -> None:
    assert only(feed(protocol, message(1, **{"from": 7, "to": None})), OnCustomMessage) == OnCustomMessage("", "", 1)


def camera(leg: Any, enabled: Any = True) -> dict[str, Any]:
    return message({"type": "REMOTE-VIDEO-CHANGE", "callID": leg, "enabled": enabled})


@pytest.mark.parametrize("header", ["Other_Leg_Unique_ID", "Channel_Call_UUID", "variable_originating_leg_uuid"])
def test_a_camera_is_its_call_s_by_any_name_of_the_far_leg(protocol: EngineProtocol, header: str) -> None:
    headers: dict[str, Any] = {"Other_Leg_Unique_ID": None, "Channel_Call_UUID": LEG, header: OTHER_LEG}
    feed(protocol, created(**headers), call_frame("CHANNEL_ANSWER", **headers))
    told = feed(protocol, camera(OTHER_LEG), camera(OTHER_LEG, enabled=False))
    assert names(told) == ["onCustomMessage", "onVideoChangeWebRTCCall"] * 2
    cameras = [output for output in told if isinstance(output, OnVideoChangeWebRTCCall)]
    assert [one.remote_video_enabled for one in cameras] == [True, False]
    payload = cameras[0].payload()
    assert list(payload) == ["call", "remoteVideoEnabled"]
    assert (payload["call"]["uuid"], payload["remoteVideoEnabled"]) == (CALL, True)


@pytest.mark.parametrize("leg", [OTHER_LEG, "", None, 7, [FAR]])
def test_a_camera_of_nobody_s_call_is_a_message(talking: EngineProtocol, leg: Any) -> None:
    assert names(feed(talking, camera(leg))) == ["onCustomMessage"]


@pytest.mark.parametrize("event", ["DOMAIN_CREATE", "DOMAIN_DESTROY"])
def test_domains_come_and_go(protocol: EngineProtocol, event: str) -> None:
    frame = {"webitel-event-name": event, "Event-Name": event, "Domain-Name": "new.local"}
    assert only(feed(protocol, frame), OnDomainChange) == OnDomainChange("new.local", event == "DOMAIN_CREATE")
    del frame["Domain-Name"]
    assert only(feed(protocol, frame | {"Event-Domain": "e.local"}), OnDomainChange).domain == "e.local"


def test_the_limit_of_the_log_in(protocol: EngineProtocol) -> None:
    told = only(feed(protocol, {"webitel-event-name": "account", "Event-Name": "DISCONNECT"}), OnAuthTimeout)
    assert told.payload() is NO_PAYLOAD


def test_a_recording_begins_and_ends(talking: EngineProtocol) -> None:
    told = feed(talking, call_frame("RECORD_START"), call_frame("RECORD_STOP"))
    assert names(told) == ["onStartRecordCall", "onStopRecordCall"]
    assert only(told, OnStartRecordCall).payload() == only(told, OnStopRecordCall).payload()
    assert only(told, OnStartRecordCall).call.uuid == CALL


def test_what_queues_make_of_an_account(protocol: EngineProtocol) -> None:
    row = {"id": "100", "domain": "demo.local", "role": "user", "agent": "true", "agent.status": "Available", "cc_logged": True}
    added = [output.user for output in log_in(protocol, listed={"100": row, "101": {}}) if isinstance(output, OnAddUser)]
    assert [(one.id, one.agent_status, one.cc_logged, one.role) for one in added] == [
        ("100", "Available", True, "user"),
        ("101", "", None, ""),
    ]
    # Where the writing of states is switched off, the word stays encoded (facts: webitel-protocol 4.3).
    frame = account_status(Account_Agent_Status="Logged%20Out", Account_Agent_State="Waiting")
    told = only(feed(protocol, frame | {"cc_logged": False}), OnUserStatusChange).user
    assert (told.agent_status, told.agent_state, told.cc_logged) == ("Logged Out", "Waiting", False)
    quiet = only(feed(protocol, account_status(cc_logged="false")), OnUserStatusChange).user
    assert (quiet.agent_status, quiet.agent_state, quiet.cc_logged) == ("Logged Out", "Waiting", False)


def test_the_library_tells_nothing_of_queues() -> None:
    plain = WebitelUser("100", "demo.local", state="ONHOOK")
    of_queues = WebitelUser("100", "demo.local", state="ONHOOK", agent_status="Available", agent_state="Waiting", cc_logged=True)
    assert of_queues.payload() == plain.payload()


def test_statuses_of_the_own_account_are_counted(protocol: EngineProtocol) -> None:
    log_in(protocol, listed={"100": {"id": "100", "domain": "demo.local"}, "101": {"id": "101", "domain": "demo.local"}})
    feed(protocol, account_status(), account_status(Account_User="101"), account_status(Account_Domain="other.local"))
    assert protocol.own_statuses == 1


def test_legs_that_become_known_are_counted(protocol: EngineProtocol) -> None:
    feed(protocol, created(), call_frame("CHANNEL_ANSWER"), created(OTHER_LEG), created(Channel_Presence_ID="101@demo.local"))
    assert protocol.legs_begun == 2
