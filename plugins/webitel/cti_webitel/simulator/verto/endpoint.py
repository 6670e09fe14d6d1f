"""The Verto server without I/O: who is logged in, which call is whose, what the switch's events mean for its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup

from cti_framework.switchboard import Device, LegDirection, SwitchError, SwitchEvent, SwitchEventName
from cti_framework.switchboard.faults import SwitchFaults
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.options import SimulatorOptions
from cti_webitel.simulator.verto.audio import Room
from cti_webitel.simulator.verto.clients import Client, VertoSession
from cti_webitel.simulator.verto.dialogs import Dialog
from cti_webitel.simulator.verto.methods import obey
from cti_webitel.simulator.verto.rpc import Members

__all__ = ["VertoEndpoint"]

_READY_SECONDS: Final = 0.1
_CLOSE_SECONDS: Final = 0.05
_LAST_WORDS_SECONDS: Final = 1.0
_FIRST_DEVICE: Final = 101
_EVENT_FUNCTION: Final = "switch_channel_get_variables_prefix"


class VertoEndpoint:
    """The server behind the Verto port.

    Args:
        engine: The engine beside it: its switch, its options.
        tasks: Where calls' media is taken care of.
        media_addresses: The addresses of this computer that media goes through.
        domain: The domain that a login without one, or with an unknown one, is in.

    Attributes:
        switchboard: The switch.
        room: Who hears whom.
        faults: What goes wrong on its sockets.
        media_addresses: As given.
        domain: As given.
        clients: All sockets, logged in or not.
        sessions: All sessions by their names, detached ones as well.
        dialogs: All calls of web phones, by their clients' names of them.
    """

    def __init__(self, engine: Engine, tasks: TaskGroup, media_addresses: tuple[str, ...], domain: str) -> None:
        self.switchboard = engine.switchboard
        self.room = Room(engine.switchboard, anyio.current_time)
        self.faults = SwitchFaults(engine.switchboard.clock)
        self.media_addresses = media_addresses
        self.domain = domain
        self.clients: set[Client] = set()
        self.sessions: dict[str, VertoSession] = {}
        self.dialogs: dict[str, Dialog] = {}
        self._engine = engine
        self._tasks = tasks
        self._by_leg: dict[str, Dialog] = {}
        self._serial = 0
        self._event_serial = 0
        self._core_uuid = engine.switchboard.new_id()
        self._stop_listening = engine.switchboard.subscribe(self._on_switch_event)
        self._stop_watching_resets = engine.watch_resets(self._reset)

    @property
    def options(self) -> SimulatorOptions:
        """How it behaves."""
        return self._engine.options

    def watch(self, look: Callable[[], None]) -> Callable[[], None]:
        """Be told whenever options are replaced.

        Args:
            look: Called then.

        Returns:
            What ends that.
        """
        return self._engine.watch(look)

    async def close(self) -> None:
        """Listen to the switch no longer, and let go of all media."""
        self._stop_listening()
        self._stop_watching_resets()
        self.room.close()
        with anyio.CancelScope(shield=True):
            for dialog in tuple(self.dialogs.values()):
                await dialog.close()

    # --- sockets

    def connect(self, address: str) -> Client:
        """A socket opened.

        Args:
            address: Where it comes from.

        Returns:
            It.
        """
        client = Client(faults=self.faults, options=lambda: self.options, obey=lambda client, data: obey(self, client, data))
        client.heard_seconds = self.switchboard.clock.elapsed_seconds
        self.clients.add(client)
        self._ping_when_idle(client)
        return client

    def receive(self, client: Client, data: str | bytes) -> None:
        """A message came in.

        Args:
            client: On which socket.
            data: It.
        """
        client.heard_seconds = self.switchboard.clock.elapsed_seconds
        if not client.is_closing:
            client.link.command(data)

    def disconnect(self, client: Client) -> None:
        """A socket is gone: calls that were only ringing end, the others wait for their client to come back.

        Args:
            client: Which.
        """
        client.terminated = True
        client.link.close()
        self.clients.discard(client)
        session = client.session
        if session is None or session.client is not client:
            return
        session.client = None
        self._unregister(session)
        for dialog in tuple(session.dialogs.values()):
            leg = dialog.leg
            if leg is None:
                continue
            if not leg.answered:
                dialog.hang_up("DESTINATION_OUT_OF_ORDER")
            elif not dialog.recovers:
                dialog.hang_up("NORMAL_CLEARING")
            else:
                dialog.detach()
        self._forget_if_over(session)
        if session.dialogs:
            self.switchboard.call_later(self.options.detach_seconds, lambda: self._give_up(session))

    def drop_sockets(self) -> None:
        """Cut every socket, what is queued for it included."""
        for client in tuple(self.clients):
            client.drop()

    def close_client(self, client: Client) -> None:
        """Close a socket properly, a moment later.

        Args:
            client: Which.
        """

        def close() -> None:
            client.close()
            self.switchboard.call_later(_LAST_WORDS_SECONDS, cut)

        def cut() -> None:
            if not self.options.half_open:
                client.abort()

        self.switchboard.call_later(_CLOSE_SECONDS, close)

    def _ping_when_idle(self, client: Client) -> None:
        idle = self.options.verto_ping_seconds

        def look() -> None:
            if client.terminated:
                return
            now = self.switchboard.clock.elapsed_seconds
            left = client.heard_seconds + idle - now
            if left <= 0.001:
                client.heard_seconds = now
                left = idle
                self._request(client, "verto.ping", [("serno", int(self.switchboard.now.timestamp()))])
            self.switchboard.call_later(left, look)

        self.switchboard.call_later(idle, look)

    # --- sessions

    def log_in(self, client: Client, session_id: str, presence: str, variables: dict[str, str]) -> VertoSession | None:
        """An account is on a socket; another socket of that session is told to go.

        Args:
            client: The socket.
            session_id: The session, as the client calls it.
            presence: Whose.
            variables: What the client says of itself.

        Returns:
            The session; ``None``: it is another account's.
        """
        session = self.sessions.get(session_id)
        if session is not None and session.presence != presence:
            return None
        if client.session is not None:
            return client.session
        if session is None:
            session = self.sessions[session_id] = VertoSession(session_id, presence, self._new_device(presence), variables)
        former, session.client, client.session = session.client, client, session
        if former is None:
            self._register(session)
        else:
            former.session = None
            self._request(former, "verto.punt", [])
            self.close_client(former)
        self.switchboard.call_later(_READY_SECONDS, lambda: self._make_ready(client))
        return session

    def _make_ready(self, client: Client) -> None:
        session = client.session
        if session is None or session.client is not client or client.is_ready_told:
            return
        client.is_ready_told = True
        back = [dialog for dialog in session.dialogs.values() if dialog.leg is not None and dialog.leg.answered]

        async def tell_ready() -> None:
            self.tell(session, "verto.clientReady", [("reattached_sessions", [dialog.call_id for dialog in back])])

        for dialog in back:
            dialog.do(dialog.attach)
        if back:
            back[-1].do(tell_ready)
        else:
            self._request(client, "verto.clientReady", [("reattached_sessions", [])])

    def _new_device(self, presence: str) -> int:
        taken = {device.number for device in self.switchboard.account(presence).devices}
        taken |= {session.device for session in self.sessions.values() if session.presence == presence}
        return max([_FIRST_DEVICE - 1, *taken]) + 1

    def _register(self, session: VertoSession) -> None:
        devices = self.switchboard.account(session.presence).devices
        self._set_devices(session.presence, (*devices, Device(number=session.device, by_hand=True)))

    def _unregister(self, session: VertoSession) -> None:
        try:
            devices = self.switchboard.account(session.presence).devices
        except SwitchError:
            # The account was removed meanwhile.
            return
        self._set_devices(session.presence, tuple(device for device in devices if device.number != session.device))

    def _set_devices(self, presence: str, devices: tuple[Device, ...]) -> None:
        before = self.switchboard.account(presence)
        after = attrs.evolve(before, devices=devices)
        # It is told where it makes a difference: the switch says what an account is, not which phones it has.
        change = self.switchboard.set_account if before.state != after.state else self.switchboard.amend_account
        change(presence, devices=devices)

    def _give_up(self, session: VertoSession) -> None:
        if session.client is None:
            for dialog in tuple(session.dialogs.values()):
                dialog.hang_up("RECOVERY_ON_TIMER_EXPIRE")

    def _forget_if_over(self, session: VertoSession) -> None:
        if session.client is None and not session.dialogs and self.sessions.get(session.session_id) is session:
            del self.sessions[session.session_id]

    # --- what is told

    def tell(self, session: VertoSession, method: str, members: Members) -> None:
        """Send a session's client a request; a detached one is told nothing.

        Args:
            session: Whose.
            method: What.
            members: Those of its parameters.
        """
        if session.client is not None:
            self._request(session.client, method, members)

    def headers(self) -> dict[str, str]:
        """Give what the switch writes into the variables of each call.

        Returns:
            Name to value.
        """
        self._event_serial += 1
        now = self.switchboard.now
        return {
            "Event-Name": "CHANNEL_DATA",
            "Core-UUID": self._core_uuid,
            "FreeSWITCH-Hostname": "fs.loopback",
            "FreeSWITCH-Switchname": "fs.loopback",
            "FreeSWITCH-IPv4": "127.0.0.1",
            "FreeSWITCH-IPv6": "::1",
            "Event-Date-Local": now.strftime("%Y-%m-%d %H:%M:%S"),
            "Event-Date-GMT": now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "Event-Date-Timestamp": str(round(now.timestamp() * 1_000_000)),
            "Event-Calling-File": "switch_channel.c",
            "Event-Calling-Function": _EVENT_FUNCTION,
            "Event-Calling-Line-Number": "4466",
            "Event-Sequence": str(self._event_serial),
        }

    def _request(self, client: Client, method: str, members: Members) -> None:
        # Requests wait until the socket was quiet for a moment (facts: verto, Framing).
        self._serial += 1
        serial = self._serial
        self.switchboard.call_later(self.options.verto_queue_seconds, lambda: client.request(serial, method, members))

    # --- calls

    def begin(self, dialog: Dialog) -> None:
        """Keep a call.

        Args:
            dialog: A new one.
        """
        for former in (self.dialogs.get(dialog.call_id), self._by_leg.get(dialog.leg_uuid)):
            # An identifier that is used again: of the call that had it nothing more can be said.
            if former is not None:
                former.said_bye = True
                self._end(former, "NORMAL_CLEARING")
        self.dialogs[dialog.call_id] = self._by_leg[dialog.leg_uuid] = dialog
        dialog.session.dialogs[dialog.call_id] = dialog
        self._tasks.start_soon(dialog.run)

    def is_answered(self, leg_uuid: str | None) -> bool:
        """Tell whether a leg is a web phone's, and has been picked up.

        Args:
            leg_uuid: Which.

        Returns:
            Whether.
        """
        dialog = self._by_leg.get(leg_uuid or "")
        leg = dialog.leg if dialog is not None else None
        return leg is not None and leg.answered

    def renew_media(self, call_id: str) -> None:
        """Offer a client new media for a call, on the switch's own wish.

        Args:
            call_id: The call.

        Raises:
            KeyError: There is no such call.
        """
        dialog = self.dialogs[call_id]
        dialog.do(dialog.attach)

    def _end(self, dialog: Dialog, cause: str) -> None:
        dialog.tell_end(cause)
        dialog.end()
        self.dialogs.pop(dialog.call_id, None)
        self._by_leg.pop(dialog.leg_uuid, None)
        dialog.session.dialogs.pop(dialog.call_id, None)
        self._forget_if_over(dialog.session)

    def _reset(self) -> None:
        """The switch has forgotten every leg without a word, as one that is started anew: so has this server."""
        for dialog in tuple(self.dialogs.values()):
            dialog.said_bye = True
            self._end(dialog, "NORMAL_CLEARING")

    def _on_switch_event(self, event: SwitchEvent) -> None:
        leg = event.leg
        if leg is None:
            return
        dialog = self._by_leg.get(event.former_uuid or leg.uuid)
        match event.name:
            case SwitchEventName.CHANNEL_CREATE if leg.direction is LegDirection.OUTBOUND and leg.presence is not None:
                session = self._session_at(leg.presence, leg.device)
                if session is not None:
                    rung = Dialog(self, session, leg, remote_sdp=None)
                    self.begin(rung)
                    rung.do(rung.ring)
            case SwitchEventName.CHANNEL_CALLSTATE if leg.originating_leg in self._by_leg:
                self._rings_for(self._by_leg[leg.originating_leg], leg.party_number)
            case SwitchEventName.CHANNEL_ANSWER if dialog is not None and leg.direction is LegDirection.INBOUND:
                dialog.do(dialog.tell_answer)
            case SwitchEventName.CHANNEL_BRIDGE:
                for uuid in (event.bridge_b, event.bridge_a):
                    joined = self._by_leg.get(uuid or "")
                    if joined is not None:
                        joined.do(joined.display)
            case SwitchEventName.CHANNEL_HANGUP_COMPLETE if dialog is not None:
                self._end(dialog, leg.hangup_cause or "NORMAL_CLEARING")
            case SwitchEventName.CHANNEL_UUID if dialog is not None:
                del self._by_leg[dialog.leg_uuid]
                self._by_leg[leg.uuid] = dialog
                dialog.rename(leg.uuid)

    def _rings_for(self, caller: Dialog, number: str) -> None:
        leg = caller.leg
        # A number that refuses does so before it rings.
        if self.options.early_media and leg is not None and leg.ringing and number not in self.options.refusals:
            caller.do(caller.early_media)

    def _session_at(self, presence: str, device: int) -> VertoSession | None:
        sessions = (session for session in self.sessions.values() if session.presence == presence and session.device == device)
        return next(sessions, None)
