"""`Webitel`: one account's connection to the engine, over its WebSocket. Usable alone, without the rest of the framework.

It is put together from rooms: `connection` holds the socket, the log in, the time-outs and the waiting; each class of `commands`
one room of the engine's commands. Here is what needs both the commands and what the protocol knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import anyio

from cti_framework.errors import CommandError, CommandRefusedError, InvalidArgumentError
from cti_webitel.engine.callbacks import CallCallback, OnSubscriptionLost, WebitelCall, WebitelUser
from cti_webitel.engine.commands import (
    CallCentreCommands,
    CallCommands,
    ChannelCommands,
    DirectoryCommands,
    MessageCommands,
    OnlineAccount,
    RecordingCommands,
    SessionCommands,
    StateCommands,
    SubscriptionCommands,
    Tier,
    Token,
)
from cti_webitel.engine.connection import EngineConnection, OpenWebSocket
from cti_webitel.engine.headers import PRESENCE
from cti_webitel.engine.snapshot import LegDump, SeenLeg, is_leg_of, read_dump
from cti_webitel.engine.timeouts import WebitelTimeouts

__all__ = ["OnlineAccount", "OpenWebSocket", "Tier", "Token", "Webitel", "WebitelTimeouts"]

_LIST_LAG_SECONDS: Final = 1.0
"""How long the list of channels may be behind (facts: esl-control, show channels)."""


class Webitel(
    CallCommands,
    ChannelCommands,
    StateCommands,
    CallCentreCommands,
    DirectoryCommands,
    MessageCommands,
    SubscriptionCommands,
    RecordingCommands,
    SessionCommands,
    EngineConnection,
):
    """One account at one engine.

    ::

        webitel = Webitel("wss://pbx.example/engine", "100@pbx.example", secret=Secret("…"), on_callbacks=print)
        async with anyio.create_task_group() as group:
            await group.start(webitel.run)
            leg = await webitel.call("0501234567")

    Args:
        url: Where the engine listens, ``ws://`` or ``wss://``.
        account: ``number@domain``.
        secret: The account's password. Either this, or ``key`` and ``token``.
        key: The key of a token.
        token: The token that belongs to ``key``.
        on_callbacks: Called with the callbacks that came together, in order. It must be quick and must not raise.
        on_frame: Called with each received frame before it is understood, for captures.
        on_command: Called with each command's name and arguments before it is sent; secrets are left out.
        on_traffic: Called with all that goes over the wire, for captures: which way, and the frames that went together. A log in
            is among them, with its secret: hand it to `FlightRecorder.record_many`, which takes that out.
        auto_answer_param: What makes the operator's own device answer by itself, ``name=value`` (facts: webitel-protocol 3.2).
        timeouts: How long to wait for what.
        ssl_context: For ``wss://``; by default the certificate is checked against the system's authorities.
        log: A structlog logger.
        hold_grace_seconds: How long after a leg is held the switch can say that it was we who did it.
        clock: Monotonic seconds, read once a frame.
        open_socket: How to open the WebSocket.

    Raises:
        InvalidArgumentError: ``account`` or ``auto_answer_param`` is not of the form that the engine takes.
        ValueError: Neither or both of ``secret`` and ``key`` with ``token`` are given.
    """

    @property
    def users(self) -> Mapping[str, WebitelUser]:
        """The accounts of the domain, by number, as the engine tells them; empty without a connection."""
        return self._protocol.users

    @property
    def own_user(self) -> WebitelUser | None:
        """The own account as the engine tells it; ``None`` without a connection."""
        return self._protocol.own_user

    @property
    def call_ids(self) -> frozenset[str]:
        """The identifiers of the calls that are open, as far as is known."""
        return self._protocol.call_ids

    @property
    def legs(self) -> Mapping[str, tuple[str, ...]]:
        """The own legs of each open call, by its identifier: one a device that rings; one that was picked up comes first."""
        return self._protocol.sight().calls

    def call_of(self, leg: str) -> str | None:
        """Find the open call that an own leg belongs to.

        Args:
            leg: The leg's ``Unique-ID``.

        Returns:
            The call's identifier; ``None``: no open call has such a leg, as far as is known.
        """
        return self._protocol.call_of(leg)

    def call_told(self, leg: str) -> WebitelCall | None:
        """Tell the open call that an own leg belongs to.

        Args:
            leg: The leg's ``Unique-ID``.

        Returns:
            The call as it is now; ``None`` as for `call_of`.
        """
        return self._protocol.call_told(leg)

    async def look(self, *, forget_gone: bool = True) -> tuple[tuple[SeenLeg, ...], tuple[CallCallback, ...]]:
        """Ask the switch for the own legs, and agree with its answer.

        The list of channels lags and can hold ghosts, a channel's dump is exact: each row is checked by its dump, and so is
        each leg that is known and not listed (facts: esl-control, show channels).

        Args:
            forget_gone: Forget the known legs that the switch does not have any more, without a word. If not, their end is
                waited for: it comes by another way than the answers, and may still be on it (facts: webitel-protocol 2).

        Returns:
            One leg for each own call that there is, and the callbacks that the beginning of those not known would have
            raised: they were not handed to ``on_callbacks``.

        Raises:
            CommandError: As `execute`.
        """
        sighting = self._protocol.sight()
        listed, dumps, gone = await self._dumped()
        if forget_gone and listed & set(self._protocol.leg_uuids) & set(gone):
            # The list is behind. A leg that is known and listed and not there has ended just now, or has another identifier
            # which the list does not show yet: then its call goes on.
            await anyio.sleep(_LIST_LAG_SECONDS)
            sighting = self._protocol.sight()
            _, dumps, gone = await self._dumped()
        return self._protocol.reconcile(sighting, dumps, gone if forget_gone else ())

    async def _dumped(self) -> tuple[set[str], list[LegDump], list[str]]:
        """Ask for the list of channels, and for the dump of each own leg that is listed or known.

        Returns:
            The own legs that are listed, the dumps, and the legs that are not there.
        """
        rows = await self.show_channels()
        listed = dict.fromkeys(row["uuid"] for row in rows if is_leg_of(row, self.own_account))
        dumps: list[LegDump] = []
        gone: list[str] = []
        for uuid in listed | dict.fromkeys(self._protocol.leg_uuids):
            try:
                dump = read_dump(await self.channel_dump(uuid))
            except (CommandRefusedError, InvalidArgumentError):
                # What is no UUID cannot be asked for, and must not hide the others.
                gone.append(uuid)
            else:
                if dump.headers.get(PRESENCE) == self.own_account:
                    dumps.append(dump)
        return set(listed), dumps, gone

    async def _restore(self) -> None:
        for event, of_all in tuple(self._subscriptions.items()):
            if event not in self._subscriptions:
                # Given up meanwhile.
                continue
            try:
                await self._subscribe(event, of_all)
            except CommandError as error:
                if not self.connected:
                    # The next connection does it.
                    return
                self._log.warning("engine.subscription_lost", account=self.own_account, event_name=event, reason=str(error))
                self._on_callbacks([OnSubscriptionLost(event, error.pbx_text or error.message)])
