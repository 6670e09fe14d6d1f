"""Another program's ``logout`` silences the account: it is noticed, put right and told (facts: webitel-protocol 1.2, 7.4)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
import structlog
from typed_settings.types import Secret

import cti_webitel.engine.client
from cti_framework.errors import CommandRefusedError, NetworkError, OutageKind
from cti_webitel.engine.callbacks import OnNewCall, OnSilenced, SilencedBy, WebitelUser
from cti_webitel.engine.client import Webitel, WebitelTimeouts
from cti_webitel.engine.protocol import Reply
from cti_webitel.engine.vigil import Vigil
from cti_webitel.engine.waiting import Waiter
from cti_webitel.simulator import serve_webitel
from tests.webitel.scripted_engine import ACCOUNT, CREATE, PATIENCE_SECONDS, Engine, Told, session

pytestmark = pytest.mark.anyio

BUSY = {
    "webitel-event-name": "ACCOUNT_STATUS",
    "Event-Name": "ACCOUNT_STATUS",
    "Account-Domain": "demo.local",
    "Account-User": "100",
    "Account-User-State": "ISBUSY",
    "Account-Status": "NONE",
}
FREE = BUSY | {"Account-User-State": "ONHOOK"}
ON_BREAK = BUSY | {"Account-Status": "ONBREAK"}


class Line:
    """A connection that sends nothing: what a vigil would have sent, and answers for it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Waiter]] = []
        self.forgotten: list[Waiter] = []
        self.unacknowledged_bytes: int | None = None

    async def _send(self, func: str, args: Mapping[str, Any] | None = None) -> Waiter:
        waiter = Waiter(f"id-{len(self.sent)}", watched=True)
        self.sent.append((func, waiter))
        return waiter

    def _forget(self, waiter: Waiter) -> None:
        self.forgotten.append(waiter)

    @property
    def funcs(self) -> list[str]:
        return [func for func, _ in self.sent]

    def answer(self, func: str, response: Any, *, ok: bool = True) -> None:
        waiter = next(waiter for sent, waiter in reversed(self.sent) if sent == func)
        waiter.settle(Reply(waiter.exec_uuid, func, ok, "+OK" if ok else "-ERR", response, None if ok else "refused"), None)


TIMEOUTS = WebitelTimeouts(
    ping_interval_seconds=50, ping_reply_seconds=10, command_seconds=10, silence_seconds=1, silence_pause_seconds=5
)


class Watch:
    """A vigil whose time is told, with the answers to ``ping`` given."""

    def __init__(self) -> None:
        self.line = Line()
        self.vigil = Vigil(self.line, TIMEOUTS, peer="ws://pbx", now=0.0, log=structlog.testing.CapturingLogger())
        self.begun = 0

    async def at(self, now: float) -> list[Any]:
        told = list(await self.vigil.step(now, legs_begun=self.begun))
        if "ping" in self.line.funcs:
            self.line.answer("ping", "pong")
        told += await self.vigil.step(now, legs_begun=self.begun)
        return told

    def hear(self, now: float, *, state: str = "ISBUSY", away: str = "NONE", in_call: bool = False) -> None:
        user = WebitelUser("100", "demo.local", state=state, away=away, is_own=True)
        self.vigil.hear_status(user, in_call=in_call, legs_begun=self.begun, now=now)


def logged(value: object) -> str:
    return json.dumps({"id": ACCOUNT, "logged": value})


async def test_whoami_goes_beside_each_ping() -> None:
    watch = Watch()
    for now in (0.0, 49.9, 50.0, 99.0, 100.0):
        await watch.at(now)
        if "api whoami" in watch.line.funcs:
            watch.line.answer("api whoami", logged(True))
        assert await watch.at(now) == []
    assert watch.line.funcs == ["api whoami", "ping", "api whoami", "ping"]


async def test_silence_that_whoami_tells_is_ended_and_then_told() -> None:
    watch = Watch()
    await watch.at(50.0)
    watch.line.answer("api whoami", logged(False))
    assert await watch.at(50.1) == []
    assert watch.line.funcs[-1] == "login"
    # Nothing is told before the events come again.
    assert await watch.at(50.2) == []
    watch.line.answer("login", "+OK: logged: true")
    assert await watch.at(50.3) == [OnSilenced(SilencedBy.WHOAMI)]
    assert await watch.at(50.4) == []


@pytest.mark.parametrize("answer", [logged(True), logged("no"), "no json", None, {"logged": True}, 7])
async def test_whoami_that_does_not_say_no_changes_nothing(answer: Any) -> None:
    watch = Watch()
    await watch.at(50.0)
    watch.line.answer("api whoami", answer)
    assert await watch.at(50.1) == []
    assert "login" not in watch.line.funcs


async def test_whoami_that_is_never_answered_is_asked_again() -> None:
    watch = Watch()
    await watch.at(50.0)
    first = watch.line.sent[0][1]
    await watch.at(61.0)
    assert watch.line.forgotten == [first]
    await watch.at(100.0)
    assert watch.line.funcs.count("api whoami") == 2
    assert "login" not in watch.line.funcs


