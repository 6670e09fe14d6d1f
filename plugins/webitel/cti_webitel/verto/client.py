"""`VertoClient`: one user's web phone at one server, without its media. Usable alone, without the rest of the framework.

`connection` holds the socket, the log in and the waiting; here is what can be asked. Media comes and goes as SDP: whoever has
the microphone makes an offer for `VertoClient.invite`, an answer for `VertoClient.answer` and for ``on_attach``, and takes what
`EarlyMedia`, `Answered` and `VertoClient.update_media` bring.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar
from uuid import uuid4

from cti_framework.errors import CommandUnconfirmedError, InvalidArgumentError
from cti_webitel.engine.arguments import check_cause, check_destination, check_digits
from cti_webitel.engine.arguments.refusal import check_text
from cti_webitel.verto.connection import VertoConnection
from cti_webitel.verto.errors import CallGoneError
from cti_webitel.verto.replies import CallEnded, HoldState, InfoSent, Modified, OtherResult, Outcome, Subscribed, Unsubscribed
from cti_webitel.verto.requests import (
    Action,
    Answer,
    Attach,
    Broadcast,
    Bye,
    Invite,
    Modify,
    OtherMessage,
    Ping,
    SendChat,
    SendDigits,
    Subscribe,
    Unsubscribe,
)
from cti_webitel.verto.signals import Cause
from cti_webitel.verto.timeouts import VertoTimeouts

__all__ = ["VertoClient", "VertoTimeouts"]

OutcomeT = TypeVar("OutcomeT", bound=Outcome)

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class VertoClient(VertoConnection):
    """One user's web phone at one server.

    ::

        phone = VertoClient("wss://pbx.example:8082", "100@pbx.example", Secret("…"), on_signals=print, on_attach=new_media)
        async with anyio.create_task_group() as group:
            await group.start(phone.run)
            call_id = await phone.invite("0501234567", offer)

    One ``run()`` is one connection. When it ends it can be run again, at once or later: the session is the same, the calls that
    the server still has come back with new media, and the end of the others is told.

    Args:
        url: Where the server listens, ``ws://`` or ``wss://``; any path will do.
        user: ``number@domain``.
        password: The user's web phone password.
        on_signals: Called with the signals that came together, in order. It must be quick and must not raise.
        on_attach: Makes new media for a call that came back, and gives the answer to the server's offer, which is then sent. It
            is cancelled when the call ends, wants media once more, or the connection breaks. Without it, call `attach`.
        session_id: The session; by default a new one. It must be this user's.
        login_params: What the server's directory is to know of the client.
        user_variables: Variables of the session, such as ``verto_user_agent``.
        on_request: Called with each request before it is sent. No ``repr`` of it shows a secret.
        on_traffic: Called with all that goes over the wire, for captures: which way, and the frames that went together. A log in
            is among them, with its password: hand it to `FlightRecorder.record_many`, which takes that out.
        timeouts: How long to wait for what.
        ssl_context: For ``wss://``; by default the certificate is checked against the system's authorities.
        log: A structlog logger.
        clock: Monotonic seconds.
        open_socket: How to open the WebSocket.
    """

    # ------------------------------------------------------------------ calls

    async def invite(
        self,
        destination: str,
        sdp: str,
        *,
        call_id: str | None = None,
        caller_name: str | None = None,
        caller_number: str | None = None,
        recovers: bool = True,
        variables: Mapping[str, Any] = _NOTHING,
        extra: Mapping[str, Any] = _NOTHING,
    ) -> str:
        """Call somebody. What comes of it is told by signals: an unknown number, for one, by `Ended`.

        Where this is not confirmed the call may be there all the same: `hang_up` makes sure of it.

        Args:
            destination: The number.
            sdp: The offer.
            call_id: The call, which becomes the ``Unique-ID`` of its channel; by default a new UUID.
            caller_name: The own name, as the called one sees it.
            caller_number: The own number.
            recovers: The call is kept when the connection is lost.
            variables: The call gets them as channel variables ``verto_dvar_…``.
            extra: Further parameters of the dialog.

        Returns:
            The call.

        Raises:
            CommandError: As `ask`.
        """
        message = Invite(
            call_id or str(uuid4()),
            check_destination(destination),
            _check_sdp(sdp, "verto.invite"),
            caller_name,
            caller_number,
            recovers=recovers,
            variables=variables,
            extra=extra,
        )
        await self.ask(message)
        return message.call_id

    async def answer(self, call_id: str, sdp: str, *, extra: Mapping[str, Any] = _NOTHING) -> None:
        """Answer a call that came in.

        Args:
            call_id: The call.
            sdp: The answer to the server's offer.
            extra: Further parameters of the dialog.

        Raises:
            CommandError: As `ask`.
        """
        await self.ask(Answer(call_id, _check_sdp(sdp, "verto.answer"), extra=extra))

    async def attach(self, call_id: str, sdp: str) -> None:
        """Give a call that came back new media, where ``on_attach`` does not.

        Args:
            call_id: The call.
            sdp: The answer to the server's offer.

        Raises:
            CommandError: As `ask`.
        """
        await self.ask(Attach(call_id, _check_sdp(sdp, "verto.attach")))

    async def hang_up(self, call_id: str, cause: str | None = None) -> Cause | None:
        """Hang up, or refuse a call that comes in. A call that is gone at the server is hung up.

        Args:
            call_id: The call.
            cause: FreeSWITCH's name of why, such as ``USER_BUSY``; by default the normal way.

        Returns:
            Why it ended; ``None`` where the server had no such call any more.

        Raises:
            CommandError: As `ask`.
        """
        named = None if cause is None else Cause(check_cause(cause))
        try:
            return (await self._answer_of(CallEnded, Bye(call_id, named))).cause
        except CallGoneError:
            return None

    async def hold(self, call_id: str) -> HoldState | None:
        """Hold a call. The server is not asked what the other side hears: it plays what it is set to.

        Args:
            call_id: The call.

        Returns:
            What it is now; ``None`` where the server does not tell.

        Raises:
            CommandError: As `ask`.
        """
        return await self._hold(call_id, Action.HOLD)

    async def unhold(self, call_id: str) -> HoldState | None:
        """Take a held call back.

        Args:
            call_id: The call.

        Returns:
            What it is now; ``None`` where the server does not tell.

        Raises:
            CommandError: As `ask`.
        """
        return await self._hold(call_id, Action.UNHOLD)

    async def toggle_hold(self, call_id: str) -> HoldState | None:
        """Hold a call or take it back, as the server sees it.

        Args:
            call_id: The call.

        Returns:
            What it is now; ``None`` where the server does not tell.

        Raises:
            CommandError: As `ask`.
        """
        return await self._hold(call_id, Action.TOGGLE_HOLD)

    async def transfer(self, call_id: str, destination: str) -> None:
        """Give the other party to a number, without asking there. The own call ends by a signal.

        Nothing tells whether that succeeds: to a number that is not known, the other party is hung up.

        Args:
            call_id: The call.
            destination: The number.

        Raises:
            CommandError: As `ask`; refused where the call is not between two parties.
        """
        await self.ask(Modify(call_id, Action.TRANSFER, check_destination(destination)))

    async def replace(self, call_id: str, replaced_id: str) -> None:
        """Join the other parties of two calls. Both own calls end by signals.

        Args:
            call_id: One call.
            replaced_id: The other one.

        Raises:
            CommandError: As `ask`.
        """
        await self.ask(Modify(call_id, Action.REPLACE, replaced_id=replaced_id))

    async def update_media(self, call_id: str, sdp: str) -> str:
        """Make new media for an answered call, on this side's wish.

        Args:
            call_id: The call.
            sdp: The offer.

        Returns:
            The answer.

        Raises:
            CommandError: As `ask`.
        """
        message = Modify(call_id, Action.UPDATE_MEDIA, sdp=_check_sdp(sdp, "verto.modify"))
        modified = await self._answer_of(Modified, message)
        if modified.sdp is None:
            raise CommandUnconfirmedError("The server took the offer of new media and gave no answer.", command=message.method)
        return modified.sdp

    async def send_digits(self, call_id: str, digits: str) -> None:
        """Press keys. Nothing tells whether anybody hears them.

        Args:
            call_id: The call.
            digits: 0 to 9, ``*``, ``#`` and A to D.

        Raises:
            CommandError: As `ask`.
        """
        sent = await self._answer_of(InfoSent, SendDigits(call_id, check_digits(digits)))
        if not sent.taken:
            # The server says of a call that is gone, and of no other, that it did nothing.
            raise CallGoneError("The keys were not sent: the call is over.", command="verto.info")

    async def _hold(self, call_id: str, action: Action) -> HoldState | None:
        return (await self._answer_of(Modified, Modify(call_id, action))).hold_state

    # ------------------------------------------------------------------ beside calls

    async def send_chat(self, recipient: str, body: str, *, call_id: str | None = None) -> None:
        """Send a text. Nothing tells whether it arrives: that needs a module of the server that not every one has.

        Args:
            recipient: To whom, ``number@domain``.
            body: The text.
            call_id: The call that it is sent within, if it is.

        Raises:
            CommandError: As `ask`.
        """
        await self.ask(SendChat(recipient, body, self.user, call_id))

    async def subscribe(self, *channels: str) -> Subscribed:
        """Listen to channels of events, also after the connection was lost and is back.

        Args:
            *channels: Which.

        Returns:
            Which of them are listened to now.

        Raises:
            CommandError: As `ask`; refused where none of them is allowed.
        """
        subscribed = await self._answer_of(Subscribed, Subscribe(_check_channels(channels)))
        self._subscribed.update(dict.fromkeys(subscribed.channels + subscribed.already))
        return subscribed

    async def unsubscribe(self, *channels: str) -> Unsubscribed:
        """Listen no longer.

        Args:
            *channels: To which.

        Returns:
            Which of them are not listened to any more.

        Raises:
            CommandError: As `ask`; refused where none of them was listened to.
        """
        for channel in channels:
            self._subscribed.pop(channel, None)
        return await self._answer_of(Unsubscribed, Unsubscribe(_check_channels(channels)))

    async def broadcast(self, channel: str, data: Any, *, is_local: bool = True) -> None:
        """Say something on a channel of events.

        Args:
            channel: Which.
            data: What.
            is_local: To all who listen to it. Otherwise it is meant for the server.

        Raises:
            CommandError: As `ask`.
        """
        await self.ask(Broadcast(_check_channels((channel,))[0], data, is_local))

    async def ping(self) -> None:
        """Ask whether the server is there.

        Raises:
            CommandError: As `ask`.
        """
        await self.ask(Ping())

    async def execute(self, method: str, values: Mapping[str, Any] = _NOTHING) -> Mapping[str, Any]:
        """Ask anything else that the server may know, such as ``fsapi``.

        Args:
            method: What.
            values: Its parameters. A `Secret` is sent as what it holds.

        Returns:
            What the server answers.

        Raises:
            CommandError: As `ask`.
        """
        return (await self._answer_of(OtherResult, OtherMessage(method, values))).values

    async def _answer_of(self, kind: type[OutcomeT], message: Any) -> OutcomeT:
        outcome = await self.ask(message)
        if isinstance(outcome, kind):
            return outcome
        raise CommandUnconfirmedError(
            f"The server's answer to {message.method} cannot be read.",
            command=message.method,
            remedy="It may have acted: look at the calls before trying again.",
        )


def _check_sdp(sdp: str, method: str) -> str:
    if not check_text("media description", sdp).startswith("v=0"):
        raise InvalidArgumentError(f"{method} was not sent: what was given for media is no SDP.", command=method)
    return sdp


def _check_channels(channels: tuple[str, ...]) -> tuple[str, ...]:
    if not channels or not all(check_text("channel", channel) for channel in channels):
        raise InvalidArgumentError("A channel of events needs a name.", remedy="Name one or more channels.")
    return channels
