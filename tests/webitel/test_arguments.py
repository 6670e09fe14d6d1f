"""What may be sent to the engine, and what the switch's causes mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_framework.calls import EndCause
from cti_framework.errors import CommandStage, InvalidArgumentError
from cti_webitel.engine.arguments import (
    check_account,
    check_address,
    check_cause,
    check_destination,
    check_digits,
    check_event,
    check_message,
    check_note,
    check_parameter,
    check_password,
    check_status,
    check_user,
    check_uuid,
    check_variable,
    check_variable_name,
    check_word,
)
from cti_webitel.engine.causes import CAUSES, end_cause

UUID = "29740a8c-1ed2-4474-a13c-feebb8611d47"
check_role = partial(check_word, "role")
# What starts another argument, another command or another value in the switch.
DANGEROUS = ",{}[]'\"\\ \t\r\n;|&$`\x00"


class TestDestination:
    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("0501234567", "0501234567"),
            ("+380 (50) 123-45-67", "+380501234567"),
            ("050/123.45.67", "0501234567"),
            (" *72#", "*72#"),
            ("*#06#", "*#06#"),
            ("( +49 ) 30", "+4930"),
        ],
    )
    def test_separators_are_left_out(self, written: str, sent: str) -> None:
        assert check_destination(written) == sent

    @pytest.mark.parametrize(
        ("written", "named", "position"),
        [
            ("100,{x=y}", "','", 4),
            ("12a", "'a'", 3),
            ("1+2", "'+'", 2),
            ("++12", "'+'", 2),
            ("1\n2", r"'\\n'", 2),
            ("١٢", r"'\\u0661'", 1),
            ("user@domain", "'u'", 1),
        ],
    )
    def test_refusal_names_character_and_position(self, written: str, named: str, position: int) -> None:
        with pytest.raises(InvalidArgumentError, match=rf"{named.replace('+', '[+]')} at position {position}\b") as caught:
            check_destination(written)
        assert caught.value.stage is CommandStage.NOT_SENT
        assert caught.value.remedy

    @pytest.mark.parametrize("written", ["", "  ", "+", "( )", "1" * 65])
    def test_empty_and_endless_are_refused(self, written: str) -> None:
        with pytest.raises(InvalidArgumentError):
            check_destination(written)

    @given(st.text())
    def test_what_passes_is_harmless(self, text: str) -> None:
        try:
            number = check_destination(text)
        except InvalidArgumentError:
            return
        assert set(number[1:]) <= set("0123456789*#")
        assert number[0] in "+0123456789*#"
        assert check_destination(number) == number


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (check_uuid, [UUID, UUID.upper()]),
        (check_digits, ["5", "0123456789*#ABCD"]),
        (check_cause, ["USER_BUSY", "NORMAL_CLEARING", "CALL_REJECTED"]),
        (check_account, ["100@demo.local", "a.b-c_1@pbx", "100@10.0.0.1"]),
        (check_parameter, ["sip_h_Call-Info=answer-after=1", "sip_auto_answer=true"]),
        (check_user, ["100", "100@demo.local", "a.b-c_1"]),
        (check_role, ["user", "b_leg", "v1.2-x"]),
        (check_address, ["10.0.0.7", "desk-7.pbx.example:5060", "fe80::1", "100@desk"]),
        (check_event, ["CC::MEMBERS-COUNT", "SE:CHANNEL_CREATE", "DC::CHANGE_STATE"]),
        (check_status, ["ONBREAK", "WRAP_UP"]),
        (check_variable_name, ["sip_from_host", "_a", "x-y.z", "execute_on_answer"]),
        (check_message, ["Hi there, [Ann] {1}; 50% & more?", "Gr\u00fc\u00dfe"]),
        (check_password, ["s3cret!#$%&()*+-./<=>?^_`~"]),
    ],
)
def test_good_arguments_pass_unchanged(check: Callable[[str], str], good: list[str]) -> None:
    assert [check(text) for text in good] == good


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (check_uuid, ["", "all", UUID[:-1], UUID + "\n", UUID + " 1", f"{UUID},{UUID}", UUID.replace("2", "g")]),
        (check_digits, ["", "a", "1 2", "1,2", "5\n", "1" * 129]),
        (check_cause, ["", "user_busy", "NO_SUCH_CAUSE", "USER_BUSY ", "USER_BUSY\n"]),
        (check_account, ["", "100", "root", "@demo.local", "100@", "1 0@demo.local", "100@demo.local\n", "100@a@b", "100@[::1]"]),
        (check_parameter, ["", "name", "=value", "a=b,c=d", "a=b c", "a=b}", "execute_on_answer=x"]),
        (check_user, ["", "1 0", "100,101", "100@", "@demo.local", "100@a@b", "100\n", "x" * 65]),
        (check_role, ["", "a b", "a,b", "a@b", "\u00e4", "x" * 65]),
        (check_address, ["", "desk 7", "a,b", "a;b", "x" * 256]),
        (check_event, ["", "CC::X Y", "CC::X\n", "CC,", "X" * 65]),
        (check_status, ["", "dnd", "DND('x')", "A B", "A1", "\u00c4", "X" * 65]),
        (check_variable_name, ["", "1a", "a b", "a=b", "a}", "a[0]"]),
        (check_message, ["", " \n ", "a|b", "a\\b", "\x1b[2J", "x" * 4097]),
        (check_password, ["", "a b", "a'b", "a,b", "a:b", "a@b", "a]b", "a;b", "a|b", "\u00e4", "x" * 256]),
    ],
)
def test_bad_arguments_are_refused(check: Callable[[str], str], bad: list[str]) -> None:
    for text in bad:
        with pytest.raises(InvalidArgumentError):
            check(text)


@pytest.mark.parametrize(
    "check",
    [
        check_destination,
        check_uuid,
        check_digits,
        check_cause,
        check_account,
        check_note,
        check_parameter,
        check_user,
        check_role,
        check_address,
        check_event,
        check_status,
        check_variable_name,
        check_message,
        check_password,
    ],
)
@pytest.mark.parametrize("wrong", [None, 5, b"5", ["5"]])
def test_other_types_are_refused(check: Callable[[object], str], wrong: object) -> None:
    with pytest.raises(InvalidArgumentError, match="not a text"):
        check(wrong)


@pytest.mark.parametrize(
    "check",
    [check_uuid, check_digits, check_cause, check_account, check_user, check_role, check_address, check_event, check_status],
)
@given(text=st.text(max_size=60))
def test_nothing_dangerous_passes(check: Callable[[str], str], text: str) -> None:
    try:
        passed = check(text)
    except InvalidArgumentError:
        return
    assert not set(passed) & set(DANGEROUS)


@pytest.mark.parametrize(
    ("check", "wrong", "named"),
    [
        (check_uuid, "all", r"'l' at position 2"),
        (check_uuid, f"{UUID},{UUID}", r"',' at position 37"),
        (check_cause, "USER_BUSY; status", r"';' at position 10"),
        (check_account, "100@demo local", r"' ' at position 9"),
        (check_user, "100|101", r"'\|' at position 4"),
        (check_role, "a}", r"'}' at position 2"),
        (check_address, "a\nb", r"'\\n' at position 2"),
        (check_event, "CC::X'", r"\"'\" at position 6"),
        (check_status, "DNDd", r"'d' at position 4"),
        (check_message, "a|b", r"'\|' at position 2"),
    ],
)
def test_the_first_foreign_character_is_named_with_its_place(check: Callable[[str], str], wrong: str, named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named) as caught:
        check(wrong)
    assert caught.value.remedy


def test_a_password_is_never_repeated() -> None:
    with pytest.raises(InvalidArgumentError, match="position 7") as caught:
        check_password("s3cret,")
    assert "s3cret" not in repr(caught.value)


def test_an_event_is_told_in_capitals() -> None:
    assert check_event("cc::members-count") == "CC::MEMBERS-COUNT"


@given(text=st.text(max_size=60))
def test_a_message_cannot_begin_another_command(text: str) -> None:
    try:
        message = check_message(text)
    except InvalidArgumentError:
        return
    assert not set(message) & set("|\\'\r\n\x00")
    assert check_message(message) == message


class TestVariables:
    @pytest.mark.parametrize(("name", "value"), [("order", "77"), ("name", "Jürgen Groß"), ("x-y.z", ""), ("_a", "a=b;c")])
    def test_good_ones_pass(self, name: str, value: str) -> None:
        assert check_variable(name, value) == (name, value)

    @pytest.mark.parametrize("name", ["", "1a", "a b", "a=b", "a,b", "a}", "a\n", "ä", "a" * 129])
    def test_names_of_another_form_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidArgumentError, match="no name of a variable"):
            check_variable(name, "x")

    @pytest.mark.parametrize(
        "name",
        [
            "api_on_answer",
            "execute_on_answer",
            "EXECUTE_ON_RING",
            "exec_after_bridge_app",
            "api_after_bridge",
            "api_before_bridge",
            "api_hangup_hook",
            "api_reporting_hook",
            "record_post_process_exec_api",
            "session_in_hangup_hook",
            "domain_name",
        ],
    )
    def test_names_that_the_engine_drops_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidArgumentError, match="does not let clients set"):
            check_variable(name, "x")

    @pytest.mark.parametrize(
        "name",
        ["bridge_pre_execute_aleg_app", "BRIDGE_PRE_EXECUTE_bleg_data", "group_confirm_file", "record_post_process_exec_app"],
    )
    def test_names_that_run_something_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidArgumentError, match="would run something"):
            check_variable(name, "x")

    @pytest.mark.parametrize("character", list(",'\"\\[]{}\r\n\t\x00\x7f\u2028"))
    def test_values_that_break_out_are_refused(self, character: str) -> None:
        with pytest.raises(InvalidArgumentError, match="at position 3"):
            check_variable("order", f"ab{character}cd")

    @pytest.mark.parametrize("value", ["^^:a=b:c=d", "x" * 4097])
    def test_separators_of_lists_and_endless_values_are_refused(self, value: str) -> None:
        with pytest.raises(InvalidArgumentError):
            check_variable("order", value)

    def test_error_does_not_repeat_a_long_value(self) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            check_variable("order", "x" * 4000 + "\x1b[2J")
        assert len(str(caught.value)) < 200
        assert "\x1b" not in str(caught.value)


class TestNote:
    def test_stays_readable(self) -> None:
        assert check_note("Don't disturb,\nback at [14:00]") == "Don\u2019t disturb back at 14:00"

    def test_can_be_empty(self) -> None:
        assert check_note(" ,'] } "[1:2]) == ""

    def test_endless_is_refused(self) -> None:
        with pytest.raises(InvalidArgumentError):
            check_note("x" * 256)

    @given(st.text(max_size=200))
    def test_cannot_break_the_directory_s_command(self, text: str) -> None:
        note = check_note(text)
        assert not set(note) & set("',]}[{\\\r\n\t\x00")
        assert check_note(note) == note


class TestEndCause:
    @pytest.mark.parametrize(
        ("cause", "meaning"),
        [
            ("NORMAL_CLEARING", EndCause.NORMAL),
            ("USER_BUSY", EndCause.BUSY),
            ("NO_ANSWER", EndCause.NO_ANSWER),
            ("NO_USER_RESPONSE", EndCause.NO_ANSWER),
            ("ALLOTTED_TIMEOUT", EndCause.NO_ANSWER),
            ("PROGRESS_TIMEOUT", EndCause.NO_ANSWER),
            ("CALL_REJECTED", EndCause.REJECTED),
            ("ORIGINATOR_CANCEL", EndCause.CANCELLED),
            ("LOSE_RACE", EndCause.PICKED_UP_ELSEWHERE),
            ("PICKED_OFF", EndCause.PICKED_UP_ELSEWHERE),
            ("USER_NOT_REGISTERED", EndCause.NOT_REGISTERED),
            ("SUBSCRIBER_ABSENT", EndCause.UNREACHABLE),
            ("UNALLOCATED_NUMBER", EndCause.UNREACHABLE),
            ("NO_ROUTE_DESTINATION", EndCause.UNREACHABLE),
            ("DESTINATION_OUT_OF_ORDER", EndCause.UNREACHABLE),
            ("NORMAL_CIRCUIT_CONGESTION", EndCause.CONGESTION),
            ("OUTGOING_CALL_BARRED", EndCause.NOT_ALLOWED),
            ("BLIND_TRANSFER", EndCause.TRANSFERRED),
            ("ATTENDED_TRANSFER", EndCause.TRANSFERRED),
            ("MEDIA_TIMEOUT", EndCause.MEDIA_FAILURE),
            ("INCOMPATIBLE_DESTINATION", EndCause.MEDIA_FAILURE),
            ("CRASH", EndCause.UNKNOWN),
            ("WHAT_IS_THIS", EndCause.UNKNOWN),
            ("", EndCause.UNKNOWN),
            (None, EndCause.UNKNOWN),
        ],
    )
    def test_meaning(self, cause: str | None, meaning: EndCause) -> None:
        assert end_cause(cause) is meaning

    def test_a_confirmed_transfer_is_no_normal_end(self) -> None:
        assert end_cause("NORMAL_CLEARING", "confirmed") is EndCause.TRANSFERRED
        assert end_cause("NORMAL_CLEARING", "error") is EndCause.NORMAL

    def test_every_cause_of_the_switch_has_a_meaning(self) -> None:
        assert len(CAUSES) > 70
        assert all(isinstance(end_cause(cause), EndCause) for cause in CAUSES)