async def test_in_a_call_of_which_nothing_is_told() -> None:
    watch = Watch()
    watch.hear(10.0)
    assert watch.vigil.next_deadline == 11.0
    await watch.at(10.9)
    assert watch.line.funcs == []
    await watch.at(11.0)
    assert watch.line.funcs == ["api whoami"]
    watch.line.answer("api whoami", {"logged": False})
    await watch.at(11.1)
    watch.line.answer("login", "+OK: logged: true")
    assert await watch.at(11.2) == [OnSilenced(SilencedBy.ACCOUNT_STATUS)]


async def test_a_suspicion_that_cannot_be_cleared_up_counts() -> None:
    watch = Watch()
    watch.hear(10.0)
    await watch.at(11.0)
    assert watch.vigil.next_deadline == 21.0
    await watch.at(21.0)
    assert watch.line.funcs == ["api whoami", "login"]


async def test_an_unfounded_suspicion_is_not_raised_again_before_the_status_changes() -> None:
    watch = Watch()
    watch.hear(10.0)
    await watch.at(11.0)
    watch.line.answer("api whoami", logged(True))
    assert await watch.at(11.1) == []
    watch.hear(12.0)
    await watch.at(14.0)
    assert watch.line.funcs == ["api whoami"]
    watch.hear(15.0, state="ONHOOK")
    watch.hear(16.0)
    await watch.at(17.0)
    assert watch.line.funcs == ["api whoami", "api whoami"]


@pytest.mark.parametrize("clearing", ["a leg begins", "a leg is known", "free again", "away"])
async def test_what_clears_a_suspicion_up(clearing: str) -> None:
    watch = Watch()
    watch.hear(10.0)
    if clearing == "a leg begins":
        watch.begun += 1
    elif clearing == "a leg is known":
        watch.hear(10.5, in_call=True)
    elif clearing == "free again":
        watch.hear(10.5, state="ONHOOK")
    else:
        watch.hear(10.5, away="ONBREAK")
    await watch.at(12.0)
    assert watch.line.funcs == []
    assert watch.vigil.next_deadline == 50.0


async def test_two_programs_that_fight_do_so_slowly() -> None:
    watch = Watch()
    logins: list[float] = []
    for tenth in range(100, 400):
        now = tenth / 10
        watch.hear(now, state="ONHOOK")
        watch.hear(now - 1.0)
        before = watch.line.funcs.count("login")
        await watch.at(now)
        if watch.line.funcs.count("login") > before:
            logins.append(now)
            watch.line.answer("login", "+OK: logged: true")
        if watch.vigil._whoami is not None:
            watch.line.answer("api whoami", logged(False))
    assert len(logins) > 2
    assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(logins))


async def test_a_log_in_that_is_refused_tells_nothing_and_is_tried_at_the_next_interval() -> None:
    watch = Watch()
    await watch.at(50.0)
    watch.line.answer("api whoami", logged(False))
    await watch.at(50.1)
    watch.line.answer("login", None, ok=False)
    assert await watch.at(60.2) == []
    await watch.at(100.0)
    watch.line.answer("api whoami", logged(False))
    await watch.at(100.1)
    assert watch.line.funcs.count("login") == 2


@pytest.mark.parametrize("acted", [True, False])
async def test_a_log_in_whose_answer_is_lost_is_asked_about(acted: bool) -> None:
    watch = Watch()
    await watch.at(50.0)
    watch.line.answer("api whoami", logged(False))
    await watch.at(50.1)
    assert await watch.at(60.2) == [], "not known yet"
    assert watch.line.funcs.count("api whoami") == 2, "asked at once, not at the next interval"
    watch.line.answer("api whoami", logged(acted))
    told = await watch.at(60.3)
    assert [type(callback) for callback in told] == ([OnSilenced] if acted else [])
    assert watch.line.funcs.count("login") == (1 if acted else 2)


@pytest.mark.parametrize(
    ("unacknowledged", "kind"), [(None, OutageKind.FROZEN), (0, OutageKind.FROZEN), (60, OutageKind.HALF_OPEN)]
)
async def test_an_unanswered_ping_ends_the_vigil(unacknowledged: int | None, kind: OutageKind) -> None:
    line = Line()
    line.unacknowledged_bytes = unacknowledged
    vigil = Vigil(line, TIMEOUTS, peer="ws://pbx", now=0.0)
    await vigil.step(50.0, legs_begun=0)
    assert vigil.next_deadline == 60.0
    with pytest.raises(NetworkError, match="did not answer ping within 10 s") as caught:
        await vigil.step(60.0, legs_begun=0)
    assert caught.value.kind is kind


# --- over a connection


SWIFT = WebitelTimeouts(silence_seconds=0.02, silence_pause_seconds=0.05)


