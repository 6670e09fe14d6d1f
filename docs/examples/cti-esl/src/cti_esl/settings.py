"""The provider's settings: the system's and each user's."""

from __future__ import annotations

import attrs
from cti_framework.settings import setting
from typed_settings.types import Secret

__all__ = [
    "EslSettings",
    "EslUserSettings",
]


@attrs.frozen(kw_only=True)
class EslSettings:
    """The system settings, under ``esl.``.

    Attributes:
        host: Where the event socket listens.
        port: At which port.
        password: The event socket's password; it is one for everybody.
        domain: The domain of the users.
        context: In which dialplan context they call.
    """

    host: str = setting(
        default="127.0.0.1", system_only=True, help="The computer on which FreeSWITCH's event socket listens."
    )
    port: int = setting(
        default=8021,
        system_only=True,
        validator=attrs.validators.in_(range(1, 65536)),
        help="The port of the event socket.",
    )
    password: Secret[str] = setting(help="The event socket's password, which is one for all users.")
    domain: str = setting(
        system_only=True,
        validator=attrs.validators.matches_re(r"[A-Za-z0-9._:-]+"),
        help="The domain of the users, as FreeSWITCH has it.",
    )
    context: str = setting(
        default="default",
        system_only=True,
        validator=attrs.validators.matches_re(r"[A-Za-z0-9._-]+"),
        help="The dialplan context in which the users call.",
    )


@attrs.frozen(kw_only=True)
class EslUserSettings:
    """The settings of a user.

    Attributes:
        number: The user's own number.
    """

    number: str = setting(validator=attrs.validators.matches_re(r"[A-Za-z0-9._-]+"), help="The user's own number.")
