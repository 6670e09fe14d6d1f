"""The engine behind its sockets, without I/O: who is connected, which command is whose, how it is answered.

Frames come in by :meth:`Engine.receive` and go out through each :class:`Session`'s queue. Who is told what of what happens
is :class:`~cti_webitel.simulator.telling.Telling`'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import orjson

from cti_framework.switchboard import Switchboard, SwitchError
from cti_framework.switchboard.faults import SwitchFaults
from cti_webitel.simulator.call_centre import LOGGED_OUT, CallCentre
from cti_webitel.simulator.channels import ChannelTable
from cti_webitel.simulator.commands import COMMANDS, SILENT_COMMANDS, Reply, Request, text_reply
from cti_webitel.simulator.frames import DISCONNECT, account_presence_frame, as_json
from cti_webitel.simulator.options import SimulatorOptions
from cti_webitel.simulator.recordings import Recordings
from cti_webitel.simulator.sessions import OnlineAccount, Session
from cti_webitel.simulator.subscriptions import Subscriptions
from cti_webitel.simulator.telling import Telling
from cti_webitel.simulator.tokens import Tokens

__all__ = ["QUEUE", "Engine"]

QUEUE: Final = "support"
"""The queue that each domain has: the users that are there when the engine starts are its agents."""

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
        centre: The call centre.
        tiers: The agents' places as they were when the engine started: it never reads them again (facts: webitel-protocol 3.4).
        tokens: The tokens given out.
        recordings: The recordings of the calls that ended.
        faults: What goes wrong on sockets, frame by frame.
        sessions: All sockets, authenticated or not.
        online: The accounts that have a socket.
        subscriptions: Who wants which server events.
        telling: Tells what happens.
        ignored_frames: How many frames could not be read, and got no reply.
    """

    def __init__(self, switchboard: Switchboard, options: SimulatorOptions) -> None:
        self.switchboard = switchboard
        self.options = options
        self.channels = ChannelTable(switchboard)
        self.tokens = Tokens(switchboard)
        self.recordings = Recordings(switchboard)
        self.faults = SwitchFaults(switchboard.clock)
        self.sessions: set[Session] = set()
        self.online: dict[str, OnlineAccount] = {}
        self.subscriptions = Subscriptions()
        self.ignored_frames = 0
        self._watchers: list[Callable[[], None]] = []
        self._reset_watchers: list[Callable[[], None]] = []
        self.telling = Telling(
            self.online,
            self.subscriptions,
            is_tier=lambda presence, queue: queue in self.tiers.get(presence, {}),
            core_uuid=switchboard.new_id(),
            publishes_recordings=lambda: self.options.recordings_published,
            terminate=self._terminate_all,
        )
        switchboard.subscribe(self.telling.on_switch_event)
        # What the call centre does follows from what the switch said, so it listens after whoever passes that on.
        self.centre = CallCentre(switchboard, self.telling.centre, lambda: self.options.agent_rest_seconds)
        self.tiers = self._open_queues()
        self.configure(options)

    def configure(self, options: SimulatorOptions) -> None:
        """Replace the options.

        Args:
            options: All of them.
        """
        self.options = self.switchboard.options = options
        self.channels.lag_seconds = options.table_lag_seconds
        self.tokens.life_seconds = options.token_seconds
        for look in tuple(self._watchers):
            look()

    def watch(self, look: Callable[[], None]) -> Callable[[], None]:
        """Be told whenever options are replaced.

        Args:
            look: Called then.

        Returns:
            What ends that.
        """
        self._watchers.append(look)
        return partial(self._watchers.remove, look)

    def watch_resets(self, look: Callable[[], None]) -> Callable[[], None]:
        """Be told whenever the switch forgets every leg.

        Args:
            look: Called then.

        Returns:
            What ends that.
        """
        self._reset_watchers.append(look)
        return partial(self._reset_watchers.remove, look)

    def _open_queues(self) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
        tiers: dict[str, dict[str, dict[str, str]]] = {}
        for account in self.switchboard.accounts:
            if account.role == "user":
                queue = f"{QUEUE}@{account.domain}"
                position = 1 + sum(tier.queue == queue for tier in self.centre.tiers)
                self.centre.add_tier(queue, account.presence, position=position)
                place = {"queue": queue, "agent": account.presence, "state": "Ready", "level": "1", "position": str(position)}
                tiers[account.presence] = {queue: place}
        return MappingProxyType(tiers)

    # --- sockets

    def connect(self, address: str = "127.0.0.1") -> Session:
        """A socket opened.

        Args:
            address: Where it comes from.

        Returns:
            Its session. It is cut if nobody authenticates on it in time.
        """
        session = Session(self.switchboard.new_id(), address, faults=self.faults, obey=self._obey)
        session.is_mute = lambda: self.options.silent
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
        session.close()
        self.sessions.discard(session)
        account = session.account
        if account is None or session not in account.sessions:
            return
        self.subscriptions.leave(session)
        account.sessions.remove(session)
        if session in account.desk_sessions:
            account.desk_sessions.remove(session)
        if not account.sessions:
            del self.online[account.presence]
            self.telling.domain(account.home, account_presence_frame("ACCOUNT_OFFLINE", account.number, account.home))
            if account.cc_logged:
                log_out = partial(self._log_out_agent, account.presence)
                self.switchboard.call_later(self.options.agent_logout_seconds, log_out)

    def receive(self, session: Session, data: str | bytes) -> None:
        """A frame came in. What cannot be read gets no reply (facts: webitel-protocol 2).

        Args:
            session: On which socket.
            data: Its payload.
        """
        session.link.command(data)

    def _obey(self, session: Session, data: str | bytes) -> None:
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
        if not isinstance(name, str) or name in SILENT_COMMANDS:
            return
        arguments = fields.get("exec-args")
        request = Request(
            engine=self,
            session=session,
            name=name,
            exec_uuid=fields.get("exec-uuid", _ABSENT),
            arguments=arguments if isinstance(arguments, dict) else {},
        )
        command = COMMANDS.get(name)
        if command is None:
            request.answer(Reply("+ERR", f"{name} - not found."))
        else:
            self.carry_out(request, partial(command, request))

    def carry_out(self, request: Request, act: Callable[[], Reply | None]) -> None:
        """Do what a command asks for, and answer it if that is to be done now.

        Args:
            request: The command.
            act: What to do; it returns the reply, or nothing.
        """
        try:
            reply = act()
        except SwitchError as error:
            reply = text_reply(f"{error.text}\n")
        if reply is not None:
            request.answer(reply)

    def answer(self, session: Session, exec_uuid: object, reply: Reply, *, command: str = "") -> None:
        """Send a reply, in the time that replies take, unless it is one of those that get lost.

        Args:
            session: To whom.
            exec_uuid: The request's, whatever it is.
            reply: What.
            command: To which command.
        """
        if command in self.options.lost_replies:
            return
        frame: dict[str, Any] = {}
        if exec_uuid is not _ABSENT:
            frame["exec-uuid"] = exec_uuid
        frame["exec-complete"] = reply.complete
        if reply.response is not None:
            frame["exec-response"] = reply.response
        encoded = as_json(frame)
        delay_seconds = self.options.reply_delay_seconds_by_command.get(command, self.options.reply_delay_seconds)
        if delay_seconds:
            self.switchboard.call_later(delay_seconds, lambda: session.reply(encoded))
        else:
            session.reply(encoded)

    def terminate(self, session: Session) -> None:
        """Cut a socket once what is queued for it is out, or a moment later if its peer does not read.

        Args:
            session: Which.
        """

        def cut() -> None:
            # On a network that lost both sides nobody sees the end either.
            if not self.options.half_open:
                session.abort()

        session.terminate()
        self.switchboard.call_later(_LAST_WORDS_SECONDS, cut)

    def drop_sockets(self) -> None:
        """Cut every socket, what is queued for it included."""
        for session in tuple(self.sessions):
            session.drop()

    # --- accounts

    def admit(self, session: Session, presence: str, role: str) -> OnlineAccount | str:
        """Let an account in on a socket; its first one is announced to the domain, itself included.

        Args:
            session: The socket.
            presence: Who.
            role: What it may do.

        Returns:
            The account as the engine keeps it, or why it may not come in.
        """
        online = self.online.get(presence)
        if online is None:
            online = OnlineAccount(presence, role)
            others = sum(not account.is_root for account in self.online.values())
            if self.options.accounts_online and not online.is_root and others >= self.options.accounts_online:
                return "Maximum license connections"
            self.online[presence] = online
        elif not online.is_root and len(online.sessions) >= self.options.sockets_per_account:
            return f"Maximum opened socket {self.options.sockets_per_account}"
        online.sessions.append(session)
        session.account = online
        if len(online.sessions) == 1:
            self.telling.domain(online.home, account_presence_frame("ACCOUNT_ONLINE", online.number, online.home))
        return online

    def reset(self) -> None:
        """The switch forgets every leg and every caller in a queue, without a word."""
        self.centre.reset()
        self.switchboard.reset()
        self.channels.clear()
        for look in tuple(self._reset_watchers):
            look()

    def _terminate_all(self, account: OnlineAccount) -> None:
        self.tokens.forget(account.presence)
        for session in tuple(account.sessions):
            self.terminate(session)

    def _log_out_agent(self, presence: str) -> None:
        if presence not in self.online and any(account.presence == presence for account in self.switchboard.accounts):
            self.centre.set_status(presence, LOGGED_OUT)