async def test_noticed_by_the_account_s_status() -> None:
    engine, told = Engine(), Told()
    engine.answers["api whoami"] = ("+OK", logged(False))
    async with session(engine, told, timeouts=SWIFT) as webitel:
        await engine.say(BUSY)
        await told.until("onSilenced")
        assert webitel.connected
        assert [request["exec-func"] for request in engine.requests[-2:]] == ["api whoami", "login"]
        assert told.names.index("onSilenced") > len(told.names) - 1 - told.names[::-1].index("onUserLogin")


@pytest.mark.parametrize("frames", [[FREE], [ON_BREAK], [BUSY, FREE], [CREATE, BUSY], [BUSY, CREATE]])
async def test_not_noticed_where_nothing_is_wrong(frames: list[dict[str, Any]]) -> None:
    engine, told = Engine(), Told()
    engine.answers["api whoami"] = ("+OK", logged(False))
    timeouts = WebitelTimeouts(silence_seconds=0.5, ping_interval_seconds=50)
    async with session(engine, told, timeouts=timeouts) as webitel:
        for frame in frames:
            await engine.say(frame)
        await webitel.ping()
        vigil = webitel._vigil
        assert vigil is not None
        # A suspicion would be due within the time that is waited for one.
        with anyio.fail_after(PATIENCE_SECONDS):
            while vigil.next_deadline < webitel._clock() + 1:
                await anyio.wait_all_tasks_blocked()
        assert "api whoami" not in [request["exec-func"] for request in engine.requests]


async def test_noticed_by_asking() -> None:
    engine, told = Engine(), Told()
    engine.answers["api whoami"] = ("+OK", logged(False))
    async with session(engine, told, timeouts=WebitelTimeouts(ping_interval_seconds=0.02, silence_pause_seconds=0.05)):
        await told.until("onSilenced", times=2)
    silenced = [callback for callback in told.callbacks if isinstance(callback, OnSilenced)]
    assert silenced[0].noticed_by is SilencedBy.WHOAMI


async def test_an_engine_that_does_not_know_whoami_is_lived_with() -> None:
    engine, told = Engine(), Told()
    engine.answers["api whoami"] = ("+ERR", "api whoami - not found.")
    async with session(engine, told, timeouts=WebitelTimeouts(ping_interval_seconds=0.01)) as webitel:
        await engine.asked("api whoami", times=4)
        assert webitel.connected
    assert "onSilenced" not in told.names
    assert [request["exec-func"] for request in engine.requests].count("login") == 1


# --- at the simulator


async def test_quirk_7_4_another_program_s_logout_is_put_right() -> None:
    async with serve_webitel(control_port=None) as simulator, anyio.create_task_group() as group:
        told = Told()
        ours = Webitel(simulator.url, ACCOUNT, secret=Secret("100"), on_callbacks=told, timeouts=SWIFT)
        theirs = Webitel(simulator.url, ACCOUNT, secret=Secret("100"), on_callbacks=Told())
        with anyio.fail_after(PATIENCE_SECONDS):
            await group.start(ours.run)
            await group.start(theirs.run)
            await theirs.logout()
            await simulator.incoming("0671112233", ACCOUNT)
            await told.until("onSilenced")
        assert "onNewCall" not in told.names
        seen, begun = await ours.look()
        assert len(seen) == 1
        assert isinstance(begun[0], OnNewCall)
        # From now on all is told again.
        await ours.hangup(next(iter(ours.legs.values()))[0])
        await told.until("onHangupCall")
        group.cancel_scope.cancel()


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_leg_that_is_listed_and_not_there_is_looked_for_once_more(goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cti_webitel.engine.client, "_LIST_LAG_SECONDS", 0.0)
    async with serve_webitel(control_port=None) as simulator, anyio.create_task_group() as group:
        told = Told()
        ours = Webitel(simulator.url, ACCOUNT, secret=Secret("100"), on_callbacks=told, timeouts=SWIFT)
        with anyio.fail_after(PATIENCE_SECONDS):
            await group.start(ours.run)
            await simulator.incoming("0671112233", ACCOUNT)
            await told.until("onNewCall")
        (row,) = [row for row in await ours.show_channels() if row["presence_id"] == ACCOUNT]
        former, dump = row["uuid"], await ours.channel_dump(row["uuid"])
        present = "0b0c1a52-0000-4000-8000-000000000001"
        lists = [[dict(row)], [{**row, "uuid": present} if goes_on else dict(row)]]

        async def show_channels() -> list[dict[str, Any]]:
            return lists.pop(0)

        async def channel_dump(uuid: str) -> Any:
            if uuid != present:
                raise CommandRefusedError("no such channel", command="channel_dump", pbx_text="-ERR No such channel!")
            return {**dump, "Unique-ID": present}

        monkeypatch.setattr(ours, "show_channels", show_channels)
        monkeypatch.setattr(ours, "channel_dump", channel_dump)
        (known,) = ours.legs
        seen, _ = await ours.look()
        assert [one.call.uuid for one in seen] == ([known] if goes_on else [])
        assert lists == []
        assert former != present
        group.cancel_scope.cancel()
