"""What is reported of what a real FreeSWITCH said: alice is 1000, bob 1001, carol 1002."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from cti_framework.reports import CallReport, Connected, Ended, Offered, Originated, Retrieved
from hypothesis import given, settings
from hypothesis import strategies as st

from captured import CAPTURES, events, lines, news_of, rows
from cti_esl.calls import UserCalls
from cti_esl.legs import LegNews, LegTable, read_leg
from cti_esl.protocol import EVENTS, EslProtocol, Reply, read_object
from cti_esl.replay import _moment, replay_frames
from told import in_words

ALICE, BOB, CAROL = "1000@webitel.test", "1001@webitel.test", "1002@webitel.test"

EXPECTED = {
    "01_connect_and_subscribe": [],
    "02_click_to_call": [
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 3 by own",
        "1 4 by own",
        "1 7 by other",
        "1 8 by other",
        "1 * by own",
        "1 # by own",
        "1 9 by own",
        "1 ended normal",
    ],
    "02b_click_to_call_caller_id": [
        "1 originated 1000",
        "1 answered",
        "1 connected",
        "1 ended normal",
        "2 originated 1001",
        "2 answered",
        "2 connected",
        "2 ended normal",
        "3 originated ?",
        "3 answered",
        "3 connected 1001",
        "3 ended normal",
        "4 originated 1001",
        "4 answered",
        "4 connected",
        "4 ended normal",
    ],
    "02c_click_to_call_one_leg": [
        "1 originated 9196",
        "1 answered",
        "1 held by own",
        "1 ended normal",
        "2 originated ?",
        "2 answered",
        "2 ended busy",
    ],
    "02d_originate_by_api_blocks": ["1 originated 1001", "1 answered", "1 connected", "1 ended normal"],
    "02f_hold_verto_leg": [
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 held by own",
        "1 ended normal",
        "2 originated 1001",
        "2 answered",
        "2 connected",
        "2 held by own",
        "2 ended normal",
        "3 originated 1001",
        "3 answered",
        "3 connected",
        "3 held by own",
        "3 retrieved by own",
        "3 ended normal",
        "4 originated 1001",
        "4 answered",
        "4 connected",
        "4 held by own",
        "4 retrieved by own",
        "4 ended normal",
    ],
    "02g_hold_by_park_and_bridge": ["1 originated 1001", "1 answered", "1 connected", "1 ended normal"],
    "02i_click_to_call_no_ringback": [
        "1 originated 71001",
        "1 answered",
        "1 connected",
        "1 ended normal",
        "2 originated 5001",
        "2 answered",
        "2 ended normal",
        "3 originated 1001",
        "3 answered",
        "3 connected",
        "3 ended rejected",
    ],
    "03_incoming_answer_transfer_kill": ["1 offered 1001 Bob", "1 answered", "1 connected", "1 ended transferred"],
    "03b_incoming_transfer_to_carol": [
        "1 offered 1001 Bob",
        "1 answered",
        "1 connected",
        "1 ended normal",
        "2 offered 1001 Bob",
        "2 answered",
        "2 connected",
        "2 ended transferred",
        "3 offered 1001 Bob",
        "3 answered",
        "3 connected",
        "3 ended transferred",
    ],
    "03d_commands_on_a_ringing_leg": [
        "1 offered 1001 Bob",
        "1 answered",
        "1 ended normal",
        "2 offered 1001 Bob",
        "2 ended cancelled",
        "3 offered 1001 Bob",
        "3 answered",
        "3 connected",
        "3 1 by own",
        "3 ended media_failure",
    ],
    "04_attended_transfer": [
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 held by own",
        "2 originated 1002",
        "2 answered",
        "2 connected",
        "1 ended transferred",
        "2 ended transferred",
    ],
    "05_refused_busy": [
        "1 originated 1001",
        "1 answered",
        "1 busy USER_BUSY",
        "1 ended busy",
        "2 originated 1001",
        "2 ended busy",
        "3 originated 1001",
        "3 ended rejected",
        "4 originated 4860",
        "4 answered",
        "4 ended busy",
        "5 offered 1001 Bob",
        "5 ended busy",
        "6 offered 1001 Bob",
        "6 ended rejected",
        "7 offered 1001 Bob",
        "7 ended busy",
    ],
    "05b_unreachable": [
        "1 originated 1003",
        "1 answered",
        "1 ended not_registered",
        "2 originated 9999999",
        "2 answered",
        "2 ended unreachable",
        "3 originated 4040",
        "3 answered",
        "3 ended unreachable",
        "4 originated 9196",
        "4 answered",
        "4 ended normal",
    ],
    "05c_timeouts": [
        "1 originated 1001",
        "1 ended no_answer",
        "2 originated 1000",
        "2 ended no_answer",
        "3 originated 81001",
        "3 answered",
        "3 ended no_answer",
        "4 offered 1001 Bob",
        "4 ended no_answer",
    ],
    "05d_cancel_while_ringing": [
        "1 originated 1001",
        "1 ended cancelled",
        "2 originated 1001",
        "2 ended normal",
        "3 originated 1001",
        "3 ended cancelled",
        "4 originated 1001",
        "4 answered",
        "4 ended cancelled",
        "5 originated 1001",
        "5 answered",
        "5 ended no_answer",
        "6 offered 1001 Bob",
        "6 ended cancelled",
        "7 originated 1001",
        "7 answered",
        "7 connected",
        "7 ended normal",
    ],
    "06_reconnect_mid_call": [
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 held by own",
        "2 originated 1002",
        "2 answered",
        "2 connected",
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 retrieved by own",
        "3 originated 1002",
        "3 answered",
        "3 connected",
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 held by own",
        "3 originated 1002",
        "3 answered",
        "3 connected",
        "3 ended normal",
        "1 ended normal",
    ],
    "06b_snapshot_against_events": [
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 held by own",
        "1 retrieved by own",
        "1 ended normal",
    ],
    "06c_lag_of_show_channels": [
        "1 originated 1001",
        "1 answered",
        "1 connected",
        "1 held by own",
        "1 retrieved by own",
        "1 ended normal",
    ],
    "19_esl_raw_protocol": ["1 originated 9664", "1 answered", "1 connected", "1 ended busy"],
}

OF_OTHERS = {
    ("03_incoming_answer_transfer_kill", BOB): ["1 originated 1000", "1 answered", "1 connected", "1 ended normal"],
    ("03_incoming_answer_transfer_kill", CAROL): [],
    ("03b_incoming_transfer_to_carol", BOB): [
        "1 originated 1000",
        "1 answered",
        "1 connected",
        "1 infochanged 1002",
        "1 ended normal",
        "2 originated 1000",
        "2 answered",
        "2 connected",
        "2 infochanged 1002",
        "2 ended normal",
        "3 originated 1000",
        "3 answered",
        "3 connected",
        "3 ended unreachable",
    ],
    ("03b_incoming_transfer_to_carol", CAROL): [
        "1 offered 1001 Bob",
        "1 answered",
        "1 connected",
        "1 ended normal",
        "2 offered 1001 Bob",
        "2 answered",
        "2 connected",
        "2 ended normal",
    ],
    ("04_attended_transfer", BOB): [
        "1 offered 1000 Alice",
        "1 answered",
        "1 connected",
        "1 held by other",
        "1 infochanged 1002",
        "1 ended normal",
    ],
    ("04_attended_transfer", CAROL): [
        "1 offered 1000 Alice",
        "1 answered",
        "1 connected",
        "1 infochanged 1001",
        "1 ended normal",
    ],
    ("06_reconnect_mid_call", BOB): ["1 offered 1000 Alice", "1 answered", "1 connected", "1 held by other"],
    ("06_reconnect_mid_call", CAROL): [
        "1 offered 1000 Alice",
        "1 answered",
        "1 connected",
        "2 offered 1000 Alice",
        "2 answered",
        "2 connected",
    ],
}


def reports_of(name: str, presence: str) -> list[CallReport]:
    replayed = replay_frames(lines(name), presence)
    return [report for line in replayed for report in line.reports if isinstance(report, CallReport)]


def test_each_capture_is_expected() -> None:
    assert set(EXPECTED) == set(CAPTURES)


@pytest.mark.parametrize("name", CAPTURES)
def test_what_alice_is_told(name: str) -> None:
    assert in_words(reports_of(name, ALICE)) == ", ".join(EXPECTED[name])


@pytest.mark.parametrize(("name", "presence"), OF_OTHERS)
def test_what_others_are_told(name: str, presence: str) -> None:
    assert in_words(reports_of(name, presence)) == ", ".join(OF_OTHERS[name, presence])


@pytest.mark.parametrize("name", CAPTURES)
def test_who_is_in_no_call_is_told_nothing(name: str) -> None:
    assert reports_of(name, "1009@webitel.test") == []


def test_each_kind_of_event_is_known() -> None:
    asked_for_more = {"19_esl_raw_protocol"}
    seen = {event.name for name in CAPTURES if name not in asked_for_more for event in events(name)}
    assert seen == set(EVENTS)


@pytest.mark.parametrize("name", CAPTURES)
def test_each_leg_is_forgotten(name: str) -> None:
    table = LegTable()
    for news in news_of(name):
        table.feed(news)
    destroyed = {news.leg for news in news_of(name) if news.name == "CHANNEL_DESTROY"}
    left = {news.leg for news in news_of(name)} - destroyed
    assert len(table) == len(left)
    assert not (destroyed & set(table.legs_of(ALICE)))


# --- the order between legs is not certain


@pytest.mark.parametrize("name", [name for name in CAPTURES if name != "06_reconnect_mid_call"])
@given(st.integers())
@settings(max_examples=15, deadline=None)
def test_nothing_depends_on_the_order_between_legs(name: str, seed: int) -> None:
    news = news_of(name)
    assert told_of(jostled(news, random.Random(seed))) == told_of(news)


def jostled(news: list[LegNews], chance: random.Random) -> list[LegNews]:
    """Events of different legs that came within 5 ms of each other, in another order; each leg's keep theirs."""
    order = list(news)
    for _ in range(len(order) * 2):
        at = chance.randrange(len(order) - 1) if len(order) > 1 else 0
        pair = order[at : at + 2]
        if len({news.leg for news in pair}) == 2 and are_close(*pair) and begins_neither(order[: at + 2], pair):
            order[at : at + 2] = reversed(pair)
    return order


