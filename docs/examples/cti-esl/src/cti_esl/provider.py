"""The provider: what FreeSWITCH tells becomes reports, what the host asks becomes commands of the event socket.

What is declared is what captures of a real FreeSWITCH with Verto phones prove; README.md says what is not, and why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar, Final
from uuid import uuid4

from cti_framework.calls import Call, CallDirection, CallFeature, CallState
from cti_framework.diagnosis import Checks, Endpoint
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    InvalidArgumentError,
    NotConnectedError,
)
from cti_framework.provider import BaseCtiProvider, Capabilities, ProviderContext, ReplayLine, Simulation
from cti_framework.recorder import FrameDirection
from cti_framework.reports import Snapshot, Started

from cti_esl.calls import OwnCall
from cti_esl.causes import NORMAL
from cti_esl.client import EslConnection
from cti_esl.legs import DESTINATION_VARIABLE, PARENT_VARIABLE
from cti_esl.protocol import Reply, command_bytes, is_refusal
from cti_esl.replay import replay_frames
from cti_esl.settings import EslSettings, EslUserSettings
from cti_esl.standing import Standing

__all__ = ["EslCtiProvider"]

_NUMBER: Final = re.compile(r"\+?[0-9*#]{1,64}")
_WORD: Final = re.compile(r"[0-9A-Za-z*#._+][0-9A-Za-z*#._+-]{0,63}")
"""Not with a dash in front: `uuid_transfer` takes ``-bleg`` and ``-both`` for options."""
_TONES: Final = re.compile(r"[0-9*#A-D]+")
_LEFT_OUT: Final = str.maketrans("", "", " ()-/.")
"""What people write into numbers, and nobody dials."""


class EslCtiProvider(BaseCtiProvider):
    """FreeSWITCH's event socket: one connection for all users of a hub."""

    provider_api = 1
    capabilities: ClassVar[Capabilities] = Capabilities(
        calls=CallFeature.DIAL
        | CallFeature.DROP
        | CallFeature.DTMF
        | CallFeature.BLIND_TRANSFER
        | CallFeature.CONSULT
        | CallFeature.COMPLETE_TRANSFER,
    )
    marks_sent: ClassVar[bool] = True
    settings_type = EslSettings
    user_settings_type = EslUserSettings

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._standing: Standing | None = None
        self._up_before: tuple[str, ...] = ()

    # --- what FreeSWITCH tells

    async def run(self) -> None:
        """Stand on the connection until it breaks.

        Raises:
            AddressError: The event socket is on another computer, and the settings do not allow plain text.
            CredentialsRefusedError: FreeSWITCH refuses the event socket's password.
            ConnectionFailedError: The connection could not be made, or broke.
        """
        settings: EslSettings = self.context.settings
        user: EslUserSettings = self.context.user_settings
        # There is nothing to secure it with: this refuses what is spoken over a network, unless that is allowed.
        (socket,) = self.endpoints(settings)
        await self.context.tls_for(socket.url)
        password = settings.password.get_secret_value()
        # The password is part of the key: who has a wrong one is not let in by another's right one.
        key = ("esl", settings.host, settings.port, password)
        opener = partial(EslConnection.live, settings.host, settings.port, password)
        async with self.context.shared(key, opener) as connection:
            self.context.clock.forget()
            standing = Standing(self.context, connection, f"{user.number}@{settings.domain}")
            # The table of channels lags: whether these are still up a dump of each will say.
            connection.legs.remember(self._up_before, standing.presence)
            with standing.taken(settings.host, settings.port):
                self.context.report(Started(at=self.context.clock.now(), own_numbers=(user.number,)))
                self._standing = standing
                try:
                    await standing.look_after()
                finally:
                    self._standing = None
                    self._up_before = standing.calls.up

    async def probe(self) -> None:
        """Ask FreeSWITCH for a leg that there is not: the cheapest question that it answers."""
        await self._stands("probe").connection.probe()

    async def snapshot(self) -> Snapshot:
        """Tell the user's calls: the legs that events and the table of channels have told of, each dumped.

        Returns:
            All there are.
        """
        return await self._stands("snapshot").snapshot()

    # --- what the host asks

    async def make_call(self, destination: str) -> Call:
        """Ring the user's phone, and the destination when it is picked up.

        Args:
            destination: A number, or a word that the dialplan knows.

        Returns:
            The call, as soon as the own phone's leg is there.
        """
        return await self._originate("make_call", _dialable(destination), parent=None)

    async def drop_call(self, call: Call) -> None:
        """End the own leg. A call that rings here is refused, and its caller told so.

        Args:
            call: The call.
        """
        rings = call.direction is CallDirection.IN and call.state is CallState.ALERTING
        await self._api("drop_call", f"uuid_kill {call.id} {'CALL_REJECTED' if rings else NORMAL}")

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Press keys as if on the own phone.

        Args:
            call: The call.
            digits: Which.
        """
        if not _TONES.fullmatch(digits):
            raise InvalidArgumentError(
                f"{digits!r} has no tones; nothing was sent.", remedy="Use 0-9, *, # and A to D."
            )
        await self._api("send_dtmf", f"uuid_recv_dtmf {call.id} {digits}")

    async def blind_transfer(self, call: Call, destination: str) -> None:
        """Send the far leg on. FreeSWITCH takes it without looking at the destination.

        Args:
            call: The call.
            destination: As for `make_call`.
        """
        number = _dialable(destination)
        own = self._own("blind_transfer", call)
        far, context = self._far("blind_transfer", own), self.context.settings.context
        await self._leave("blind_transfer", f"uuid_transfer {far} {number} XML {context}", own)

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        """Hold the own leg, and make a second call. The hold of a Verto phone's leg cannot be undone.

        Args:
            call: The call on whose behalf.
            destination: As for `make_call`.

        Returns:
            The second call.
        """
        number = _dialable(destination)
        own = self._own("make_consult_call", call)
        if not own.is_held:
            # A second hold would begin one more hold tone.
            await self._api("make_consult_call", f"uuid_hold {own.leg}")
        return await self._originate("make_consult_call", number, parent=own.leg)

    async def complete_transfer(self, call: Call, consult_call: Call) -> None:
        """Join the two far legs; FreeSWITCH ends the own ones.

        Args:
            call: The first call.
            consult_call: The second.
        """
        first = self._own("complete_transfer", call)
        second = self._own("complete_transfer", consult_call)
        first_far, second_far = self._far("complete_transfer", first), self._far("complete_transfer", second)
        await self._leave("complete_transfer", f"uuid_bridge {first_far} {second_far}", first, second)

    # --- how it is asked

    async def _originate(self, verb: str, number: str, *, parent: str | None) -> Call:
        standing, settings = self._stands(verb), self.context.settings
        leg, job = str(uuid4()), str(uuid4())
        variables = {
            "origination_uuid": leg,
            "origination_caller_id_number": number,
            DESTINATION_VARIABLE: number,
            **({} if parent is None else {PARENT_VARIABLE: parent}),
        }
        written = ",".join(f"{name}={value}" for name, value in variables.items())
        command = f"originate {{{written}}}user/{standing.presence} {number} XML {settings.context}"
        with standing.awaiting(leg) as begun:
            try:
                data = command_bytes(f"bgapi {command}", job_uuid=job)
                sent = self._sending(data)
                self._answered(verb, await standing.connection.background(command, job, begun.answered, sent))
                await begun.decided.wait()
            finally:
                standing.connection.forget_job(job)
            if begun.call is None and begun.text is not None and not is_refusal(begun.text):
                # Between a leg's news and a job's no order is certain: what events have not told yet, a dump does.
                await standing.look_at(leg)
            if begun.call is not None:
                return begun.call
            if begun.text is None:
                raise CommandUnconfirmedError(
                    "The connection was lost before FreeSWITCH showed the call.", command=verb
                )
            _check(verb, begun.text)
            raise CommandError("The call was over at once.", stage=CommandStage.ACCEPTED, command=verb)

    async def _leave(self, verb: str, command: str, *calls: OwnCall) -> None:
        """Ask for what ends calls as transferred."""
        for own in calls:
            own.is_leaving = True
        try:
            await self._api(verb, command)
        except (CommandRefusedError, NotConnectedError):
            for own in calls:
                own.is_leaving = False
            raise

    async def _api(self, verb: str, command: str) -> str:
        connection = self._stands(verb).connection
        return self._answered(verb, await connection.api(command, self._sending(command_bytes(f"api {command}"))))

    def _sending(self, data: bytes) -> Callable[[], None]:
        def sending() -> None:
            self.context.command_sent()
            self.context.frame(FrameDirection.TO_PBX, data)
            if self.context.trace is not None:
                kind, _, words = data.decode().partition("\n")[0].partition(" ")
                self.context.trace("to_pbx", kind, words)

        return sending

    def _answered(self, verb: str, reply: Reply) -> str:
        self.context.frame(FrameDirection.FROM_PBX, reply.raw)
        _check(verb, reply.text)
        return reply.text

    def _stands(self, verb: str) -> Standing:
        if self._standing is None:
            raise NotConnectedError(f"{verb} was not sent: there is no connection to FreeSWITCH.", command=verb)
        return self._standing

    def _own(self, verb: str, call: Call) -> OwnCall:
        own = self._stands(verb).calls.get(call.id)
        if own is None:
            raise CommandRefusedError(f"{verb} was not sent: FreeSWITCH has no such call.", command=verb)
        return own

    @staticmethod
    def _far(verb: str, own: OwnCall) -> str:
        if own.far is None or not own.is_connected:
            raise CommandRefusedError(f"{verb} was not sent: the call has no other leg.", command=verb)
        return own.far

    # --- so that a fault is found

    @classmethod
    def endpoints(cls, settings: EslSettings) -> tuple[Endpoint, ...]:
        """Tell what it connects to.

        Args:
            settings: The system's.

        Returns:
            The event socket.
        """
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return (Endpoint("event_socket", f"tcp://{host}:{settings.port}"),)

    async def diagnose(self, checks: Checks) -> None:
        """Ask which FreeSWITCH it is.

        Args:
            checks: Takes the step.
        """

        async def version() -> str:
            return (await self._stands("diagnose").connection.api("version")).text.strip()

        await checks.check("version", version)

    @classmethod
    def replay(cls, lines: Iterable[str]) -> Iterator[ReplayLine]:
        """Feed a user's captured frames to the protocol.

        Args:
            lines: The lines of a capture of ``cti listen --capture`` or of a support bundle.

        Returns:
            Each event, and what the provider reports of it.

        Raises:
            ProtocolError: A line is none of a capture.
        """
        return replay_frames(lines)

    # --- a PBX in a box

    @classmethod
    def simulator(cls) -> AbstractAsyncContextManager[Simulation]:
        """Run a FreeSWITCH in a box, which listens on loopback.

        Returns:
            An asynchronous context manager that gives it, with an operator at 1000 and a number that answers by itself.
        """
        # Imported when it is wanted: a host in service has no use for it.
        from cti_esl.simulator import simulation

        return simulation()


def _check(verb: str, text: str) -> None:
    if is_refusal(text):
        words = text.strip()
        raise CommandRefusedError(f"FreeSWITCH refused: {words}", command=verb, pbx_text=words)


def _dialable(destination: str) -> str:
    number = destination.translate(_LEFT_OUT)
    if _NUMBER.fullmatch(number):
        return number
    if not _WORD.fullmatch(destination):
        raise InvalidArgumentError(
            f"{destination!r} cannot be dialled; nothing was sent.",
            remedy="Use digits, letters, *, # and a + in front.",
        )
    return destination
