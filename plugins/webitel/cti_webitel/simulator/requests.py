"""A command that came in, and what it is answered (facts: webitel-protocol 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import attrs

from cti_webitel.simulator.sessions import OnlineAccount, Session

if TYPE_CHECKING:
    from cti_webitel.simulator.engine import Engine

__all__ = ["BAD_RESPONSE", "DENIED", "Command", "Reply", "Request", "error_reply", "on_switch", "text_reply"]


@attrs.frozen
class Reply:
    """What the engine answers.

    Attributes:
        complete: ``exec-complete``.
        response: ``exec-response``; ``None``: there is none.
    """

    complete: str
    response: Any = None


@attrs.frozen(kw_only=True)
class Request:
    """A command that came in.

    Attributes:
        engine: Where.
        session: On which socket.
        name: Which command.
        exec_uuid: Its identifier: any JSON value, or none.
        arguments: ``exec-args``; empty where they are no object.
    """

    engine: Engine
    session: Session
    name: str
    exec_uuid: object
    arguments: Mapping[str, Any]

    @property
    def account(self) -> OnlineAccount | None:
        """Who authenticated on the socket."""
        return self.session.account

    def may(self, resource: str, permission: str) -> bool:
        """Tell whether whoever authenticated has a permission.

        Args:
            resource: On what.
            permission: Which.

        Returns:
            Whether; nobody has none.
        """
        return self.account is not None and self.account.may(resource, permission)

    def domain(self, name: str = "domain") -> str:
        """Tell which domain a command is about: one's own, whatever the argument says; who has none names one.

        Args:
            name: The argument.

        Returns:
            The domain; empty: none was named.
        """
        own = self.account.domain if self.account is not None else ""
        return own or self.text(name)

    def text(self, name: str) -> str:
        """Read an argument as the engine puts it into a command of the switch.

        Args:
            name: Which.

        Returns:
            The text; empty if it is missing.
        """
        value = self.arguments.get(name)
        if value is None:
            return ""
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    def answer(self, reply: Reply) -> None:
        """Send the reply.

        Args:
            reply: It.
        """
        self.engine.answer(self.session, self.exec_uuid, reply, command=self.name)

    def at_switch(self, act: Callable[[], Reply | None]) -> Reply | None:
        """Have the switch do something: it takes its time, and other commands are answered meanwhile.

        Args:
            act: What; it returns the reply, or nothing where that comes later.

        Returns:
            The reply, where the switch takes no time; otherwise nothing, and the reply is sent when it is there.
        """
        delay_seconds = self.engine.options.switch_seconds
        if not delay_seconds:
            return act()
        # On the bare clock: what the switch does is no part of one operation, so it says it before the engine answers.
        self.engine.switchboard.clock.call_later(delay_seconds, partial(self.engine.carry_out, self, act))
        return None


Command = Callable[[Request], Reply | None]
"""Answers a command: returns the reply, or nothing where the engine gives none or gives it later."""

DENIED = Reply("-ERR", "Permission denied!")
BAD_RESPONSE = Reply("-ERR: bad response")


def text_reply(text: str) -> Reply:
    """Make the reply that a text of the switch becomes (facts: webitel-protocol 2).

    Args:
        text: What the switch said.

    Returns:
        The reply.
    """
    return Reply("-ERR" if text.startswith(("-ERR", "-USAGE")) else "+OK", text)


def error_reply(text: str) -> Reply:
    """Make the reply that an error of the engine's own becomes.

    Args:
        text: What is wrong.

    Returns:
        The reply.
    """
    return Reply("-ERR", text)


def on_switch(command: Command) -> Command:
    """Say that the whole of a command is done by the switch, nothing of it before.

    Args:
        command: Which.

    Returns:
        It, done when the switch gets to it.
    """

    @wraps(command)
    def at_switch(request: Request) -> Reply | None:
        return request.at_switch(partial(command, request))

    return at_switch
