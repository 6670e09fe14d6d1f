"""A dialog: one leg of the switch with a web phone at its end, its media, and what its client is told of it.

What has to be waited for, all that is about media, is done by one task, in the order in which it was asked for: so that nothing
is told before what it follows from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio

from cti_framework.errors import CtiError
from cti_framework.media import AiortcPeer, MediaFailed, MediaNotice, MediaSettings, MediaStateError
from cti_framework.switchboard import Leg, LegDirection, LegSnapshot, SwitchError
from cti_webitel.simulator.verto.causes import code_of
from cti_webitel.simulator.verto.rpc import Members
from cti_webitel.simulator.verto.sdp import written_answer, written_attach, written_offer

if TYPE_CHECKING:
    from cti_webitel.simulator.verto.clients import VertoSession
    from cti_webitel.simulator.verto.endpoint import VertoEndpoint

__all__ = ["Dialog"]

_CODECS: Final = ("opus", "PCMU", "PCMA")
_UNKNOWN_NAME: Final = "Outbound Call"

Act = Callable[[], Awaitable[None]]


class Dialog:
    """One call of a web phone.

    Args:
        endpoint: The server.
        session: Whose call.
        leg: Its leg.
        remote_sdp: What the client offered with its call; ``None``: the switch calls.
        recovers: Whether it is kept when the client's socket is lost.

    Attributes:
        call_id: What the client calls it: the leg's first identifier.
        leg_uuid: The leg's identifier now.
        session: As given; another one once another socket has taken it over.
        recovers: As given.
        is_told: Whether the client knows of it.
        is_early: Whether its media was agreed on before the answer.
        is_over: Whether the leg has ended.
        said_bye: Whether the client has ended it itself.
    """

    def __init__(
        self, endpoint: VertoEndpoint, session: VertoSession, leg: LegSnapshot, *, remote_sdp: str | None, recovers: bool = True
    ) -> None:
        self.call_id = self.leg_uuid = leg.uuid
        self.session = session
        self.recovers = recovers
        self.is_told = remote_sdp is not None
        self.is_early = False
        self.is_over = False
        self.said_bye = False
        self._endpoint = endpoint
        self._remote_sdp = remote_sdp
        self._was_connected = False
        self._line = endpoint.room.open_line(leg.uuid)
        self._peer = AiortcPeer(
            MediaSettings(host_addresses=endpoint.media_addresses, codecs=_CODECS, rsa_certificate=True),
            self._media_told,
            source=self._line,
            sink=self._line,
        )
        self._when_over: Callable[[], None] | None = None
        self._acts: deque[Act] = deque()
        self._something_to_do = anyio.Event()

    @property
    def leg(self) -> Leg | None:
        """Its leg; ``None``: it is over."""
        return next((leg for leg in self._endpoint.switchboard.legs if leg.uuid == self.leg_uuid), None)

    @property
    def hold_state(self) -> str:
        """``held`` or ``active``."""
        leg = self.leg
        return "held" if leg is not None and leg.snapshot.held else "active"

    # --- its task

    def do(self, act: Act) -> None:
        """Have something done after all that was asked for before.

        Args:
            act: What.
        """
        self._acts.append(act)
        self._something_to_do.set()

    async def run(self) -> None:
        """Do what is asked for, until the call is over; then let go of the media."""
        try:
            while not self.is_over:
                self._something_to_do = anyio.Event()
                while self._acts and not self.is_over:
                    await self._carry_out(self._acts.popleft())
                if not self.is_over:
                    await self._something_to_do.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the media. Doing so twice does nothing."""
        self._endpoint.room.close_line(self._line)
        await self._peer.close()

    async def _carry_out(self, act: Act) -> None:
        try:
            await act()
        except MediaStateError:
            # Said too late, or twice: FreeSWITCH takes no notice either.
            return
        except CtiError:
            self.hang_up("INCOMPATIBLE_DESTINATION")

    def when_over(self, act: Callable[[], None] | None) -> None:
        """Say what is to happen if the call ends before its task has done what was asked for last.

        Args:
            act: What; ``None``: nothing, it is done.
        """
        self._when_over = act

    def end(self) -> None:
        """The leg is gone."""
        self.is_over = True
        act, self._when_over = self._when_over, None
        if act is not None:
            act()
        self._something_to_do.set()

    def hang_up(self, cause: str) -> None:
        """End its leg.

        Args:
            cause: Why.
        """
        try:
            self._endpoint.switchboard.hang_up(self.leg_uuid, cause)
        except SwitchError:
            return

    def rename(self, leg_uuid: str) -> None:
        """The switch has given the leg another identifier; the client goes on with the first one.

        Args:
            leg_uuid: It.
        """
        self.leg_uuid = leg_uuid

    def detach(self) -> None:
        """The client's socket is lost: nobody is heard on the line."""
        self._line.is_there = False
        self._endpoint.room.look()

    # --- what the client is told

    async def ring(self) -> None:
        """Tell the client that somebody calls."""
        described = await self._peer.offer()
        leg = self.leg
        if leg is not None:
            offer = written_offer(described, is_agreed=self._endpoint.is_answered(leg.snapshot.originating_leg))
            self.is_told = True
            now = leg.snapshot
            self._tell("verto.invite", [("callID", self.call_id), *self._variables(now), ("sdp", offer), *_parties(now)])

    async def early_media(self) -> None:
        """Tell the client that the other side's phone rings, and let it hear that."""
        if self.is_early or self._remote_sdp is None:
            return
        self.is_early = True
        sdp = written_answer(await self._peer.answer(self._remote_sdp))
        leg = self.leg
        if leg is not None:
            self._tell("verto.media", [("callID", self.call_id), ("sdp", sdp), *self._variables(leg.snapshot)])

    async def tell_answer(self) -> None:
        """Tell the client that its call was answered."""
        sdp = None
        if not self.is_early and self._remote_sdp is not None:
            self.is_early = True
            sdp = written_answer(await self._peer.answer(self._remote_sdp))
        leg = self.leg
        if leg is not None:
            described = [] if sdp is None else [("sdp", sdp)]
            self._tell("verto.answer", [("callID", self.call_id), *described, *self._variables(leg.snapshot)])

    async def display(self) -> None:
        """Tell the client who the other party is now."""
        leg = self.leg
        if leg is not None:
            now = leg.snapshot
            number, name = _other(now)
            members: Members = [("callID", self.call_id), ("display_name", name), ("display_number", number)]
            self._tell("verto.display", [*members, *_parties(now)])

    async def attach(self) -> None:
        """Offer the client new media."""
        offer = written_attach(await self._peer.restart())
        leg = self.leg
        if leg is not None:
            now = leg.snapshot
            self._tell("verto.attach", [("callID", self.call_id), *self._variables(now), ("sdp", offer), *_parties(now)])

    def tell_end(self, cause: str) -> None:
        """Tell the client that the call is over, unless it said so itself or never knew of it.

        Args:
            cause: Why.
        """
        if self.is_told and not self.said_bye:
            self._tell("verto.bye", [("callID", self.call_id), ("causeCode", code_of(cause)), ("cause", cause)])

    # --- what the client says

    async def take_answer(self, sdp: str) -> None:
        """The client answers.

        Args:
            sdp: The answer to the offer.
        """
        await self._peer.set_remote(sdp)
        leg = self.leg
        if leg is not None and leg.ringing:
            self._endpoint.switchboard.answer(self.leg_uuid)

    async def take_attach(self, sdp: str) -> None:
        """The client is back.

        Args:
            sdp: The answer to the offer of new media.
        """
        await self._peer.set_remote(sdp)
        self._line.is_there = True
        self._endpoint.room.look()
        await self.display()

    async def take_offer(self, sdp: str) -> str:
        """The client wants new media.

        Args:
            sdp: Its offer.

        Returns:
            The answer.
        """
        return written_answer(await self._peer.answer(sdp))

    # --- the rest

    def _media_told(self, notice: MediaNotice) -> None:
        self._was_connected = self._was_connected or self._peer.state.value == "connected"
        # Whoever was connected and is lost may come back, as its socket may.
        if isinstance(notice, MediaFailed) and not self._was_connected:
            self.hang_up("DESTINATION_OUT_OF_ORDER")

    def _tell(self, method: str, members: Members) -> None:
        self._endpoint.tell(self.session, method, members)

    def _variables(self, leg: LegSnapshot) -> Members:
        headers = self._endpoint.headers()
        own = {name: value for name, value in leg.variables.items() if name.startswith(("verto_svar_", "verto_dvar_"))}
        pushed = [(name, value) for name, value in leg.variables.items() if name.startswith("verto_h_")]
        return [("variables", {**headers, **self.session.variables, **own}), *pushed]


def _parties(leg: LegSnapshot) -> Members:
    return [
        ("caller_id_name", leg.caller_name),
        ("caller_id_number", leg.caller_number),
        ("callee_id_name", leg.callee_name or _UNKNOWN_NAME),
        ("callee_id_number", leg.callee_number or leg.destination),
        ("display_direction", leg.direction.value),
    ]


def _other(leg: LegSnapshot) -> tuple[str, str]:
    """Give number and name of the other party, as the switch knows it."""
    number = leg.peer_number
    is_called = leg.logical_direction is LegDirection.OUTBOUND
    return number, leg.caller_name if is_called and leg.caller_number == number else _UNKNOWN_NAME
