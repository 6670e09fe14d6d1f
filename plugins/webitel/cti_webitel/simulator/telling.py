"""Who is told what: calls, states, the directory's and the call centre's news (facts: webitel-protocol 1.2, 4.1, 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from cti_framework.switchboard import Account, SwitchEvent, SwitchEventName
from cti_webitel.simulator.call_centre import LOGGED_OUT
from cti_webitel.simulator.channels import server_channel_frame
from cti_webitel.simulator.frames import account_status_frame, as_json, call_frame, centre_frame, console_frame
from cti_webitel.simulator.sessions import ROOT, OnlineAccount
from cti_webitel.simulator.subscriptions import Subscriptions

__all__ = ["Telling"]

_RECORDINGS = (SwitchEventName.RECORD_START, SwitchEventName.RECORD_STOP)
_DECODED = ("Account-Status-Descript", "Account-Agent-Status")
_UNPUBLISHED = "USER_MANAGED"
_DESTROYED = "USER_DESTROY"


class Telling:
    """Makes frames of what happens and sends them to whom they concern.

    Args:
        online: The accounts that have a socket.
        subscriptions: Who wants which server events.
        is_tier: Tells whether an account has a place in a queue, as the engine read it when it started.
        core_uuid: The switch's identifier.
        publishes_recordings: Tells whether this site's switch publishes the beginning and the end of recordings.
        terminate: Cuts all sockets of an account.
    """

    def __init__(
        self,
        online: Mapping[str, OnlineAccount],
        subscriptions: Subscriptions,
        is_tier: Callable[[str, str], bool],
        core_uuid: str,
        publishes_recordings: Callable[[], bool],
        terminate: Callable[[OnlineAccount], None],
    ) -> None:
        self._online = online
        self._subscriptions = subscriptions
        self._is_tier = is_tier
        self._core_uuid = core_uuid
        self._publishes_recordings = publishes_recordings
        self._terminate = terminate

    def domain(self, domain: str, frame: Mapping[str, Any]) -> None:
        """Tell every account of a domain, and root.

        Args:
            domain: Which.
            frame: What.
        """
        encoded = as_json(frame)
        for account in tuple(self._online.values()):
            if account.home == domain or account.is_root:
                account.send(encoded)

    def on_switch_event(self, event: SwitchEvent) -> None:
        """The switch said something.

        Args:
            event: What.
        """
        if event.account is not None:
            self._status(event.account, event)
        if event.leg is None or event.leg.presence is None:
            return
        if event.name not in _RECORDINGS or self._publishes_recordings():
            account = self._online.get(event.leg.presence)
            if account is not None and account.logged:
                account.send(as_json(call_frame(event)))
        self._switch_event(event, event.leg.domain)

    def console(self, name: str, headers: Mapping[str, str]) -> None:
        """The directory's console said something. An account that is destroyed loses its sockets before it is told.

        Args:
            name: ``USER_CREATE``, ``USER_DESTROY``, ``DOMAIN_CREATE``, ``DOMAIN_DESTROY``, ``ACCOUNT_STATUS``…
            headers: As the console writes them.
        """
        if name == _UNPUBLISHED:
            return
        frame = console_frame(name, headers)
        if name == _DESTROYED:
            account = self._online.get(f"{headers.get('User-ID')}@{headers.get('User-Domain')}")
            if account is not None:
                self._terminate(account)
        elif name == SwitchEventName.ACCOUNT_STATUS:
            presence = f"{headers.get('Account-User')}@{headers.get('Account-Domain')}"
            frame = self._completed(frame, presence)
            self._send_status(presence, headers.get("Account-Domain", ""), frame)
            return
        self.domain(headers.get("Event-Domain", ""), frame)

    def centre(self, action: str, headers: Mapping[str, str]) -> None:
        """The call centre said something: those of the queue are told, and those who want everything.

        Args:
            action: ``members-count``, ``agent-offering``…
            headers: The rest.
        """
        frame = centre_frame(action, headers)
        name, about = frame["Event-Name"], headers.get("CC-Queue") or headers.get("CC-Agent") or ""
        encoded = as_json(frame)
        for session in self._subscriptions.wanting(name, about.partition("@")[2]):
            account = session.account
            if account is not None and (
                name in account.wants_all or account.presence == about or self._is_tier(account.presence, about)
            ):
                session.send(encoded)
        for session in self._subscriptions.wanting(name, ROOT):
            session.send(encoded)

    def _switch_event(self, event: SwitchEvent, domain: str) -> None:
        name = f"SE:{event.name.value}"
        sessions = [*self._subscriptions.wanting(name, domain), *self._subscriptions.wanting(name, ROOT)]
        if sessions:
            encoded = as_json(server_channel_frame(event, self._core_uuid))
            for session in sessions:
                session.send(encoded)

    def _status(self, account: Account, event: SwitchEvent) -> None:
        online = self._online.get(account.presence)
        cc_logged = account.agent_status != LOGGED_OUT
        if online is not None:
            online.description = account.description or online.description
            online.cc_logged = cc_logged
        frame = account_status_frame(account, event.at, online=online is not None, cc_logged=cc_logged)
        self._send_status(account.presence, account.domain, frame)

    def _send_status(self, presence: str, domain: str, frame: Mapping[str, Any]) -> None:
        encoded = as_json(frame)
        for other in tuple(self._online.values()):
            if other.is_root or (other.domain == domain and (other.presence == presence or other.may("account", "r"))):
                other.send(encoded)

    def _completed(self, frame: dict[str, Any], presence: str) -> dict[str, Any]:
        online = self._online.get(presence)
        cc = unquote(frame.get("Account-Agent-Status", LOGGED_OUT)) != LOGGED_OUT
        if online is not None:
            online.cc_logged = cc
        name = frame.pop("webitel-event-name")
        decoded: dict[str, Any] = {key: unquote(frame[key]) for key in _DECODED if key in frame}
        added = {"Account-Online": online is not None, "cc_logged": cc and online is not None, "ws": online is not None}
        return {**frame, **decoded, **added, "presence_id": presence, "cc": cc, "webitel-event-name": name}
