"""The switch in the box speaks as the real one does: the same answers, the same events in the same order and shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from cti_framework.switchboard import Switchboard, SwitchOptions

from captured import CAPTURES, events, news_of, rows
from cti_esl.legs import LegNews, read_leg
from cti_esl.protocol import EslProtocol, Event, Reply, read_object
from cti_esl.simulator.commands import Commands
from cti_esl.simulator.switch import FakeSwitch

DOMAIN = "webitel.test"
OURS = {"variable_cti_destination", "variable_cti_parent"}


class Told:
    """A switch turned by hand, and all events that it told."""

    def __init__(self) -> None:
        self.board = Switchboard(options=SwitchOptions(own_answer_seconds=0.5))
        for number in ("1000", "1001", "1002"):
            self.board.add_account(number, DOMAIN)
        self.switch = FakeSwitch(self.board)
        self.commands = Commands(self.switch)
        self.events: list[Event] = []
        self.switch.subscribe(self._told)

    def _told(self, name: str, message: bytes) -> None:
        (event,) = EslProtocol().feed(message)
        assert isinstance(event, Event)
        assert event.name == name
        self.events.append(event)

    def originate(self, destination: str = "1001", uuid: str = "a") -> None:
        variables = f"origination_uuid={uuid},origination_caller_id_number={destination}"
        self.commands.background(f"originate {{{variables}}}user/1000@{DOMAIN} {destination} XML default", "job")
        self.board.advance(1)

    def answer(self, number: str) -> None:
        self.board.answer(self.board.legs_at(number)[-1].uuid)
        self.board.advance(1)

    def told_of(self, number: str) -> list[str]:
        """The events of a user's leg, in a few words."""
        return [_words(news) for news in self.news if news.presence.startswith(number)]

    @property
    def news(self) -> list[LegNews]:
        found = [read_leg(event.fields) for event in self.events if event.name != "BACKGROUND_JOB"]
        return [news for news in found if news is not None]


def _words(news: LegNews) -> str:
    name = news.name.removeprefix("CHANNEL_")
    return f"{name} {news.former_call_state}->{news.call_state}" if name == "CALLSTATE" else name


def captured(name: str, number: str, until: Callable[[LegNews], bool]) -> list[str]:
    told = []
    for news in news_of(name):
        if news.presence.startswith(number):
            told.append(_words(news))
            if until(news):
                break
    return told


def is_destroyed(news: LegNews) -> bool:
    return news.name == "CHANNEL_DESTROY"


def a_click_to_call() -> Told:
    told = Told()
    told.originate()
    told.answer("1001")
    return told


def test_a_click_to_call_goes_as_there() -> None:
    told = a_click_to_call()
    told.commands.api("uuid_recv_dtmf a 3")
    told.commands.api("uuid_kill a NORMAL_CLEARING")
    assert told.told_of("1001") == captured("02d_originate_by_api_blocks", "1001", is_destroyed)
    own = [words for words in told.told_of("1000") if words != "DTMF"]
    assert own == captured("02d_originate_by_api_blocks", "1000", is_destroyed)


def test_an_incoming_call_goes_as_there() -> None:
    told = Told()
    told.board.dial_from_device(f"1001@{DOMAIN}", "1000")
    told.answer("1000")
    own = captured("03_incoming_answer_transfer_kill", "1000", lambda news: news.call_state == "ACTIVE")
    assert told.told_of("1000") == own


def test_a_far_end_that_is_busy_goes_as_there() -> None:
    told = Told()
    told.originate()
    told.board.hang_up(told.board.legs_at("1001")[0].uuid, "USER_BUSY")
    assert told.told_of("1000") == captured("05_refused_busy", "1000", is_destroyed)
    assert told.news[-1].cause == "USER_BUSY"


def test_a_far_end_that_rings_in_vain_says_why() -> None:
    told = Told()
    told.originate()
    told.board.hang_up(told.board.legs_at("1001")[0].uuid, "NO_ANSWER")
    (end,) = [news for news in told.news if news.name == "CHANNEL_HANGUP_COMPLETE" and news.presence.startswith("1000")]
    assert (end.cause, end.failed_cause) == ("NORMAL_CLEARING", "NO_ANSWER")


def test_an_attended_transfer_goes_as_there() -> None:
    told = a_click_to_call()
    told.commands.api("uuid_hold a")
    told.originate("1002", "b")
    told.answer("1002")
    far = [told.switch.shown(told.board.legs_at(number)[0].uuid) for number in ("1001", "1002")]
    before = len(told.news)
    assert told.commands.api(f"uuid_bridge {far[0]} {far[1]}") == f"+OK {far[1]}\n"
    told.board.advance(1)
    after = [news for news in told.news[before:] if news.presence.startswith("1000")]
    assert sorted(map(_words, after)) == sorted(
        words
        for words in (_words(news) for news in news_of("04_attended_transfer") if news.presence.startswith("1000"))
        if words in ("UNBRIDGE", "CALLSTATE ACTIVE->HANGUP", "HANGUP_COMPLETE", "DESTROY")
    )
    (bridge,) = [news for news in told.news[before:] if news.name == "CHANNEL_BRIDGE"]
    assert (bridge.bridge_a, bridge.bridge_b) == (far[0], far[1])