def are_close(one: LegNews, other: LegNews) -> bool:
    return abs(one.at_microseconds - other.at_microseconds) <= 5_000


def begins_neither(before: list[LegNews], pair: list[LegNews]) -> bool:
    """A leg is there before another is told of that is called on its behalf, or joined with it."""
    known = Counter(news.leg for news in before)
    return all(known[news.leg] > 1 for news in pair)


def told_of(news: list[LegNews]) -> dict[str, Counter[str]]:
    legs = LegTable()
    calls = UserCalls(ALICE, legs, _moment)
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for one in news:
        for report in calls.feed(one) if ALICE in legs.feed(one) else ():
            if isinstance(report, Originated | Offered | Connected):
                told[report.call_id][type(report).__name__] += 1
            elif isinstance(report, Ended):
                told[report.call_id][f"Ended {report.cause.value}"] += 1
    return told


# --- dumps


def dumps(name: str) -> list[LegNews]:
    found = []
    for row in rows(name, "s2c"):
        for message in EslProtocol().feed(f"{row['head']}{row['body']}".encode()):
            news = read_leg(read_object(message.text) or {}) if isinstance(message, Reply) else None
            if news is not None:
                found.append(news)
    return found


def calls_of(presence: str) -> UserCalls:
    return UserCalls(presence, LegTable(), _moment)


