"""The simulator's commands about calls, and the control verbs that act on legs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cti_webitel.simulator import WebitelSimulator, serve_webitel
from tests.webitel.raw_client import Client, Frame, open_client, open_control

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"
CALLER = "0671112233"
FAR = "0501234567"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        yield opened


async def talking(simulator: WebitelSimulator, client: Client, caller: str = CALLER) -> tuple[str, str]:
    """A caller is talked to: the own leg, and the caller's."""
    ids = simulator.control({"do": "incoming", "from": caller, "to": OWN})
    simulator.control({"do": "answer", "uuid": ids["b"]})
    await client.seen()
    return ids["b"], ids["a"]


def events(frames: list[Frame], leg: str) -> list[str]:
    """What happened to a leg."""
    return [frame["Event-Name"].removeprefix("CHANNEL_") for frame in frames if frame.get("Unique-ID") == leg]


END = ["HANGUP", "CALLSTATE", "STATE", "HANGUP_COMPLETE", "STATE", "DESTROY"]


# --- click to call


async def test_a_call_is_answered_with_the_cause_when_the_own_leg_fails(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(own_answer_seconds=None)
    own = await client.call()
    await client.send("hangup", channel_uuid=own, cause="USER_BUSY")
    assert (await client.until("call"))["exec-response"] == "-ERR USER_BUSY\n"
    simulator.switchboard.set_registered("100@demo.local", False)
    await client.send("call", extension="1", user="100@demo.local")
    assert (await client.until("call"))["exec-response"] == "-ERR USER_NOT_REGISTERED\n"


async def test_the_far_end_answers_by_itself_unless_it_refuses(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(far_answer_seconds=0.01, refusals={"0500000000": "USER_BUSY"}, refusal_seconds=0.01)
    own = await client.call()
    await client.until("CHANNEL_BRIDGE")
    await client.ask("hangup", channel_uuid=own)
    await client.call("0500000000")
    assert (await client.until("CHANNEL_HANGUP"))["variable_hangup_cause"] == "USER_BUSY"


async def test_variables_reach_the_leg_cleaned_and_as_data(client: Client) -> None:
    await client.log_in()
    variables = {"order": "7'7\"", "exec_after": "x", "domain_name": "x"}
    await client.call(variables=variables, auto_answer_param="w_jsclient_auto_answer=true", params=["a=b", "c"])
    frame = client.frames[-1]
    assert frame["variable_webitel_data"] == '\'{"order":"77"}\''
    assert frame["variable_w_jsclient_auto_answer"] == "true"
    own = frame["Unique-ID"]
    assert (await client.ask("getvar", channel_uuid=own, variable="a"))["exec-response"] == "b"
    assert (await client.ask("getvar", channel_uuid=own, variable="exec_after"))["exec-response"] == "_undef_"
    assert (await client.ask("setvar", channel_uuid=own, variable="x", value="y"))["exec-response"] == "+OK\n"
    assert (await client.ask("getvar", channel_uuid=own, variable="x"))["exec-response"] == "y"


async def test_hold_is_refused_when_held_and_toggled(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(far_answer_seconds=0.0)
    own = await client.call()
    await client.until("CHANNEL_BRIDGE")
    assert (await client.ask("unhold", channel_uuid=own))["exec-complete"] == "-ERR"
    assert (await client.ask("toggle_hold", channel_uuid=own))["exec-response"] == "+OK Success\n"
    reply = await client.ask("hold", channel_uuid=own)
    assert (reply["exec-complete"], reply["exec-response"]) == ("-ERR", "-ERR Operation failed\n")
    await client.ask("toggle_hold", channel_uuid=own)
    assert (await client.until("CHANNEL_CALLSTATE"))["Channel-Call-State"] == "ACTIVE"
    assert [frame["Event-Name"] for frame in client.frames if "HOLD" in frame.get("Event-Name", "")] == [
        "CHANNEL_HOLD",
        "CHANNEL_UNHOLD",
    ]


async def test_a_passed_on_hold_shows_the_call_state_alone(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(far_answer_seconds=0.0, proxy_hold=True)
    await client.call()
    await client.until("CHANNEL_BRIDGE")
    await simulator.hold("0501234567")
    (held,) = await client.receive()
    assert (held["Event-Name"], held["Channel-Call-State"]) == ("CHANNEL_CALLSTATE", "HELD")
    await simulator.unhold("0501234567")
    states = [frame["Channel-Call-State"] for frame in await client.receive(2)]
    assert states == ["UNHELD", "ACTIVE"]
    assert await client.nothing_came()


async def test_channels_are_shown_and_dumped(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    await simulator.incoming("0671112233", "ACME")
    own = (await client.until("CHANNEL_CREATE"))["Unique-ID"]
    await simulator.answer_own()
    await client.until("CHANNEL_ANSWER")
    table = (await client.ask("show_channel"))["exec-response"]
    assert table["row_count"] == len(table["rows"]) == 1
    row = table["rows"][0]
    assert len(row) == 38 and all(isinstance(value, str) for value in row.values())
    assert (row["uuid"], row["presence_id"], row["callstate"]) == (own, "100@demo.local", "ACTIVE")
    dump = json.loads((await client.ask("channel_dump", uuid=own))["exec-response"])
    answered = next(frame for frame in client.frames if frame.get("Event-Name") == "CHANNEL_ANSWER")
    for key in ("Channel-Call-UUID", "Other-Leg-Unique-ID", "Caller-Caller-ID-Name", "Caller-Channel-Answered-Time"):
        assert dump[key] == answered[key]
    assert dump["Other-Type"] == "originator"
    assert dump["variable_webitel_call_uuid"] == answered["variable_w_account_origination_uuid"]


async def test_rows_lag_and_linger_where_asked_for(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    own = await client.call()
    simulator.configure(table_lag_seconds=30.0)
    await client.ask("hangup", channel_uuid=own)
    assert (await client.ask("show_channel"))["exec-response"]["rows"][0]["uuid"] == own
    assert (await client.ask("channel_dump", uuid=own))["exec-complete"] == "-ERR"
    late = await client.call()
    assert [row["uuid"] for row in (await client.ask("show_channel"))["exec-response"]["rows"]] == [own]
    assert (await client.ask("channel_dump", uuid=late))["exec-complete"] == "+OK"


async def test_a_blind_transfer_ends_the_own_leg_after_the_reply_and_rings_the_target(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    await simulator.incoming("0671112233")
    await simulator.answer_own()
    far = (await client.until("CHANNEL_ANSWER"))["Other-Leg-Unique-ID"]
    await client.send("transfer", channel_uuid=far, destination="102")
    names: list[str] = []
    while names[-1:] != ["ACCOUNT_STATUS 102 ISBUSY"]:
        (frame,) = await client.receive()
        status = f" {frame['Account-User']} {frame['Account-User-State']}" if "Account-User" in frame else ""
        names.append(str(frame.get("Event-Name", frame.get("exec-uuid"))) + status)
    assert names[names.index("transfer") :] == [
        "transfer",
        "CHANNEL_HANGUP",
        "CHANNEL_CALLSTATE",
        "CHANNEL_STATE",
        "CHANNEL_HANGUP_COMPLETE",
        "CHANNEL_STATE",
        "CHANNEL_DESTROY",
        "ACCOUNT_STATUS 100 ONHOOK",
        "ACCOUNT_STATUS 102 ISBUSY",
    ]


# --- attended transfer


async def consulting(simulator: WebitelSimulator, client: Client) -> tuple[str, str, str, str]:
    """A caller is on hold, somebody else is consulted: own leg, caller's, own consult leg, the consulted one's."""
    own, far = await talking(simulator, client)
    await client.ask("hold", channel_uuid=own)
    await client.send("att_xfer2", extension="0509998877@demo.local", user=OWN, parent_call_uuid="parent")
    consult = (await client.until("CHANNEL_CREATE"))["Unique-ID"]
    await client.until("att_xfer2")
    await simulator.answer("0509998877")
    consulted = (await client.until("CHANNEL_BRIDGE"))["Bridge-B-Unique-ID"]
    return own, far, consult, consulted


async def test_a_transfer_that_cannot_be_confirmed_says_so_and_marks_both_own_legs(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    own, far, consult, _ = await consulting(simulator, client)
    legs = {"channel_uuid_leg_a": own, "channel_uuid_leg_d": consult}
    answer = await client.answer("att_xfer_bridge", **legs, channel_uuid_leg_b=far, channel_uuid_leg_c=NOBODY)
    assert answer == ("-ERR", "-ERR Invalid uuid\n")
    assert await client.nothing_came()
    for leg in (own, consult):
        await client.ask("hangup", channel_uuid=leg)
        ended = next(
            frame for frame in client.frames if (frame.get("Unique-ID"), frame.get("Event-Name")) == (leg, "CHANNEL_HANGUP")
        )
        assert ended["variable_w_transfer_result"] == "error"


async def test_a_confirmed_transfer_marks_the_consult_leg_too_where_it_is_named(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    own, far, consult, consulted = await consulting(simulator, client)
    legs = {"channel_uuid_leg_a": own, "channel_uuid_leg_b": far, "channel_uuid_leg_c": consulted, "channel_uuid_leg_d": consult}
    assert await client.answer("att_xfer_bridge", **legs) == ("+OK", f"+OK {consulted}\n")
    results: dict[str, Any] = {}
    while set(results) != {own, consult}:
        frame = await client.until("CHANNEL_HANGUP_COMPLETE")
        results[frame["Unique-ID"]] = frame["variable_w_transfer_result"]
    assert set(results.values()) == {"confirmed"}
    assert {leg.partner.uuid if leg.partner else None for leg in simulator.switchboard.legs} == {far, consulted}


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"user": OWN}, ("-ERR: bad response", None)),
        ({"user": OWN, "extension": ""}, ("-ERR: bad response", None)),
        ({"user": [OWN], "extension": "1"}, ("-ERR: bad response", None)),
        ({"user": "999@demo.local", "extension": "1"}, ("-ERR", "-ERR SUBSCRIBER_ABSENT\n")),
    ],
)
async def test_a_consultation_needs_a_number_and_a_user(client: Client, arguments: Any, answer: Any) -> None:
    await client.log_in()
    assert await client.answer("att_xfer2", **arguments) == answer


async def test_a_consultation_with_a_number_that_is_no_text_gets_no_reply(client: Client) -> None:
    await client.log_in()
    await client.send("att_xfer2", user=OWN, extension=5)
    assert await client.nothing_came()


async def test_the_old_attended_transfer_shows_the_user_while_it_rings_and_names_the_call(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    await client.send("attended_transfer", destination=FAR, call_uuid="first", user=OWN, is_webrtc=True)
    frame = await client.until("CHANNEL_CREATE")
    assert (frame["Caller-Caller-ID-Number"], frame["variable_w_jsclient_originate_number"]) == (OWN, FAR)
    assert frame["variable_w_jsclient_xtransfer"] == "first"
    assert await client.answer("getvar", channel_uuid=frame["Unique-ID"], variable="sip_h_Call-Info") == ("+OK", "answer-after=1")
    assert (await client.until("attended_transfer"))["exec-response"] == f"+OK {frame['Unique-ID']}\n"
    await simulator.answer(FAR)
    assert (await client.until("CHANNEL_BRIDGE"))["Unique-ID"] == frame["Unique-ID"]


async def on_one_leg(simulator: WebitelSimulator, client: Client) -> tuple[str, str, str]:
    """101 is consulted on the leg on which a caller is talked to: that leg, the caller's, and 101's."""
    own, far = await talking(simulator, client)
    asked = {"channel_uuid": own, "user": OWN, "destination": "101@demo.local"}
    assert await client.answer("att_xfer", **asked) == ("+OK", "+OK Message sent\n")
    (mate,) = simulator.switchboard.legs_of("101@demo.local")
    assert mate.snapshot.variables["webitel_att_xfer"] == "true"
    client.frames.clear()
    simulator.switchboard.answer(mate.uuid)
    assert events(await client.seen(), own) == ["BRIDGE"]
    return own, far, mate.uuid


async def test_who_leaves_a_consultation_on_one_leg_leaves_the_other_two_joined(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    own, far, mate = await on_one_leg(simulator, client)
    await client.ask("hangup", channel_uuid=own)
    frames = client.frames
    assert events(frames, own) == ["BRIDGE", "HANGUP", "UNBRIDGE", *END[1:]]
    simulator.configure(reply_delay_seconds=0.1)
    await client.ask("ping")
    assert {leg.uuid: leg.partner.uuid if leg.partner else None for leg in simulator.switchboard.legs} == {far: mate, mate: far}


async def test_when_the_consulted_one_hangs_up_the_first_call_goes_on(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    own, far, mate = await on_one_leg(simulator, client)
    simulator.switchboard.hang_up(mate)
    assert events(await client.seen(), own) == ["UNBRIDGE"]
    assert {leg.uuid: leg.partner.uuid if leg.partner else None for leg in simulator.switchboard.legs} == {own: far, far: own}
    await client.ask("hangup", channel_uuid=own)
    assert simulator.switchboard.legs == ()


async def test_a_consultation_on_a_leg_that_talks_to_nobody_is_passed_on_all_the_same(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    assert await client.answer("att_xfer", channel_uuid=NOBODY, user=OWN, destination="101@demo.local") == (
        "+OK",
        "+OK Message sent\n",
    )
    assert simulator.switchboard.legs == ()
    await client.send("att_xfer", channel_uuid=NOBODY)
    assert await client.nothing_came()


async def test_two_calls_are_joined_by_bridge(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    _, first = await talking(simulator, client)
    _, second = await talking(simulator, client, "0442223344")
    answer = await client.answer("bridge", channel_uuid_A=first, channel_uuid_B=second)
    assert answer == ("+OK", f"+OK {second}\n")
    await client.until("CHANNEL_DESTROY")
    await client.until("CHANNEL_DESTROY")
    assert {leg.uuid for leg in simulator.switchboard.legs} == {first, second}


# --- listening in


@pytest.fixture
async def supervisor(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in("200")
        yield opened


async def test_a_supervisor_listens_in_and_stops_with_the_call(
    simulator: WebitelSimulator, client: Client, supervisor: Client
) -> None:
    await client.log_in()
    own, far = await talking(simulator, client)
    await supervisor.seen()
    supervisor.frames.clear()
    await supervisor.send("eavesdrop", channel_uuid=own, side="100", display="0671112233")
    reply = await supervisor.until("eavesdrop")
    frames = [*supervisor.frames, *await supervisor.seen()]
    (leg,) = simulator.switchboard.legs_of("200@demo.local")
    assert reply["exec-response"] == f"+OK {leg.uuid}\n"
    created = next(frame for frame in frames if frame.get("Event-Name") == "CHANNEL_CREATE")
    assert [created[f"Caller-{who}-ID-Number"] for who in ("Caller", "Callee")] == ["100", "0671112233"]
    assert "variable_w_jsclient_originate_number" not in created
    states = [frame["Channel-State"] for frame in frames if frame.get("Event-Name") == "CHANNEL_STATE"]
    assert states == ["CS_INIT", "CS_ROUTING", "CS_CONSUME_MEDIA", "CS_EXECUTE"]
    assert events(await client.seen(), own) == []
    await simulator.hang_up(CALLER)
    assert events(await supervisor.seen(), leg.uuid) == END
    assert simulator.switchboard.legs == () and far != own


async def test_listening_ends_alone_when_the_supervisor_hangs_up(
    simulator: WebitelSimulator, client: Client, supervisor: Client
) -> None:
    await client.log_in()
    own, far = await talking(simulator, client)
    await supervisor.ask("eavesdrop", channel_uuid=own)
    (leg,) = simulator.switchboard.legs_of("200@demo.local")
    assert leg.snapshot.caller_number == "200@demo.local"
    assert await supervisor.answer("hangup", channel_uuid=leg.uuid) == ("+OK", "+OK\n")
    await simulator.hang_up(CALLER)
    assert simulator.switchboard.legs == () and far != own


async def test_there_must_be_something_to_listen_to_and_somebody_who_listens(
    simulator: WebitelSimulator, supervisor: Client
) -> None:
    await supervisor.send("eavesdrop", channel_uuid=NOBODY)
    assert (await supervisor.until("CHANNEL_HANGUP"))["variable_hangup_cause"] == "NORMAL_CLEARING"
    assert await supervisor.answer("eavesdrop", channel_uuid="all") == ("-ERR: bad response", None)
    simulator.switchboard.set_registered("101@demo.local", False)
    # Whatever domain is named, it is one's own.
    answer = await supervisor.answer("eavesdrop", channel_uuid=NOBODY, user="101@other.local")
    assert answer == ("-ERR", "-ERR USER_NOT_REGISTERED\n")
    assert await supervisor.answer("eavesdrop", channel_uuid=NOBODY, user="999") == ("-ERR", "-ERR SUBSCRIBER_ABSENT\n")


async def test_root_listens_to_all(simulator: WebitelSimulator, client: Client, anyio_backend: str) -> None:
    await client.log_in()
    _, far = await talking(simulator, client)
    async with open_client(simulator, anyio_backend) as root:
        await root.ask("auth", account="root", secret="rootpass")
        assert (await root.answer("eavesdrop", channel_uuid="all", user="200@demo.local"))[0] == "+OK"
        (leg,) = simulator.switchboard.legs_of("200@demo.local")
        assert leg.listens_to is not None and leg.listens_to.answered
        simulator.switchboard.hang_up(far)
        assert simulator.switchboard.legs == ()


# --- the smaller ones


async def test_variables_of_the_switch_are_told_and_a_hangup_may_set_one(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    own = await client.call(FAR)
    for name, value in {"webitel_direction": "outbound", "domain_name": "demo.local", "ignore_early_media": "true"}.items():
        assert await client.answer("getvar", channel_uuid=own, variable=name) == ("+OK", value)
    # The switch takes what follows the value as a part of it.
    await client.ask("setvar", channel_uuid=own, variable="a", value="b", inleg="c")
    assert await client.answer("getvar", channel_uuid=own, variable="a", inleg="c") == ("+OK", "b c")
    await client.send("hangup", channel_uuid=own, variable="dlr_session_id", value="9", cause="CALL_REJECTED")
    ended = await client.until("CHANNEL_HANGUP")
    assert (ended["variable_dlr_session_id"], ended["variable_hangup_cause"]) == ("9", "CALL_REJECTED")


async def test_video_and_displacing_need_a_leg(client: Client) -> None:
    await client.log_in()
    own = await client.call()
    assert await client.answer("displace", channel_uuid=own, record="start") == ("+OK", "+OK Success\n")
    assert await client.answer("displace", channel_uuid=NOBODY) == ("-ERR", "-ERR Cannot locate session!\n")
    assert await client.answer("video_refresh", uuid=own) == ("+OK", "+OK Message sent\n")
    assert await client.answer("video_refresh", uuid=NOBODY) == ("-ERR", "-ERR Operation failed\n")


async def test_several_legs_joined_by_a_comma_are_no_leg(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    own, far = await talking(simulator, client)
    assert await client.answer("hold", channel_uuid=f"{own},{far}") == ("+OK", "+OK Success\n")
    assert await client.answer("dtmf", channel_uuid=f"{own},{far}", digits="1") == ("-ERR", "-ERR Cannot locate session!\n")
    assert not simulator.switchboard.leg(own).snapshot.held


# --- the control verbs


async def test_a_leg_gets_a_new_identifier_and_the_old_one_is_nowhere(simulator: WebitelSimulator, client: Client) -> None:
    """Facts: webitel-protocol 8.11."""
    await client.log_in()
    own, far = await talking(simulator, client)
    async with open_control(simulator) as control:
        assert (await control.send({"do": "renumber", "presence": OWN, "caller": "0670000000"}))["uuid"] == own
        (renumbered,) = await client.receive()
        assert (renumbered["Event-Name"], renumbered["Channel-State"]) == ("CHANNEL_STATE", "CS_EXCHANGE_MEDIA")
        assert [renumbered[f"Caller-Caller-ID-{what}"] for what in ("Name", "Number")] == [CALLER, "0670000000"]
        answer = await control.send({"do": "uuid", "presence": OWN})
        assert (answer["uuid"], answer["newUuid"] != own) == (own, True)
        new = answer["newUuid"]
        (changed,) = await client.receive()
        assert (changed["Event-Name"], changed["Unique-ID"], changed["Channel-Call-UUID"]) == ("CHANNEL_UUID", new, new)
        assert changed["Other-Leg-Unique-ID"] == changed["variable_signal_bond"] == far
        assert own not in json.dumps(changed)
        assert (await client.answer("channel_dump", uuid=own))[0] == "-ERR"
        dump = json.loads((await client.ask("channel_dump", uuid=new))["exec-response"])
        assert dump["Caller-Channel-Bridged-Time"] != "0"
        rows = (await client.ask("show_channel"))["exec-response"]["rows"]
        assert [row["uuid"] for row in rows] == [new]
        assert json.loads((await client.ask("channel_dump", uuid=far))["exec-response"])["Other-Leg-Unique-ID"] == new
        client.frames.clear()
        assert (await control.send({"do": "hangup", "far": new}))["uuid"] == far
        frames = await client.seen()
        assert events(frames, new) == END and own not in json.dumps(frames)
        again = await control.send({"do": "incoming", "from": CALLER, "to": OWN})
        assert "error" in await control.send({"do": "uuid", "uuid": again["b"], "to": again["a"]})
        assert (await control.send({"do": "uuid", "uuid": again["b"], "to": "my-own"}))["newUuid"] == "my-own"
        assert (await control.send({"do": "hangup", "uuid": "my-own"}))["ok"]


async def test_recordings_are_told_where_the_site_publishes_them(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    own, _ = await talking(simulator, client)
    assert simulator.control({"do": "record", "presence": OWN})["uuid"] == own
    assert await client.nothing_came()
    simulator.configure(recordings_published=True)
    assert simulator.control({"do": "record", "presence": OWN})["ok"]
    assert [frame["Event-Name"] for frame in await client.seen()] == ["RECORD_STOP"]
    for to, names in (("start", ["RECORD_START"]), ("start", []), ("stop", ["RECORD_STOP"]), ("stop", [])):
        assert simulator.control({"do": "record", "uuid": own, "to": to})["ok"]
        frames = await client.seen()
        assert [frame["Event-Name"] for frame in frames] == names
        assert all(frame["variable_w_account_origination_uuid"] for frame in frames)
    simulator.control({"do": "record", "uuid": own})
    await simulator.hang_up(CALLER)
    assert events(await client.seen(), own) == ["RECORD_START", "HANGUP", "CALLSTATE", "STATE", "RECORD_STOP", *END[3:]]


@pytest.mark.parametrize(
    "verb",
    [
        {"do": "record", "presence": OWN, "to": "pause"},
        {"do": "record", "dest": "0500000000"},
        {"do": "renumber", "presence": OWN},
        {"do": "renumber", "caller": "1"},
        {"do": "uuid", "presence": OWN, "to": 7},
    ],
)
async def test_a_verb_that_cannot_be_says_why(simulator: WebitelSimulator, client: Client, verb: Any) -> None:
    await client.log_in()
    await talking(simulator, client)
    assert list(simulator.control(verb)) == ["error"]
    assert await client.nothing_came()


async def test_devices_are_given_by_the_control_port_and_the_slower_one_loses_the_race(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    assert simulator.control({"do": "status", "account": "100", "set": {"devices": 2}})["state"] == "ONHOOK"
    ids = simulator.control({"do": "incoming", "from": CALLER, "to": OWN})
    first, second = ids["legs"]
    assert simulator.control({"do": "answer", "uuid": second})["ok"]
    ended = await client.until("CHANNEL_HANGUP_COMPLETE")
    assert (ended["Unique-ID"], ended["variable_hangup_cause"]) == (first, "LOSE_RACE")
    simulator.control({"do": "status", "account": "100", "set": {"devices": 1}})
    assert len(simulator.switchboard.account(OWN).devices) == 1
    for wrong in (0, 11, True, "2"):
        assert "error" in simulator.control({"do": "status", "account": "100", "set": {"devices": wrong}})