def test_a_hold_of_a_verto_leg_cannot_be_undone() -> None:
    told = a_click_to_call()
    assert told.commands.api("uuid_hold a") == "+OK Success\n"
    assert told.commands.api("uuid_hold off a") == "-ERR Operation failed\n"
    held = [news for news in told.news if news.name == "CHANNEL_HOLD"]
    assert [news.call_state for news in held] == ["ACTIVE"]
    assert not [news for news in told.news if news.call_state == "HELD"]


def test_the_phones_own_hold_goes_as_there() -> None:
    told = a_click_to_call()
    before = len(told.told_of("1000"))
    own = told.board.legs_of(f"1000@{DOMAIN}")[0].uuid
    told.board.hold(own)
    told.board.unhold(own)
    told.board.advance(1)
    there = [_words(news) for news in news_of("06b_snapshot_against_events") if news.presence.startswith("1000")]
    assert told.told_of("1000")[before:] == there[there.index("CALLSTATE ACTIVE->HELD") :][:5]


# --- shape


@cache
def keys_of(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """What events of a kind always say in the captures, and what they can say."""
    seen = [frozenset(event.fields) for capture in CAPTURES for event in events(capture) if event.name == name]
    return frozenset.intersection(*seen), frozenset.union(*seen)


def everything() -> Told:
    told = a_click_to_call()
    own = told.board.legs_of(f"1000@{DOMAIN}")[0].uuid
    told.board.hold(own)
    told.board.unhold(own)
    told.board.advance(1)
    told.commands.api("uuid_recv_dtmf a 3")
    told.commands.api("uuid_transfer a 1002 XML default")
    told.board.advance(1)
    told.board.incoming("0501112233", f"1000@{DOMAIN}", name="Ann")
    told.answer("1000")
    for leg in told.board.legs:
        if not leg.ended:
            told.board.hang_up(leg.uuid)
    return told


def test_events_say_nothing_that_a_real_one_does_not() -> None:
    seen = set()
    for event in everything().events:
        seen.add(event.name)
        _, can = keys_of(event.name)
        extra = set(event.fields) - can - OURS - {"variable_domain_name", "variable_sip_call_id"}
        assert not extra, f"{event.name} says {sorted(extra)}"
        assert all(isinstance(value, str) for value in event.fields.values())
    assert seen == {event.name for event in events("02_click_to_call", "06b_snapshot_against_events")}


READ = {
    "Event-Name",
    "Event-Date-Timestamp",
    "Unique-ID",
    "Channel-Presence-ID",
    "Call-Direction",
    "Channel-Call-State",
    "Answer-State",
    "Caller-Caller-ID-Number",
    "Caller-Destination-Number",
    "Caller-Channel-Created-Time",
    "Caller-Channel-Answered-Time",
    "Caller-Channel-Bridged-Time",
}


def test_events_say_what_is_read_of_a_real_one() -> None:
    for event in everything().events:
        if event.name == "BACKGROUND_JOB":
            continue
        always, _ = keys_of(event.name)
        # An outside number is nobody here.
        missing = (READ & always) - set(event.fields) - {"Channel-Presence-ID"}
        assert not missing, f"{event.name} does not say {sorted(missing)}"


def test_the_table_has_the_columns_of_a_real_one() -> None:
    told = a_click_to_call()
    ours = read_object(told.commands.api("show channels as json"))
    theirs: dict[str, Any] | None = None
    for row in rows("02_click_to_call", "s2c"):
        if '"rows":[' in row["body"]:
            theirs = read_object(row["body"])
            break
    assert ours is not None
    assert theirs is not None
    assert [list(row) for row in ours["rows"]] == [list(row) for row in theirs["rows"]]


def test_a_dump_says_nothing_that_a_real_one_does_not() -> None:
    told = a_click_to_call()
    ours = read_object(told.commands.api("uuid_dump a json"))
    real: set[str] = set()
    for name in CAPTURES:
        for row in rows(name, "s2c"):
            if row["body"].startswith('{"Event-Name":"CHANNEL_DATA"'):
                real |= set(read_object(row["body"]) or {})
    assert ours is not None
    assert set(ours) - OURS <= real | {"variable_sip_call_id"}


# --- answers


def dialogue() -> list[tuple[str, str]]:
    """Each ``api`` command of a capture with its answer."""
    asked, answers = [], []
    for row in rows("01_connect_and_subscribe"):
        if row["conn"] == "esl1" and row["dir"] == "c2s":
            asked.append(row["text"].strip())
        elif row["conn"] == "esl1" and row["dir"] == "s2c":
            answers += [
                one for one in EslProtocol().feed(f"{row['head']}{row['body']}".encode()) if isinstance(one, Reply)
            ]
    return [
        (command.removeprefix("api "), reply.text)
        for command, reply in zip(asked, answers, strict=True)
        if command.startswith("api ")
    ]


KNOWN = ("show channels as json", "uuid_bridge", "uuid_dump", "uuid_exists", "uuid_hold", "uuid_kill", "uuid_recv_dtmf")
COMMANDS = [
    (command, answer) for command, answer in dialogue() if command.startswith((*KNOWN, "uuid_transfer", "version"))
]


@pytest.mark.parametrize(("command", "answer"), COMMANDS)
def test_commands_are_answered_as_there(command: str, answer: str) -> None:
    ours = Told().commands.api(command)
    if answer.startswith("-USAGE"):
        assert ours.startswith("-USAGE")
    else:
        assert ours == answer
