"""The known faults of the original connector, by their numbers (facts: creatio-cti 7.4), and the tests that keep them out here.

Those of the engine's protocol (facts: webitel-protocol 7) have a test each in ``test_commands_quirks.py``.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

FAULTS = {
    "7.4.1 a second caller is rejected and leaves no trace": [
        "webitel/test_transfers.py::test_a_second_caller_waits_and_can_be_answered",
        "webitel/test_transfers.py::test_rejected_as_busy_a_second_caller_is_told_all_the_same",
    ],
    "7.4.2 a held call cannot be hung up": ["core/test_line.py::test_each_row_of_the_table_is_what_is_offered"],
    "7.4.3 a hold marks the active call, even if the enquiry was held": [
        "core/test_line.py::test_an_enquiry_that_is_talked_to_and_alternated",
        "webitel/test_transfers.py::test_alternating_talks_to_the_other_one",
    ],
    "7.4.4 answering is offered for desk phones and does nothing": ["webitel/test_provider.py::test_answering_is_not_supported"],
    "7.4.5 asking for recordings never ends on an error": [
        "core/test_model.py::test_a_verb_that_never_ends_is_unconfirmed_and_sent_once",
        "webitel/test_operator.py::test_a_call_that_was_not_recorded_has_none",
    ],
    "7.4.6 who sent a call on and to whom are swapped": [
        "webitel/test_transfers.py::test_a_completed_transfer_joins_the_far_ends_and_ends_both_calls"
    ],
    "7.4.7 a changed identifier finds the wrong call": [
        "core/test_line.py::test_a_call_changes_its_identifier_and_is_found_by_all"
    ],
    "7.4.9 plus, star and hash cannot be dialled": ["webitel/test_arguments.py::test_separators_are_left_out"],
    "7.4.10 being away throws a text": ["webitel/test_operator.py::test_what_cannot_be_set_is_refused_before_it_is_sent"],
    "7.4.11 the log out waits for a state that the PBX does not have": [
        "core/test_connection.py::test_a_provider_that_closes_badly_is_closed_and_leaves_nothing"
    ],
    "7.4.12 two reconnection timers": ["webitel/test_client.py::test_one_object_is_one_connection"],
    "7.4.14 connecting twice doubles every subscription": ["core/test_model.py::test_connecting_twice_opens_nothing_twice"],
    "7.4.15 a hold does not say who held": [
        "core/test_line.py::test_unhold_is_offered_only_while_we_hold",
        "webitel/test_session.py::test_holds_of_both_are_told_once_each_and_separately",
    ],
    "7.4.16 a reload during a call loses it": ["webitel/test_session.py::test_a_call_that_is_up_at_the_log_in"],
    "7.4.18 the password travels in clear to the browser": ["core/test_model.py::test_no_secret_is_told_by_anything_that_fails"],
}
"""Of the others 8 (the journal), 13 (identification) and 17 (the panel's timers) are about parts that are not here."""


@pytest.mark.parametrize(("fault", "test"), [(fault, test) for fault, tests in FAULTS.items() for test in tests])
def test_each_known_fault_has_its_test(fault: str, test: str) -> None:
    page, _, name = test.partition("::")
    tree = ast.parse((TESTS / page).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}, fault
