"""The operator's seat at a web phone: what a session with one does besides. The provider asks it, and knows no more of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from typed_settings.types import Secret

from cti_framework.calls import Call, Side
from cti_framework.diagnosis import Checks
from cti_framework.errors import (
    CommandUnconfirmedError,
    InvalidArgumentError,
    NotAllowedNowError,
    SettingsError,
)
from cti_framework.media import check_sound
from cti_framework.provider import ProviderContext
from cti_framework.reports import Tones
from cti_webitel.asked import AskedCall, AskedCalls
from cti_webitel.engine.arguments import check_account
from cti_webitel.engine.client import Webitel
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.translator import Translator
from cti_webitel.verto.client import VertoTimeouts
from cti_webitel.verto.requests import DialogMessage, VertoMessage
from cti_webitel.verto.signals import Signal
from cti_webitel.web_phone.meeting import Meeting
from cti_webitel.web_phone.phone import WebPhone
from cti_webitel.web_phone.phone_call import PhoneNews

__all__ = ["Seat"]

_CONNECTED_WITHIN_SECONDS: Final = 3.0
"""How long the first look at the calls, and the first call, wait for the phone's first attempt to connect."""


class Seat:
    """A web phone and the place where its calls meet the engine's.

    Args:
        context: The session's.
        account: The operator's account at the engine.
        webitel: The engine's client.
        translator: Turns the engine's callbacks into reports.
        asked: The calls that are waited for.
        tell: Reports, while a connection to the engine is logged in; drops what is said at other times.
        is_live: Whether one is.
        look_at_once: Asks the engine for its calls.

    Attributes:
        phone: The web phone.
        meeting: Where its calls and the engine's meet.

    Raises:
        SettingsError: A setting of the web phone is missing, or cannot be used.
        MediaUnavailableError: Calls cannot have sound in this process.
    """

    def __init__(
        self,
        context: ProviderContext,
        account: str,
        webitel: Webitel,
        translator: Translator,
        asked: AskedCalls,
        *,
        tell: Callable[..., None],
        is_live: Callable[[], bool],
        look_at_once: Callable[[], None],
    ) -> None:
        settings: WebitelSettings = context.settings
        user: WebitelUserSettings = context.user_settings
        url = settings.webrtc_connection_string
        if url is None:
            raise SettingsError(
                "The user has a web phone, and it is not known where its signalling listens.",
                problems=("webitel.webrtc_connection_string: it is not set",),
                remedy="Set it, for example to wss://pbx.example:8082, or switch the user's use_web_phone off.",
            )
        media = context.media()
        # On another event loop than asyncio's, say, there is no sound: that is to be known before there is a call.
        media.check()
        self._context = context
        self._asked = asked
        self._tell = tell
        self._is_live = is_live
        self.phone = WebPhone(
            url,
            _login_of(settings, user, account),
            _password_of(user),
            media=media,
            on_news=self._take,
            rings=user.use_notification_sound,
            shows_video=user.use_video,
            clock=context.clock,
            timeouts=VertoTimeouts(command_seconds=settings.command_timeout_seconds),
            on_request=self._sending,
            on_signal=self._heard,
            on_traffic=partial(context.frames, connection="verto"),
            log=context.log,
            open_socket=context.open_websocket,
        )
        self.meeting = Meeting(
            context,
            webitel,
            translator,
            asked,
            self.phone,
            own_number=account.partition("@")[0],
            tell=tell,
            is_live=is_live,
            look_at_once=look_at_once,
            auto_answer=settings.web_phone_auto_answer,
        )

    @asynccontextmanager
    async def lifetime(self) -> AsyncIterator[None]:
        """Have the phone live, over all connections to the engine."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.phone.live)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def ready(self) -> None:
        """Wait until the phone's first attempt to connect is decided, but not for long."""
        with anyio.move_on_after(_CONNECTED_WITHIN_SECONDS):
            await self.phone.settled()

    async def diagnose(self, checks: Checks) -> None:
        """Look whether the signalling lets the phone in, and whether calls can have sound here.

        Args:
            checks: Takes the steps.
        """

        async def log_in() -> str:
            await self.phone.settled()
            if self.phone.error is not None:
                raise self.phone.error
            return f"The signalling lets {self.phone.client.user} in."

        await checks.check("web_phone: log_in", log_in)
        await check_sound(checks, self._context.media())

    async def make_call(self, tasks: TaskGroup, number: str) -> Call:
        """Call somebody by the phone itself.

        Args:
            tasks: The engine connection's.
            number: Whom.

        Returns:
            The call, as soon as the line shows it.

        Raises:
            NoSoundError: Its media cannot be begun; nothing was sent.
            CommandError: It was refused, or is not shown.
        """
        phone = self.phone
        call = await phone.prepare(number)
        asked = AskedCall(number, leg=call.id)

        async def invite() -> None:
            try:
                await phone.invite(call)
            except CommandUnconfirmedError:
                if asked.call is None:
                    phone.start(phone.make_sure_of_end, call)
                raise

        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await phone.discard(call)
            raise
        return await self._asked.ask(tasks, asked, invite)

    async def answer(self, call: Call) -> None:
        """Answer a call that rings at the phone.

        Args:
            call: The call.

        Raises:
            CommandError: As for `WebPhone.answer`.
        """
        ringing = next((dialog for dialog in self.meeting.dialogs_of(call.id) if self.phone.is_ringing(dialog)), None)
        if ringing is None:
            reason = "it does not ring at the web phone"
            raise NotAllowedNowError(f"answer_call for call {call.id!r}", reason=reason, command="answer_call")
        await self.phone.answer(ringing)

    def mute(self, call: Call, on: bool) -> None:
        """Switch the microphone off or on.

        Args:
            call: The call.
            on: Whether it is to be off.

        Raises:
            CommandError: It has no media here.
        """
        dialogs = self.meeting.dialogs_of(call.id)
        if not dialogs:
            reason = "it is not at the web phone"
            raise NotAllowedNowError(f"set_mute for call {call.id!r}", reason=reason, command="set_mute")
        self._context.command_sent()
        self.phone.mute(dialogs[0], on)

    def pressed(self, call: Call, digits: str) -> None:
        """Tell the tones of a call that the engine does not show: nobody else does.

        Args:
            call: The call.
            digits: The tones.
        """
        self._tell(Tones(at=self._context.clock.now(), call_id=call.id, digits=digits, by=Side.OWN))

    def _take(self, news: PhoneNews) -> None:
        self.meeting.take(news)

    def _sending(self, message: VertoMessage) -> None:
        if isinstance(message, DialogMessage):
            self._context.command_sent()
        if self._context.trace is not None:
            self._context.trace("to_pbx", message.method, getattr(message, "call_id", "") or "")

    def _heard(self, signal: Signal) -> None:
        if self._context.trace is not None:
            self._context.trace("from_pbx", f"verto {type(signal).__name__}", getattr(signal, "call_id", None) or "")


def _login_of(settings: WebitelSettings, user: WebitelUserSettings, account: str) -> str:
    if user.web_phone_login is None:
        return account
    domain = f"@{settings.domain}" if settings.domain and "@" not in user.web_phone_login else ""
    try:
        return check_account(user.web_phone_login + domain)
    except InvalidArgumentError as error:
        raise SettingsError(
            "The user's account at the web phone's signalling cannot be used.",
            problems=(f"webitel.web_phone_login: {error.message}",),
            remedy="Give it as number@domain, or leave it out if it is the account's.",
        ) from None


def _password_of(user: WebitelUserSettings) -> Secret[str]:
    password = user.web_phone_password or user.password
    if password is None:
        raise SettingsError(
            "The web phone needs a password, and the user has a key and a token only.",
            problems=("webitel.web_phone_password: it is not set",),
            remedy="Set the user's web_phone_password, or switch his use_web_phone off.",
        )
    return password
