"""The accounts of the domain, as the engine lists them and tells of them (facts: webitel-protocol 3.3, 3.5, 4.3, 4.5).

Accounts are known by their number, as in Webitel's library. Unlike there, an event of another domain's account with the same
number changes nothing, and notes and names are read once and never become the word "undefined" (facts: webitel-protocol 7.14,
7.21).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

import attrs

from cti_framework.json_text import read_json
from cti_webitel.engine.callbacks import OnAddUser, OnRemoveUser, OnUserStatusChange, UserCallback, WebitelUser

__all__ = ["Accounts"]

_NOTHING: Final[tuple[UserCallback, ...]] = ()


class Accounts:
    """The accounts that the engine has told of on this connection.

    Args:
        account: The connection's own account, ``number@domain``; empty while it is not known.

    Attributes:
        account: As given; may be set once it is known.
        own_statuses: How often the own account's status was told.
    """

    __slots__ = ("_users", "account", "own_statuses")

    def __init__(self, account: str) -> None:
        self.account = account
        self.own_statuses = 0
        self._users: dict[str, WebitelUser] = {}

    @property
    def users(self) -> Mapping[str, WebitelUser]:
        """The accounts by number: a view that follows what happens."""
        return MappingProxyType(self._users)

    @property
    def own(self) -> WebitelUser | None:
        """The connection's own account, if it is listed."""
        user = self._users.get(self.account.partition("@")[0])
        return user if user is not None and user.is_own else None

    def load(self, response: Any) -> Sequence[UserCallback] | None:
        """Take the answer to ``api account list``.

        Args:
            response: The answer: ``{"response": "<JSON text>"}``, an object by number.

        Returns:
            An addition for each account that is new and a change for each that differs; ``None`` if it cannot be read.
        """
        listed = response.get("response") if isinstance(response, dict) else response
        if isinstance(listed, str):
            try:
                listed = read_json(listed)
            except ValueError:
                return None
        if not isinstance(listed, dict):
            return None
        told: list[UserCallback] = []
        for number, row in listed.items():
            if not isinstance(row, dict):
                continue
            number = _text(row, "id") or number
            domain = _text(row, "domain")
            user = WebitelUser(
                id=number,
                domain=domain,
                state=_text(row, "state"),
                away=_text(row, "status"),
                tag=unquote(_text(row, "descript")),
                online=row.get("online") is True,
                name=unquote(_text(row, "name")),
                agent=row.get("agent") in ("true", True),
                is_own=self._is_own(number, domain),
                agent_status=unquote(_text(row, "agent.status")),
                cc_logged=row["cc_logged"] if isinstance(row.get("cc_logged"), bool) else None,
                role=_text(row, "role"),
            )
            known = self._users.get(number)
            if known != user:
                self._users[number] = user
                told.append(OnAddUser(user) if known is None else OnUserStatusChange(user))
        return told

    def clear(self) -> Sequence[UserCallback]:
        """Forget all accounts: the connection is closed.

        Returns:
            A removal for each.
        """
        told = [OnRemoveUser(user) for user in self._users.values()]
        self._users.clear()
        return told

    def status(self, frame: Mapping[str, Any]) -> Sequence[UserCallback]:
        """Take an event ``ACCOUNT_STATUS``.

        Args:
            frame: The event.

        Returns:
            A change, even if nothing changed; nothing for an account that is not listed.
        """
        user = self._user_of(_text(frame, "Account-User"), _text(frame, "Account-Domain") or _text(frame, "Event-Domain"))
        if user is None:
            return _NOTHING
        if user.is_own:
            self.own_statuses += 1
        online = frame.get("Account-Online")
        cc_logged = frame.get("cc_logged")
        return self._change(
            attrs.evolve(
                user,
                state=_text(frame, "Account-User-State") or user.state,
                away=_text(frame, "Account-Status") or user.away,
                tag=_text(frame, "Account-Status-Descript"),
                online=online if isinstance(online, bool) else user.online,
                name=unquote(_text(frame, "Account-User-Name")) or user.name,
                # Decoded by the server only where the writing of states is switched on.
                agent_status=unquote(_text(frame, "Account-Agent-Status")) or user.agent_status,
                agent_state=unquote(_text(frame, "Account-Agent-State")) or user.agent_state,
                cc_logged=cc_logged if isinstance(cc_logged, bool) else user.cc_logged,
                only_created=False,
            )
        )

    def online(self, frame: Mapping[str, Any]) -> Sequence[UserCallback]:
        """Take an event ``ACCOUNT_ONLINE`` or ``ACCOUNT_OFFLINE``.

        Args:
            frame: The event.

        Returns:
            A change; nothing for an account that is not listed.
        """
        user = self._user_of(_text(frame, "User-ID"), _text(frame, "User-Domain") or _text(frame, "Event-Domain"))
        if user is None:
            return _NOTHING
        return self._change(attrs.evolve(user, online=frame.get("Event-Name") == "ACCOUNT_ONLINE"))

    def created(self, frame: Mapping[str, Any]) -> Sequence[UserCallback]:
        """Take an event ``USER_CREATE``.

        Args:
            frame: The event.

        Returns:
            An addition; nothing for an account that is known, or of another domain.
        """
        number, domain = _text(frame, "User-ID"), _text(frame, "User-Domain") or _text(frame, "Event-Domain")
        own_domain = self.account.partition("@")[2]
        if not number or number in self._users or (own_domain and domain and domain != own_domain):
            return _NOTHING
        user = WebitelUser(
            id=number,
            domain=domain,
            state=_text(frame, "User-State"),
            is_own=self._is_own(number, domain),
            only_created=True,
        )
        self._users[number] = user
        return (OnAddUser(user),)

    def destroyed(self, frame: Mapping[str, Any]) -> Sequence[UserCallback]:
        """Take an event ``USER_DESTROY``.

        Args:
            frame: The event.

        Returns:
            A removal; nothing for an account that is not known.
        """
        user = self._user_of(_text(frame, "User-ID"), _text(frame, "User-Domain") or _text(frame, "Event-Domain"))
        if user is None:
            return _NOTHING
        del self._users[user.id]
        return (OnRemoveUser(user),)

    def _change(self, user: WebitelUser) -> Sequence[UserCallback]:
        self._users[user.id] = user
        return (OnUserStatusChange(user),)

    def _user_of(self, number: str, domain: str) -> WebitelUser | None:
        user = self._users.get(number)
        return user if user is not None and (not domain or not user.domain or domain == user.domain) else None

    def _is_own(self, number: str, domain: str) -> bool:
        own_number, _, own_domain = self.account.partition("@")
        return bool(own_number) and number == own_number and (not domain or not own_domain or domain == own_domain)


def _text(frame: Mapping[str, Any], key: str) -> str:
    value = frame.get(key)
    return value if isinstance(value, str) else ""
