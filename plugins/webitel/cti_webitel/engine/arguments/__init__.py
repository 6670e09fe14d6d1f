"""What may be sent to the engine.

The engine pastes what it is sent into commands of the switch and of its directory, unquoted (facts: webitel-protocol 3.2, 7.18,
7.23): a comma, a brace or a space in a number starts another argument, or another command. So what is not known to be harmless is
refused here, before it is sent, with the character and its place.

==========  ====================================================================================
`switch`    numbers, legs, tones, causes, channel variables
`names`     accounts, events, states, words of the site's own
`texts`     what people write: notes, messages, passwords
`refusal`   how an argument is refused
==========  ====================================================================================
"""

from __future__ import annotations

from cti_webitel.engine.arguments.names import (
    check_account,
    check_address,
    check_event,
    check_status,
    check_user,
    check_word,
)
from cti_webitel.engine.arguments.switch import (
    check_cause,
    check_destination,
    check_digits,
    check_parameter,
    check_uuid,
    check_variable,
    check_variable_name,
)
from cti_webitel.engine.arguments.texts import check_message, check_note, check_password

__all__ = [
    "check_account",
    "check_address",
    "check_cause",
    "check_destination",
    "check_digits",
    "check_event",
    "check_message",
    "check_note",
    "check_parameter",
    "check_password",
    "check_status",
    "check_user",
    "check_uuid",
    "check_variable",
    "check_variable_name",
    "check_word",
]