def test_a_dump_of_a_call_that_rings_here() -> None:
    ringing = next(news for news in dumps("03_incoming_answer_transfer_kill") if news.presence == ALICE)
    seen = calls_of(ALICE).look(ringing.leg, ringing, None)
    assert seen is not None
    assert (seen.direction.name, seen.state.name, seen.other.number, seen.other.name) == (
        "IN",
        "ALERTING",
        "1001",
        "Bob",
    )
    assert seen.answered_at is None


def test_a_dump_of_a_call_that_is_talked_on() -> None:
    *_, talking = [news for news in dumps("03_incoming_answer_transfer_kill") if news.presence == ALICE]
    seen = calls_of(ALICE).look(talking.leg, talking, None)
    assert seen is not None
    assert (seen.direction.name, seen.state.name) == ("IN", "CONNECTED")
    assert seen.connected_at is not None
    assert seen.answered_at is not None


def test_a_dump_of_a_call_whose_far_end_rings() -> None:
    waiting = next(news for news in dumps("05d_cancel_while_ringing") if news.call_state == "RING_WAIT")
    calls = calls_of(ALICE)
    seen = calls.look(waiting.leg, waiting, None)
    assert seen is not None
    assert (seen.direction.name, seen.state.name, seen.other.number) == ("OUT", "ALERTING", "1001")
    assert not calls.application_answered(waiting.leg, waiting)


def test_a_dump_of_a_call_to_an_application() -> None:
    echo = dumps("02c_click_to_call_one_leg")[0]
    own = [news for news in news_of("02c_click_to_call_one_leg") if news.leg == echo.leg]
    calls = calls_of(ALICE)
    calls.feed(own[0])
    calls.feed(own[3])
    assert in_words(calls.application_answered(echo.leg, echo)) == "1 connected"
    assert calls.application_answered(echo.leg, echo) == []


def test_a_call_that_began_unseen_is_told_whole() -> None:
    dump = next(news for news in dumps("02_click_to_call") if news.presence == ALICE)
    calls = calls_of(ALICE)
    assert in_words(calls.missed(dump.leg, dump, None)) == "1 originated 1001, 1 answered, 1 connected"
    assert calls.missed(dump.leg, dump, None) == []


def test_what_has_ended_no_dump_revives() -> None:
    dump = next(news for news in dumps("02_click_to_call") if news.presence == ALICE)
    end = next(news for news in news_of("02_click_to_call") if news.leg == dump.leg and news.name == "CHANNEL_DESTROY")
    calls = calls_of(ALICE)
    calls.feed(end)
    assert calls.look(dump.leg, dump, None) is None
    assert calls.missed(dump.leg, dump, None) == []


def test_what_has_ended_no_late_event_revives() -> None:
    own = [news for news in news_of("02_click_to_call") if news.presence == ALICE]
    calls = calls_of(ALICE)
    for news in own:
        calls.feed(news)
    assert [report for news in own for report in calls.feed(news)] == []
    assert calls.up == ()


def test_a_hold_is_over_when_the_phone_says_so_and_not_the_socket() -> None:
    """`uuid_hold off` on top of the phone's own hold says UNHOLD, and the call state stays HELD."""
    taken_back = [
        line.at_seconds
        for line in replay_frames(lines("02f_hold_verto_leg"), ALICE)
        if any(isinstance(report, Retrieved) for report in line.reports)
    ]
    assert taken_back == pytest.approx([18.561, 27.595], abs=0.001)
