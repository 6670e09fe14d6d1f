"""The engine behind its sockets, without I/O: who is connected, who is told what, which command is whose.

Frames come in by :meth:`Engine.receive` and go out through each :class:`Session`'s queue. Call events reach the sockets
of the leg's own account alone, and only while its ``logged`` flag is set (facts: webitel-protocol 1.2, 4.1).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from cti_framework.switchboard import Account, Switchboard, SwitchError, SwitchEvent
from cti_webitel.simulator.channels import ChannelTable
from cti_webitel.simulator.commands import COMMANDS, SILENT_COMMANDS, Reply, Request, text_reply
from cti_webitel.simulator.frames import DISCONNECT, account_presence_frame, account_status_frame, call_frame
from cti_webitel.simulator.options import SimulatorOptions
from cti_webitel.simulator.sessions import OnlineAccount, Session
from cti_webitel.simulator.tokens import Tokens

__all__ = ["Engine"]

_ABSENT: Final = object()
_LAST_WORDS_SECONDS = 1.0


class Engine:
    """The simulated engine.

    Args:
        switchboard: The switch behind it.
        options: How it behaves.

    Attributes:
        switchboard: As given.
        options: As given; replaced by :meth:`configure`.
        channels: The switch's table of channels.
        tokens: The tokens given out.
        sessions: All sockets, authenticated or not.
        online: The accounts that have a socket.
        ignored_frames: How many frames could not be read, and got no reply.
    """

    def __init__(self, switchboard: Switchboard, options: SimulatorOptions) -> None:
        self.switchboard = switchboard
        self.options = options
        self.channels = ChannelTable(switchboard)
        self.tokens = Tokens(switchboard)
        self.sessions: set[Session] = set()
        self.online: dict[str, OnlineAccount] = {}
        self.ignored_frames = 0
        self.configure(options)
        switchboard.subscribe(self._on_switch_event)

    def configure(self, options: SimulatorOptions) -> None:
        """Replace the options.

        Args:
            options: All of them.
        """
        self.options = self.switchboard.options = options
        self.channels.lag_seconds = options.table_lag_seconds

    # --- sockets

    def connect(self) -> Session:
        """A socket opened.

        Returns:
            Its session. It is cut if nobody authenticates on it in time.
        """
        session = Session(self.switchboard.new_id())
        self.sessions.add(session)

        def expire() -> None:
            if session.account is None:
                session.send(DISCONNECT)
                self.terminate(session)

        self.switchboard.call_later(self.options.unauthenticated_seconds, expire)
        return session

    def disconnect(self, session: Session) -> None:
        """A socket is gone.

        Args:
            session: Its session.
        """
        session.closed = True
        self.sessions.discard(session)
        account = session.account
        if account is None or session not in account.sessions:
            return
        account.sessions.remove(session)
        if not account.sessions:
            del self.online[account.presence]
            self.tell_domain(account.domain, account_presence_frame("ACCOUNT_OFFLINE", account.number, account.domain))

    def receive(self, session: Session, data: str | bytes) -> None:
        """A frame came in. What cannot be read gets no reply (facts: webitel-protocol 2).

        Args:
            session: On which socket.
            data: Its payload.
        """
        if session.terminated:
            return
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.ignored_frames += 1
            return
        if message is None:
            self.ignored_frames += 1
            return
        fields = message if isinstance(message, dict) else {}
        name = fields.get("exec-func", "undefined")
        arguments = fields.get("exec-args")
        request = Request(
            engine=self,
            session=session,
            exec_uuid=fields.get("exec-uuid", _ABSENT),
            arguments=arguments if isinstance(arguments, dict) else {},
        )
        if not isinstance(name, str) or name in SILENT_COMMANDS:
            return
        command = COMMANDS.get(name)
        if command is None:
            request.answer(Reply("+ERR", f"{name} - not found."))
            return
        try:
            reply = command(request)
        except SwitchError as error:
            reply = text_reply(f"{error.text}\n")
        if reply is not None:
            request.answer(reply)

    def answer(self, session: Session, exec_uuid: object, reply: Reply) -> None:
        """Send a reply.

        Args:
            session: To whom.
            exec_uuid: The request's, whatever it is.
            reply: What.
        """
        frame: dict[str, Any] = {}
        if exec_uuid is not _ABSENT:
            frame["exec-uuid"] = exec_uuid
        frame["exec-complete"] = reply.complete
        if reply.response is not None:
            frame["exec-response"] = reply.response
        encoded = orjson.dumps(frame)
        if self.options.reply_delay_seconds:
            self.switchboard.call_later(self.options.reply_delay_seconds, lambda: session.send(encoded))
        else:
            session.send(encoded)

    def terminate(self, session: Session) -> None:
        """Cut a socket once what is queued for it is out, or a moment later if its peer does not read.

        Args:
            session: Which.
        """
        session.terminate()
        self.switchboard.call_later(_LAST_WORDS_SECONDS, session.abort)

    # --- accounts

    def admit(self, session: Session, account: Account) -> OnlineAccount | None:
        """Let an account in on a socket; its first one is announced to the domain, itself included.

        Args:
            session: The socket.
            account: Who.

        Returns:
            The account as the engine keeps it; ``None``: it has too many sockets.
        """
        online = self.online.get(account.presence)
        if online is None:
            online = self.online[account.presence] = OnlineAccount(account.presence, account.role)
        if len(online.sessions) >= self.options.sockets_per_account:
            return None
        online.sessions.append(session)
        session.account = online
        if len(online.sessions) == 1:
            self.tell_domain(account.domain, account_presence_frame("ACCOUNT_ONLINE", account.number, account.domain))
        return online

    def tell_domain(self, domain: str, frame: dict[str, Any]) -> None:
        """Send a frame to every account of a domain.

        Args:
            domain: Which.
            frame: What.
        """
        encoded = orjson.dumps(frame)
        for account in tuple(self.online.values()):
            if account.domain == domain:
                account.send(encoded)

    def drop_sockets(self) -> None:
        """Cut every socket, what is queued for it included."""
        for session in tuple(self.sessions):
            session.drop()

    # --- the switch

    def _on_switch_event(self, event: SwitchEvent) -> None:
        if event.account is not None:
            self._tell_status(event.account, event)
        elif event.leg is not None and event.leg.presence is not None:
            account = self.online.get(event.leg.presence)
            if account is not None and account.logged:
                account.send(orjson.dumps(call_frame(event)))

    def _tell_status(self, account: Account, event: SwitchEvent) -> None:
        online = self.online.get(account.presence)
        if online is not None and account.description:
            online.description = account.description
        cc_logged = account.agent_status != "Logged Out"
        frame = orjson.dumps(account_status_frame(account, event.at, online=online is not None, cc_logged=cc_logged))
        for other in tuple(self.online.values()):
            if other.domain == account.domain and (other is online or other.may("account", "r")):
                other.send(frame)
