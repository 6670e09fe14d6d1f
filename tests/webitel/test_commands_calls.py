"""The commands about calls and legs: as the library sent them, what the engine answers, what is never sent."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from cti_framework.errors import CommandRefusedError, CommandStage, CommandUnconfirmedError, InvalidArgumentError
from cti_webitel.engine.client import Webitel, WebitelTimeouts
from tests.webitel.scripted_engine import ACCOUNT, LEG, PATIENCE_SECONDS, Engine, session

pytestmark = pytest.mark.anyio

CAPTURES = Path(__file__).parents[1] / "captures" / "webitel"

FAR = "39c8b2b0-8a0b-4f6e-b1de-6a5cbd6b1d6e"
CONSULT_OWN = "5d1dd2b3-46f0-4f0e-8c8e-2e1d6a2a9b11"
CONSULT_FAR = "c9f5a7e0-4d0f-4d55-8a44-0f2a2f6b8d22"
CALL = "71759e1f-3799-4bb8-b5f4-2aea651c80af"

SENT: list[tuple[Callable[[Webitel], Awaitable[Any]], str, dict[str, Any]]] = [
    (lambda w: w.toggle_hold(LEG), "toggle_hold", {"channel-uuid": LEG}),
    (lambda w: w.transfer(FAR, "10 2"), "transfer", {"channel-uuid": FAR, "destination": "102"}),
    (
        lambda w: w.consult("050-999-88-77", parent_call_id=CALL, leg=LEG),
        "att_xfer2",
        {
            "channel-uuid": LEG,
            "extension": "0509998877@demo.local",
            "user": ACCOUNT,
            "auto_answer_param": ["sip_h_Call-Info=answer-after=0"],
            "parent_call_uuid": CALL,
        },
    ),
    (
        lambda w: w.confirm_transfer(own_leg=LEG, far_leg=FAR, consult_far_leg=CONSULT_FAR),
        "att_xfer_bridge",
        {"channel-uuid-leg-a": LEG, "channel-uuid-leg-b": FAR, "channel-uuid-leg-c": CONSULT_FAR},
    ),
    (
        lambda w: w.confirm_transfer(own_leg=LEG, far_leg=FAR, consult_far_leg=CONSULT_FAR, consult_own_leg=CONSULT_OWN),
        "att_xfer_bridge",
        {
            "channel-uuid-leg-a": LEG,
            "channel-uuid-leg-b": FAR,
            "channel-uuid-leg-c": CONSULT_FAR,
            "channel-uuid-leg-d": CONSULT_OWN,
        },
    ),
    (
        lambda w: w.cancel_transfer(consult_own_leg=CONSULT_OWN, own_leg=LEG),
        "att_xfer_cancel",
        {"channel-uuid-leg-a": LEG, "channel-uuid-leg-c": CONSULT_OWN},
    ),
    (
        lambda w: w.cancel_transfer(consult_own_leg=CONSULT_OWN, own_leg=LEG, far_leg=FAR),
        "att_xfer_cancel",
        {"channel-uuid-leg-a": LEG, "channel-uuid-leg-b": FAR, "channel-uuid-leg-c": CONSULT_OWN},
    ),
    (lambda w: w.bridge(LEG, FAR), "bridge", {"channel_uuid_A": LEG, "channel_uuid_B": FAR}),
    (lambda w: w.eavesdrop(FAR), "eavesdrop", {"channel-uuid": FAR}),
    (
        lambda w: w.eavesdrop(FAR, side="b_leg", user="101", display="Ann B", variables={"w_jsclient_originate_number": "101"}),
        "eavesdrop",
        {
            "channel-uuid": FAR,
            "user": "101",
            "side": "b_leg",
            "display": "Ann B",
            "variables": ["w_jsclient_originate_number=101"],
        },
    ),
    (lambda w: w.set_variable(LEG, "order", "77 a"), "setvar", {"channel-uuid": LEG, "variable": "order", "value": "77 a"}),
    (lambda w: w.displace(LEG, True), "displace", {"channel-uuid": LEG, "record": "start"}),
    (lambda w: w.displace(LEG, False), "displace", {"channel-uuid": LEG, "record": "stop"}),
    (lambda w: w.refresh_video(LEG), "video_refresh", {"uuid": LEG}),
]


@pytest.mark.parametrize(("send", "func", "args"), SENT)
async def test_sent_and_answered(send: Callable[[Webitel], Awaitable[Any]], func: str, args: dict[str, Any]) -> None:
    engine = Engine()
    engine.answers[func] = ("+OK", "+OK done\n")
    async with session(engine) as webitel:
        with anyio.fail_after(PATIENCE_SECONDS):
            assert await send(webitel) == "+OK done"
    request = engine.requests[-1]
    assert (request["exec-func"], request["exec-args"]) == (func, args)
    assert list(request["exec-args"]) == list(args)


def captured(name: str, func: str) -> dict[str, Any]:
    """Give what the real library sent."""
    entries = map(json.loads, (CAPTURES / f"{name}.frames.jsonl").read_text(encoding="utf-8").splitlines())
    (args,) = [e["frame"]["exec-args"] for e in entries if e["dir"] == "c2s" and e["frame"]["exec-func"] == func]
    assert isinstance(args, dict)
    return args


@pytest.mark.parametrize(
    ("name", "func", "send"),
    [
        (
            "07-att-xfer-confirm",
            "att_xfer2",
            lambda w, a: w.consult(a["extension"].partition("@")[0], parent_call_id=a["parent_call_uuid"], leg=a["channel-uuid"]),
        ),
        (
            "07-att-xfer-confirm",
            "att_xfer_bridge",
            lambda w, a: w.confirm_transfer(
                own_leg=a["channel-uuid-leg-a"], far_leg=a["channel-uuid-leg-b"], consult_far_leg=a["channel-uuid-leg-c"]
            ),
        ),
        (
            "08-att-xfer-cancel",
            "att_xfer_cancel",
            lambda w, a: w.cancel_transfer(
                own_leg=a["channel-uuid-leg-a"], far_leg=a["channel-uuid-leg-b"], consult_own_leg=a["channel-uuid-leg-c"]
            ),
        ),
        ("09-blind-xfer", "transfer", lambda w, a: w.transfer(a["channel-uuid"], a["destination"])),
        ("15-webrtc", "video_refresh", lambda w, a: w.refresh_video(a["uuid"])),
        ("03-out-call", "call", lambda w, a: w.call(a["extension"])),
        ("03-out-call", "dtmf", lambda w, a: w.dtmf(a["channel-uuid"], a["digits"])),
        ("03-out-call", "hangup", lambda w, a: w.hangup(a["channel-uuid"])),
        ("08-att-xfer-cancel", "unhold", lambda w, a: w.unhold(a["channel-uuid"])),
        ("07-att-xfer-confirm", "hold", lambda w, a: w.hold(a["channel-uuid"])),
    ],
)
async def test_as_the_real_library_sent_it(
    name: str, func: str, send: Callable[[Webitel, dict[str, Any]], Awaitable[str]]
) -> None:
    engine, args = Engine(), captured(name, func)
    engine.answers[func] = ("+OK", "+OK\n")
    async with session(engine) as webitel:
        assert await send(webitel, args) == "+OK"
    assert json.dumps(engine.requests[-1]["exec-args"], sort_keys=True) == json.dumps(args, sort_keys=True)


async def test_an_enquiry_answers_itself_as_the_site_says() -> None:
    engine = Engine()
    engine.answers["att_xfer2"] = ("+OK", f"+OK {CONSULT_OWN}\n")
    async with session(engine, auto_answer_param="sip_auto_answer=true") as webitel:
        assert await webitel.consult("101", parent_call_id=CALL, leg=LEG) == f"+OK {CONSULT_OWN}"
    assert engine.requests[-1]["exec-args"]["auto_answer_param"] == ["sip_auto_answer=true"]


@pytest.mark.parametrize(
    ("answer", "value"),
    [("10.0.0.1", "10.0.0.1"), ("_undef_", None), ("", ""), (" a b \n", " a b "), ("_undef_\n", None), (None, "")],
)
async def test_a_variable_is_read(answer: str | None, value: str | None) -> None:
    engine = Engine()
    engine.answers["getvar"] = ("+OK", answer)
    async with session(engine) as webitel:
        assert await webitel.get_variable(LEG, "sip_from_host") == value
    assert engine.requests[-1]["exec-args"] == {"channel-uuid": LEG, "variable": "sip_from_host"}


@pytest.mark.parametrize(
    ("send", "named"),
    [
        (lambda w: w.toggle_hold(f"{LEG},{FAR}"), "','"),
        (lambda w: w.transfer(FAR, "102 XML public"), "'X'"),
        (lambda w: w.transfer(f"{FAR} -both", "102"), "' '"),
        (lambda w: w.transfer("undefined", "102"), "'u'"),
        (lambda w: w.consult("102}", parent_call_id=CALL, leg=LEG), "'}'"),
        (lambda w: w.consult("102", parent_call_id="x,y=z", leg=LEG), "'x'"),
        (lambda w: w.consult("102", parent_call_id=CALL, leg=""), "no UUID"),
        (lambda w: w.confirm_transfer(own_leg="all", far_leg=FAR, consult_far_leg=FAR), "'l'"),
        (lambda w: w.confirm_transfer(own_leg=LEG, far_leg=LEG + "\n", consult_far_leg=FAR), r"'\\n'"),
        (lambda w: w.confirm_transfer(own_leg=LEG, far_leg=FAR, consult_far_leg="0"), "no UUID"),
        (lambda w: w.confirm_transfer(own_leg=LEG, far_leg=FAR, consult_far_leg=FAR, consult_own_leg="$"), "'[$]'"),
        (lambda w: w.cancel_transfer(consult_own_leg="all", own_leg=LEG), "'l'"),
        (lambda w: w.cancel_transfer(consult_own_leg=LEG, own_leg="|"), "'[|]'"),
        (lambda w: w.cancel_transfer(consult_own_leg=LEG, own_leg=LEG, far_leg="("), "'[(]'"),
        (lambda w: w.bridge(LEG, "& hupall"), "'&'"),
        (lambda w: w.bridge("; x", LEG), "';'"),
        (lambda w: w.eavesdrop("all"), "'l'"),
        (lambda w: w.eavesdrop(LEG, side="1 XML public"), "' '"),
        (lambda w: w.eavesdrop(LEG, user="101,x=y"), "','"),
        (lambda w: w.eavesdrop(LEG, display="a,b"), "','"),
        (lambda w: w.eavesdrop(LEG, display="a}b"), "'}'"),
        (lambda w: w.eavesdrop(LEG, variables={"a": "b c"}), "' '"),
        (lambda w: w.eavesdrop(LEG, variables={"a": "b,c=d"}), "','"),
        (lambda w: w.eavesdrop(LEG, variables={"execute_on_answer": "hupall"}), "execute_on_answer"),
        (lambda w: w.get_variable(LEG, "a b"), "no name"),
        (lambda w: w.get_variable("x", "a"), "'x'"),
        (lambda w: w.set_variable(LEG, "api_hangup_hook", "hupall"), "api_hangup_hook"),
        (lambda w: w.set_variable(LEG, "bridge_pre_execute_bleg_app", "hangup"), "run something"),
        (lambda w: w.set_variable(LEG, "a", "${system(x)}"), "'{'"),
        (lambda w: w.set_variable(LEG, "a", "b\nuuid_kill x"), r"'\\n'"),
        (lambda w: w.displace("-", True), "no UUID"),
        (lambda w: w.refresh_video("*"), "'[*]'"),
    ],
)
async def test_what_could_inject_is_named_and_never_sent(send: Callable[[Webitel], Awaitable[Any]], named: str) -> None:
    engine = Engine()
    async with session(engine) as webitel:
        sent = len(engine.requests)
        with pytest.raises(InvalidArgumentError, match=named) as caught:
            await send(webitel)
        assert caught.value.stage is CommandStage.NOT_SENT
        assert len(engine.requests) == sent


@pytest.mark.parametrize(
    ("send", "func"),
    [
        (lambda w: w.consult("101", parent_call_id=CALL, leg=LEG), "att_xfer2"),
        (lambda w: w.eavesdrop(LEG), "eavesdrop"),
        (lambda w: w.call("101"), "call"),
    ],
)
async def test_what_rings_the_own_phone_waits_for_it(send: Callable[[Webitel], Awaitable[Any]], func: str) -> None:
    engine = Engine()
    async with session(engine, timeouts=WebitelTimeouts(call_seconds=0.05)) as webitel:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(CommandUnconfirmedError, match=rf"{func} within 0\.05 s"):
            await send(webitel)


@pytest.mark.parametrize(
    ("send", "func", "said"),
    [
        (lambda w: w.transfer(FAR, "102"), "transfer", "-ERR No such channel!\n"),
        (lambda w: w.hold(LEG), "hold", "-ERR Operation failed\n"),
        (lambda w: w.bridge(LEG, FAR), "bridge", "-ERR Invalid uuid\n"),
        (lambda w: w.confirm_transfer(own_leg=LEG, far_leg=FAR, consult_far_leg=FAR), "att_xfer_bridge", "-ERR Invalid uuid\n"),
        (lambda w: w.consult("101", parent_call_id=CALL, leg=LEG), "att_xfer2", "-ERR USER_NOT_REGISTERED\n"),
        (lambda w: w.get_variable(LEG, "a"), "getvar", "-ERR No such channel!\n"),
        (lambda w: w.eavesdrop(LEG), "eavesdrop", "-ERR NO_ANSWER\n"),
    ],
)
async def test_a_refusal_is_told_in_the_switch_s_words(send: Callable[[Webitel], Awaitable[Any]], func: str, said: str) -> None:
    engine = Engine()
    engine.answers[func] = ("-ERR", said)
    async with session(engine) as webitel:
        with pytest.raises(CommandRefusedError) as caught:
            await send(webitel)
    assert caught.value.pbx_text == said.strip()
    assert caught.value.stage is CommandStage.REJECTED
