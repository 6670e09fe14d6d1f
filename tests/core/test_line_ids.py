"""What an identifier names: a call that only a snapshot on its way knows, one that was taken over, and one that is used again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from cti_framework.calls import CallDirection, CallFeature, CallRole, CallState, Party, Side
from cti_framework.events import CallFinished, CallInfoChanged, CallStarted, Event, LineStateChanged, ProviderState
from cti_framework.line import Line
from cti_framework.reports import (
    Allowed,
    CallReport,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    IdChanged,
    InfoChanged,
    MediaStarted,
    Offered,
    Originated,
    Report,
    Snapshot,
    Started,
    Tones,
)
from tests.core.scripted import ALL_CALLS, snapshot_of

T0 = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
CALLER = Party("0501")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def a_line(*said: Report) -> Line:
    line = Line("epoch")
    for report in (Started(at=T0, features=ALL_CALLS), *said):
        line.apply(report)
    return line


def lose(line: Line, lost_at: float = 100, back_at: float = 110) -> None:
    line.connection_changed(ProviderState.RECONNECTING, at(lost_at))
    line.apply(Started(at=at(back_at), features=ALL_CALLS))


def take(line: Line, *calls: CallSnapshot, asked: int | None = None, seconds: float = 111, complete: bool = True) -> list[Event]:
    """Apply the answer to a question that was asked a tenth of a second before; ``asked``: and what came in since."""
    snapshot = Snapshot(at=at(seconds), calls=calls, complete=complete)
    return line.apply_snapshot(snapshot, asked_at_seq=line.seq if asked is None else asked, asked_at=at(seconds - 0.1))


def rings(call_id: str = "a", seconds: float = 1) -> Offered:
    return Offered(at=at(seconds), call_id=call_id, other=CALLER)


def talks(call_id: str = "a", seconds: float = 2) -> Connected:
    return Connected(at=at(seconds), call_id=call_id)


def ends(call_id: str = "a", seconds: float = 3) -> Ended:
    return Ended(at=at(seconds), call_id=call_id)


def renames(old: str, new: str, seconds: float = 110.5) -> IdChanged:
    return IdChanged(at=at(seconds), call_id=old, new_id=new)


def ids(line: Line) -> list[str]:
    return [call.id for call in line.calls]


# A call that only the snapshot on its way knows -------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["ab", "abc", "aba", "abac"])
def test_a_call_that_only_a_snapshot_on_its_way_knows_may_change_its_identifier(names: str) -> None:
    line = a_line()
    asked = line.seq
    for old, new in pairwise(names):
        assert line.apply(renames(old, new)) == []
    take(line, snapshot_of("a"), asked=asked)
    (call,) = line.calls
    assert call.id == names[-1]
    assert "a" in {call.id, *call.former_ids}
    line.apply(ends(names[-1], 120))
    assert line.calls == ()
    assert set(line.refusals) == {"unknown_call"}


@pytest.mark.parametrize("ended", ["a", "b"])
@pytest.mark.parametrize("is_end_first", [False, True])
def test_its_end_by_either_identifier_is_an_end(ended: str, is_end_first: bool) -> None:
    line = a_line()
    asked = line.seq
    said = [renames("a", "b"), ends(ended, 110.7)]
    for report in reversed(said) if is_end_first else said:
        line.apply(report)
    take(line, snapshot_of("a"), asked=asked)
    assert line.calls == ()


@pytest.mark.parametrize("report", [rings("a", 110.6), talks("a", 110.6), MediaStarted(at=at(110.6), call_id="a", media_id="m")])
def test_what_comes_late_by_its_former_identifier_is_about_it(report: CallReport) -> None:
    line = a_line(renames("a", "b"), report)
    assert [(call.id, call.former_ids) for call in line.calls] == [("b", ("a",))]
    take(line, snapshot_of("b"))
    assert ids(line) == ["b"]
    line.apply(ends("b", 120))
    assert line.calls == ()


def test_it_may_have_been_adopted_by_the_new_identifier_before() -> None:
    line = a_line()
    asked = line.seq
    for report in (talks("b", 110.4), renames("a", "b"), Tones(at=at(110.6), call_id="a", digits="1")):
        line.apply(report)
    assert ids(line) == ["b"]
    take(line, snapshot_of("a"), asked=asked)
    assert ids(line) == ["b"]
    line.apply(rings("a", 110.7))
    assert line.calls[0].direction is CallDirection.IN


def test_a_limit_by_its_former_identifier_is_its() -> None:
    line = a_line(talks("b", 110.4), renames("a", "b"))
    line.apply(Allowed(at=at(110.6), call_id="a", features=CallFeature.DROP))
    assert line.calls[0].features == CallFeature.DROP


def test_a_change_that_came_before_the_question_is_none_of_what_the_answer_names() -> None:
    line = a_line(renames("a", "b"), rings("other", 110.6))
    take(line, snapshot_of("a"), snapshot_of("other"))
    assert ids(line) == ["other", "a"]


def test_the_changes_are_forgotten_with_the_connection() -> None:
    line = a_line()
    asked = line.seq
    line.apply(renames("a", "b"))
    lose(line)
    take(line, snapshot_of("a"), asked=asked)
    assert ids(line) == ["a"]


def test_a_beginning_a_minute_later_is_another_calls() -> None:
    line = a_line(renames("a", "b", 10), rings("a", 69))
    assert ids(line) == ["b"]
    line = a_line(renames("a", "b", 10), rings("a", 70))
    assert ids(line) == ["a"]
    line.apply(talks("a", 12))
    assert ids(line) == ["a"]


def test_only_so_many_changes_are_remembered() -> None:
    line = a_line()
    asked = line.seq
    for number in range(300):
        line.apply(renames(f"a{number}", f"b{number}"))
    take(line, snapshot_of("a0"), snapshot_of("a299"), asked=asked)
    assert ids(line) == ["a0", "b299"]


# A call that was taken over ---------------------------------------------------------------------------------------------


def taken_over() -> Line:
    """B, which was adopted before the change from A to it came."""
    return a_line(rings("a"), talks("b"), renames("a", "b", 3))


def test_a_call_goes_on_although_an_identifier_that_it_had_has_ended() -> None:
    line = taken_over()
    lose(line)
    told = take(line, snapshot_of("c", former_ids=("a", "b")))
    assert not [event for event in told if isinstance(event, CallStarted | CallFinished)]
    assert [(call.id, call.former_ids, call.stale) for call in line.calls] == [("c", ("b",), False)]
    take(line, snapshot_of("c", former_ids=("a", "b")), seconds=120)
    assert ids(line) == ["c"]


def test_a_new_call_may_have_had_an_identifier_that_has_ended_before_the_question() -> None:
    line = a_line(rings("a"), ends("a"))
    take(line, snapshot_of("c", former_ids=("a",)))
    assert ids(line) == ["c"]


def test_but_not_one_that_has_ended_since() -> None:
    line = a_line(rings("a"))
    asked = line.seq
    line.apply(ends("a", 110.5))
    take(line, snapshot_of("c", former_ids=("a",)), asked=asked)
    assert line.calls == ()


# An identifier that is used again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", [Offered, Originated])
@pytest.mark.parametrize(("seconds", "begun"), [(3, False), (62.9, False), (63, True), (3600, True)])
def test_a_beginning_a_minute_after_the_end_is_a_new_calls(
    begins: type[Offered | Originated], seconds: float, begun: bool
) -> None:
    line = a_line(rings(), ends())
    told = line.apply(begins(at=at(seconds), call_id="a", other=Party("0777")))
    assert [event.call.other.number for event in told if isinstance(event, CallStarted)] == ["0777"] * begun
    assert line.has_ended("a") is not begun
    assert line.refusals == ({} if begun else {"ended": 1})
    if begun:
        line.apply(talks("a", seconds + 5))
        assert line.calls[0].state is CallState.CONNECTED
        line.apply(ends("a", seconds + 9))
        assert line.calls == ()
        assert line.has_ended("a")


def test_an_end_that_came_first_keeps_nothing_hidden_for_ever() -> None:
    line = a_line(ends("a", 3), rings("a", 63))
    assert ids(line) == ["a"]


@pytest.mark.parametrize("report", [talks("a", 3600), Held(at=at(3600), call_id="a"), InfoChanged(at=at(3600), call_id="a")])
def test_nothing_else_that_is_reported_begins_one(report: CallReport) -> None:
    line = a_line(rings(), ends(), report)
    assert line.calls == ()
    assert line.refusals == {"ended": 1}


@pytest.mark.parametrize(("started_at", "begun"), [(None, False), (1, False), (4, False), (4.1, True)])
def test_a_list_has_a_new_call_if_it_says_that_it_began_after_the_end(started_at: float | None, begun: bool) -> None:
    line = a_line(rings(), ends())
    take(line, snapshot_of("a", started_at=None if started_at is None else at(started_at)))
    assert ids(line) == ["a"] * begun


def test_an_end_that_was_only_inferred_was_wrong_if_a_list_has_the_call_well_after_it() -> None:
    line = a_line(rings(), talks())
    lose(line)
    take(line, seconds=111)
    assert ids(line) == []
    # Soon after it, one of the two lists is wrong: ask again.
    for seconds in (112, 116):
        take(line, snapshot_of("a"), seconds=seconds)
        assert (ids(line), line.left_out) == ([], ("a",))
    take(line, snapshot_of("a"), seconds=116.2)
    assert (ids(line), line.left_out) == (["a"], ())
    line.apply(Held(at=at(120), call_id="a", by=Side.OWN))
    assert line.calls[0].state is CallState.HELD


def test_an_answer_that_was_on_its_way_then_shows_nothing() -> None:
    line = a_line(rings(), talks())
    asked = line.seq
    line.apply(Snapshot(at=at(200), calls=(snapshot_of("a", CallState.NONE),), complete=False))
    line.apply_snapshot(Snapshot(at=at(300), calls=(snapshot_of("a", started_at=at(290)),)), asked_at_seq=asked, asked_at=at(299))
    assert (ids(line), line.left_out) == ([], ())


def test_what_is_listed_too_soon_and_then_not_is_over() -> None:
    line = a_line(rings(), talks())
    lose(line)
    take(line, seconds=111)
    take(line, snapshot_of("a"), seconds=112)
    take(line, seconds=113)
    assert line.left_out == ()
    take(line, snapshot_of("a"), seconds=114)
    lose(line, 115, 116)
    assert line.left_out == ()


def test_an_end_that_was_reported_stays_one_however_long_a_list_has_the_call() -> None:
    line = a_line(rings(), talks(), ends())
    for seconds in (111, 500, 3600):
        take(line, snapshot_of("a", started_at=at(1)), seconds=seconds)
        assert (ids(line), line.left_out) == ([], ())


def test_no_enquiry_was_made_on_behalf_of_the_new_call() -> None:
    line = a_line(
        rings("1"), talks("1"), Originated(at=at(3), call_id="2", other=CALLER, parent_id="1"), talks("2"), ends("1", 5)
    )
    told = line.apply(rings("1", 3600))
    assert [(call.id, call.parent_id, call.role) for call in line.calls] == [
        ("2", None, CallRole.CURRENT),
        ("1", None, CallRole.WAITING),
    ]
    assert [event.changed for event in told if isinstance(event, CallInfoChanged)] == [("parent_id",)]


# Whose enquiry it is ------------------------------------------------------------------------------------------------------


def enquires(parent_id: str = "a") -> Originated:
    return Originated(at=at(5), call_id="e", other=Party("101"), parent_id=parent_id)


@pytest.mark.parametrize(
    "said",
    [
        (renames("a", "b", 4), enquires()),
        (enquires(), renames("a", "b", 6)),
        (
            renames("a", "b", 4),
            Originated(at=at(5), call_id="e", other=CALLER),
            InfoChanged(at=at(6), call_id="e", parent_id="a"),
        ),
        (enquires(), talks("b", 6), renames("a", "b", 7)),
        (enquires("z"), Snapshot(at=at(6), calls=(snapshot_of("b", former_ids=("a", "z")), snapshot_of("e")))),
        (
            renames("a", "b", 4),
            Snapshot(at=at(6), calls=(snapshot_of("b"), snapshot_of("e", CallState.ALERTING, parent_id="a"))),
        ),
    ],
)
def test_an_enquiry_names_its_parent_as_it_is_called_now(said: tuple[Report, ...]) -> None:
    line = a_line(rings("a"), talks("a"))
    told = [event for report in said for event in line.apply(report)]
    parents = [(call.id, call.parent_id) for call in line.calls if call.parent_id is not None]
    assert parents == [("e", "b")]
    assert next(call for call in line.calls if call.id == "e").role is CallRole.CONSULT
    # Whoever follows events alone has it too.
    shown = {event.call.id: event.call for event in told if isinstance(event, CallStarted | CallInfoChanged)}
    assert shown["e"].parent_id == "b"
    drawn = [event for event in told if isinstance(event, LineStateChanged)][-1]
    assert {call.id: call.parent_id for call in drawn.calls} == {call.id: call.parent_id for call in line.calls}


def test_a_parent_that_is_told_again_by_a_former_identifier_is_no_news() -> None:
    line = a_line(rings("a"), talks("a"), renames("a", "b", 4), enquires())
    assert line.apply(InfoChanged(at=at(6), call_id="e", parent_id="a")) == []


def test_an_end_that_is_told_by_a_former_identifier_of_nobody_leaves_the_end_of_another_alone() -> None:
    line = a_line(rings("a"), ends("a"), renames("x", "a"), ends("x", 111))
    assert line.has_ended("a")
