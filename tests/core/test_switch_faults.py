"""Faults of a link: what each does to which message, scripts that are printed and replayed, and a log that is the same twice."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cti_framework.testing
from cti_framework.switchboard import DEFAULT_START, Clock
from cti_framework.switchboard.faults import (
    ALL_SWITCH_KINDS,
    DelayMessages,
    DropLink,
    DuplicateEvents,
    FaultHit,
    FaultLink,
    FaultScript,
    HalfOpen,
    LoseReplies,
    Message,
    ReorderEvents,
    ScriptedFault,
    SlowPeer,
    SwitchFault,
    SwitchFaults,
    random_switch_faults,
    read_switch_fault,
)
from tests.core.test_import import HEAVY, modules_after

counts, seconds = st.integers(1, 99), st.floats(0, 1000)
faults: st.SearchStrategy[SwitchFault] = st.one_of(
    st.builds(DelayMessages, counts, seconds),
    st.builds(ReorderEvents, counts, seconds),
    st.builds(SlowPeer, counts, seconds),
    st.builds(DuplicateEvents, counts),
    st.builds(LoseReplies, counts),
    st.sampled_from([DropLink(), HalfOpen()]),
)
scripts = st.builds(
    FaultScript,
    st.lists(st.builds(ScriptedFault, counts, st.sampled_from(Message), counts, faults)),
    st.none() | st.integers(),
)


class Bench:
    """One link, both of its ends, and what came out where."""

    def __init__(self, script: str = "") -> None:
        self.clock = Clock(DEFAULT_START)
        self.faults = SwitchFaults(self.clock, FaultScript.parse(script))
        self.hits: list[FaultHit] = []
        self.faults.on_hit = self.hits.append
        self.told: list[str] = []
        self.asked: list[str] = []
        self.cuts = 0
        self.link = self.open()

    def open(self) -> FaultLink[str, str]:
        # An event's first letter names its call.
        return self.faults.open_link(
            to_client=self.told.append, to_pbx=self.asked.append, cut=self.cut, concerns=lambda event: event[:1]
        )

    def cut(self) -> None:
        self.cuts += 1

    def events(self, text: str) -> None:
        for event in text.split():
            self.link.event(event)

    def came(self) -> str:
        """What has come to the client since this was asked last."""
        told = " ".join(self.told)
        self.told.clear()
        return told


# --- each fault


def test_without_a_fault_everything_passes_at_once_both_ways() -> None:
    bench = Bench()
    bench.events("a1 b1")
    bench.link.reply("r1")
    bench.link.command("c1")
    assert (bench.came(), bench.asked, bench.hits, str(bench.faults.log)) == ("a1 b1 r1", ["c1"], [], "")


def test_a_drop_loses_what_waits_and_both_ends_see_it() -> None:
    bench = Bench("1 event 3 drop")
    bench.faults.apply(DelayMessages(seconds=5.0))
    bench.faults.apply(SlowPeer(seconds=5.0))
    bench.link.command("c1")
    bench.events("a1 a2")
    assert (bench.cuts, bench.link.open) == (0, True)
    bench.events("a3")
    assert (bench.cuts, bench.link.open) == (1, False)
    bench.clock.advance(60)
    bench.events("a4")
    bench.link.reply("r1")
    bench.link.command("c2")
    assert (bench.came(), bench.asked) == ("", [])
    assert bench.hits[-1] == FaultHit(1, Message.EVENT, 3, DropLink())
    assert bench.faults.links == ()


def test_half_open_swallows_both_ways_tells_nobody_and_another_link_is_sound() -> None:
    bench = Bench("1 command 2 half_open")
    bench.link.command("c1")
    bench.events("a1")
    for command in ("c2", "c3"):
        bench.link.command(command)
    bench.events("a2")
    bench.link.reply("r1")
    bench.faults.heal()
    bench.events("a3")
    assert (bench.asked, bench.came(), bench.cuts, bench.link.open, bench.link.is_half_open) == (["c1"], "a1", 0, True, True)
    assert str(bench.faults.log) == ("#1 all links heal\nlink 1 command 2 half_open\n")
    # The log tells what began it; whoever watches sees each message that it swallows.
    assert [(str(hit.message), hit.ordinal) for hit in bench.hits] == [
        ("command", 2),
        ("command", 3),
        ("event", 2),
        ("reply", 1),
        ("event", 3),
    ]
    bench.link.close()
    bench.link = bench.open()
    bench.events("b1")
    assert bench.came() == "b1"


def test_a_half_open_link_loses_what_was_on_its_way_and_can_still_be_cut() -> None:
    bench = Bench()
    bench.faults.apply(DelayMessages(messages=2, seconds=1.0))
    bench.events("a1")
    bench.faults.apply(HalfOpen())
    bench.clock.advance(60)
    assert bench.came() == ""
    bench.faults.apply(DropLink())
    assert bench.cuts == 1


def test_a_delay_keeps_the_order_and_ends_with_its_messages() -> None:
    bench = Bench("1 event 2 delay messages=2 seconds=2.0")
    bench.events("a1 a2")
    bench.clock.advance(1)
    bench.link.reply("r1")
    bench.events("a3")
    assert bench.came() == "a1"
    bench.clock.advance(1)
    # The reply waits for no longer than what is before it: the script counts events.
    assert bench.came() == "a2 r1"
    bench.clock.advance(1)
    assert bench.came() == "a3"
    bench.events("a4")
    assert bench.came() == "a4"
    assert [(hit.message, hit.ordinal) for hit in bench.hits] == [(Message.EVENT, 2), (Message.EVENT, 3)]


def test_a_delay_that_is_ordered_is_for_so_many_events_and_so_many_replies() -> None:
    for order in ("eeerrr", "rrreee", "ererer"):
        bench = Bench()
        bench.faults.apply(DelayMessages(messages=2, seconds=1.0))
        for step in order:
            bench.link.event("e") if step == "e" else bench.link.reply("r")
        assert str(bench.faults.log) == (
            "#1 all links delay messages=2 seconds=1.0\n"
            "link 1 event 1-2 delay messages=2 seconds=1.0\n"
            "link 1 reply 1-2 delay messages=2 seconds=1.0\n"
        )
        bench.clock.advance(1)
        assert len(bench.told) == len(order)


def test_a_half_open_link_that_was_ordered_is_in_the_log_once() -> None:
    bench = Bench()
    bench.faults.apply(HalfOpen())
    bench.events("a1 a2")
    assert str(bench.faults.log) == "#1 all links half_open\n"
    assert len(bench.hits) == 2


def test_a_shorter_delay_overtakes_nothing() -> None:
    bench = Bench("1 event 1 delay seconds=3.0\n1 event 2 delay seconds=1.0")
    bench.events("a1 a2")
    bench.clock.advance(2.9)
    assert bench.came() == ""
    bench.clock.advance(0.1)
    assert bench.came() == "a1 a2"


def test_a_duplicate_is_right_behind_its_event_and_no_reply_comes_twice() -> None:
    bench = Bench("1 event 1 duplicate messages=2")
    bench.link.reply("r1")
    bench.events("a1 b1 a2")
    assert bench.came() == "r1 a1 a1 b1 b1 a2"


def test_neighbours_of_different_calls_change_places_and_those_of_one_call_do_not() -> None:
    bench = Bench("1 event 1 reorder messages=3")
    bench.events("a1 b1")
    assert bench.came() == "b1 a1"
    # The second waits for b2, the third for a call that does not come.
    bench.events("a2 a3 b2 c1")
    assert bench.came() == "a2 b2 a3 c1"
    assert [hit.ordinal for hit in bench.hits] == [1, 4]


def test_who_waits_for_a_neighbour_waits_for_a_moment_only_and_no_reply_is_overtaken() -> None:
    bench = Bench("1 event 1 reorder messages=3 seconds=0.05")
    bench.events("a1")
    assert bench.came() == ""
    bench.clock.advance(0.05)
    assert bench.came() == "a1"
    bench.events("a2")
    bench.link.reply("r1")
    bench.events("b1 b2")
    bench.clock.advance(1)
    assert bench.came() == "a2 r1 b1 b2"
    assert bench.hits == []


def test_a_lost_reply_is_of_a_command_that_was_carried_out() -> None:
    bench = Bench("1 reply 2 lost_reply messages=2")
    for number in range(1, 5):
        bench.link.command(f"c{number}")
        bench.link.reply(f"r{number}")
    assert (bench.asked, bench.came()) == (["c1", "c2", "c3", "c4"], "r1 r4")


def test_a_slow_peer_reads_one_command_after_the_other_and_says_the_rest_as_ever() -> None:
    bench = Bench("1 command 1 slow_peer messages=2 seconds=2.0")
    for command in ("c1", "c2", "c3"):
        bench.link.command(command)
    bench.events("a1")
    assert (bench.asked, bench.came()) == ([], "a1")
    bench.clock.advance(2)
    assert bench.asked == ["c1"]
    bench.clock.advance(2)
    assert bench.asked == ["c1", "c2", "c3"]


def test_several_faults_meet_one_message() -> None:
    bench = Bench("1 event 1 reorder\n1 event 1 duplicate messages=2\n1 event 1 delay messages=1 seconds=1.0")
    bench.events("a1 b1")
    bench.clock.advance(1)
    assert bench.came() == "b1 b1 a1 a1"


def test_healing_ends_the_script_and_lets_out_what_waits_in_order() -> None:
    bench = Bench("1 event 4 drop\n2 event 1 drop")
    bench.faults.apply(DelayMessages(messages=9, seconds=60.0))
    bench.faults.apply(SlowPeer(messages=9, seconds=60.0))
    bench.events("a1 a2")
    bench.link.command("c1")
    bench.faults.apply(ReorderEvents(seconds=60.0))
    bench.events("b1")
    bench.faults.heal()
    assert (bench.came(), bench.asked) == ("a1 a2 b1", ["c1"])
    bench.events("a4")
    bench.link = bench.open()
    bench.events("a5")
    assert (bench.came(), bench.cuts) == ("a4 a5", 0)
    assert bench.clock.next_deadline_seconds is None


def test_what_a_message_sets_off_comes_behind_it() -> None:
    bench = Bench("1 event 1 delay messages=2 seconds=1.0")
    told: list[str] = []

    def answer(message: str) -> None:
        told.append(message)
        if message == "a1":
            link.command("c1")

    link: FaultLink[str, str] = bench.faults.open_link(
        to_client=answer, to_pbx=lambda message: link.reply(f"to {message}"), cut=bench.cut
    )
    bench.faults.play(FaultScript.parse("2 event 1 delay messages=2 seconds=1.0"))
    link.event("a1")
    link.event("a2")
    bench.clock.advance(1)
    assert told == ["a1", "a2", "to c1"]


def test_what_an_event_closes_carries_it_no_second_time() -> None:
    bench = Bench()
    told: list[str] = []

    def leave(event: str) -> None:
        told.append(event)
        link.close()

    link: FaultLink[str, str] = bench.faults.open_link(to_client=leave, to_pbx=bench.asked.append, cut=bench.cut)
    bench.faults.apply(DuplicateEvents())
    link.event("a1")
    assert told == ["a1"]


# --- links and scripts


def test_links_are_numbered_as_they_open_and_each_meets_its_own() -> None:
    bench = Bench("2 event 1 duplicate")
    second = bench.open()
    second.event("b1")
    bench.events("a1")
    assert bench.came() == "b1 b1 a1"
    assert [link.number for link in bench.faults.links] == [1, 2]
    bench.link.close()
    assert bench.faults.links == (second,)
    assert bench.open().number == 3


def test_a_script_that_is_played_later_counts_from_then_on() -> None:
    bench = Bench("1 event 2 drop")
    bench.events("a1")
    closed = bench.open()
    other = bench.open()
    closed.close()
    bench.faults.play(FaultScript.parse("seed 5\n1 event 1 duplicate\n2 event 1 lost_reply\n2 event 2 duplicate"))
    bench.events("a2 a3")
    other.event("b1")
    other.event("b2")
    assert bench.came() == "a1 a2 a2 a3 b1 b2 b2"
    assert str(bench.faults.log) == ("seed 5\nlink 1 event 1 duplicate messages=1\nlink 2 event 2 duplicate messages=1\n")
    assert bench.open().number == 3


def test_one_link_alone_can_be_told() -> None:
    bench = Bench()
    other = bench.open()
    other.apply(DuplicateEvents())
    bench.events("a1")
    other.event("b1")
    assert bench.came() == "a1 b1 b1"
    assert str(bench.faults.log) == "#1 link 2 duplicate messages=1\nlink 2 event 1 duplicate messages=1\n"


def test_links_that_are_closed_are_forgotten() -> None:
    bench = Bench()
    for _ in range(1000):
        bench.open().close()
    assert len(bench.faults.links) == 1
    assert bench.clock.next_deadline_seconds is None


# --- text


@given(scripts)
def test_a_script_that_is_printed_can_be_read_again(script: FaultScript) -> None:
    assert FaultScript.parse(str(script)) == script


def test_a_seed_draws_the_same_script_in_every_process() -> None:
    assert str(random_switch_faults(2, count=5, links=2)) == (
        "# link message ordinal fault\n"
        "seed 2\n"
        "1 command 14 slow_peer messages=2 seconds=2.481\n"
        "2 command 25 drop\n"
        "2 event 13 reorder messages=1 seconds=0.012\n"
        "2 event 31 reorder messages=1 seconds=0.05\n"
        "2 event 31 half_open\n"
    )


def test_other_seeds_draw_other_scripts_of_all_kinds() -> None:
    drawn = [random_switch_faults(seed) for seed in range(60)]
    assert len({str(script) for script in drawn}) == 60
    assert {type(one.fault) for script in drawn for one in script} == set(ALL_SWITCH_KINDS)
    for one in random_switch_faults(
        3, count=200, links=2, within_messages=9, longest_seconds=0.5, kinds=[SlowPeer, ReorderEvents]
    ):
        assert one.link in (1, 2)
        assert 1 <= one.ordinal <= 9
        assert isinstance(one.fault, SlowPeer | ReorderEvents)
        assert one.fault.seconds <= 0.5


def test_a_drawn_fault_is_counted_by_messages_that_can_meet_it() -> None:
    met = {
        DuplicateEvents: {Message.EVENT},
        ReorderEvents: {Message.EVENT},
        LoseReplies: {Message.REPLY},
        SlowPeer: {Message.COMMAND},
        DelayMessages: {Message.EVENT, Message.REPLY},
    }
    for seed in range(50):
        for one in random_switch_faults(seed):
            assert one.message in met.get(type(one.fault), set(Message))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 event 5", "line 2"),
        ("0 event 5 drop", "link"),
        ("1 event 0 drop", "ordinal"),
        ("1 frame 5 drop", "'frame'"),
        ("1 event x drop", "'x'"),
        ("1 event 5 explode", "'explode' is no fault of a link; there are drop, half_open"),
        ("1 event 5 drop seconds=1", "drop does not take that"),
        ("1 event 5 delay seconds=soon", "is not name=number"),
        ("1 event 5 delay seconds=-1", "seconds"),
        ("1 event 5 delay messages=0", "messages"),
        ("1 event 5 delay messages=1.5", "messages"),
        ("seed seven", "line 2"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, problem: str) -> None:
    with pytest.raises((ValueError, TypeError), match=r"line 2 of the script") as caught:
        FaultScript.parse(f"# a comment\n{line}\n")
    assert problem in str(caught.value)


@pytest.mark.parametrize("make", [lambda: DelayMessages(1, math.nan), lambda: SlowPeer(1, math.inf), lambda: LoseReplies(0)])
def test_a_fault_that_could_not_be(make: Callable[[], SwitchFault]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()
    with pytest.raises(ValueError, match="'' is no fault"):
        read_switch_fault(" ")


def test_every_fault_can_be_read_by_its_name_and_plugin_authors_have_them() -> None:
    for kind in ALL_SWITCH_KINDS:
        assert read_switch_fault(kind.name) == kind()
        assert getattr(cti_framework.testing, kind.__name__) is kind
    assert len({kind.name for kind in ALL_SWITCH_KINDS}) == 7


def test_it_needs_no_extra() -> None:
    assert modules_after("import cti_framework.switchboard.faults") & {*HEAVY, "pluggy", "pytest"} == set()


# --- the log


@attrs.frozen
class Traffic:
    """What passes over two links, kind by kind: the order between kinds and links is nobody's."""

    order: str

    def over(self, bench: Bench) -> str:
        links = [bench.link, bench.open()]
        for step in self.order:
            link = links[step.isupper()]
            if step.lower() == "e":
                link.event("a")
            elif step.lower() == "r":
                link.reply("r")
            else:
                link.command("c")
        return str(bench.faults.log)


@given(st.permutations("eeeeeerrrrrrccccccEEEEEERRRRRRCCCCCC"), st.integers(0, 30))
def test_the_same_script_and_traffic_give_the_same_log_byte_for_byte(order: list[str], seed: int) -> None:
    # What ends everything for all kinds comes when it comes: beside other faults that is another traffic.
    for kinds in ([DuplicateEvents, LoseReplies, SlowPeer, DelayMessages], [HalfOpen]):
        script = str(random_switch_faults(seed, links=2, within_messages=6, kinds=kinds))
        log = Traffic("".join(order)).over(Bench(script))
        assert log.encode() == Traffic("".join(sorted(order))).over(Bench(script)).encode()
        assert log.startswith(f"seed {seed}\n")


def test_the_log_does_not_grow_with_the_messages() -> None:
    bench = Bench("1 event 1 duplicate messages=100000\n1 event 5000 half_open")
    for _ in range(20_000):
        bench.events("a1")
    assert str(bench.faults.log) == "link 1 event 1-4999 duplicate messages=100000\nlink 1 event 5000 half_open\n"
