"""`WebPhone`: one user's calls at the signalling's server, each with its media.

The signalling says what becomes of a call, the media how it sounds. Here they meet: a call is answered with what its peer says,
new media is given to the peer that has the call's microphone, what a peer tells by itself is dealt with, and what is over is
closed. Whoever shows the calls to people is told by `phone_call`'s news.

One mouth: when a call becomes active, the others that are talked on here are held. The core offers to answer a call while another
one is talked on and holds nothing by itself (facts: webitel-protocol 6, "phone").
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import anyio
import structlog
from anyio.abc import TaskGroup
from typed_settings.types import Secret

from cti_framework.back_off import ReconnectPolicy
from cti_framework.clock import SessionClock
from cti_framework.errors import (
    CommandError,
    CommandUnconfirmedError,
    CtiError,
    NotAllowedNowError,
    NotConnectedError,
)
from cti_framework.media.errors import MediaConnectionError, SdpError
from cti_framework.media.values import (
    AudioFailed,
    MediaConnected,
    MediaEnded,
    MediaFailed,
    MediaNotice,
    MediaState,
    QualityMeasured,
)
from cti_framework.transport import open_websocket
from cti_webitel.engine.callbacks import OnDestroyWebRtcCall, OnNewWebRtcCall, OnVideoWebRtcCall, WebRtcCallback
from cti_webitel.engine.connection import OnTraffic, OpenWebSocket
from cti_webitel.verto.client import VertoClient
from cti_webitel.verto.dialogs import Dialog, DialogState
from cti_webitel.verto.requests import VertoMessage
from cti_webitel.verto.signals import (
    Answered,
    Attached,
    AttachFailed,
    Displayed,
    EarlyMedia,
    Ended,
    HoldChanged,
    Invited,
    Signal,
)
from cti_webitel.verto.timeouts import VertoTimeouts
from cti_webitel.web_phone.keeping import PhoneKeeper
from cti_webitel.web_phone.phone_call import (
    CallCame,
    CallChanged,
    CallMeasured,
    CallOver,
    CallTrouble,
    HoldInDoubt,
    PhoneBack,
    PhoneCall,
    PhoneLost,
    TellsNews,
)
from cti_webitel.web_phone.sound import Sounds

if TYPE_CHECKING:
    from cti_framework.media.peers import MediaPeers

__all__ = ["WebPhone"]

_BYE_FOLLOWS_SECONDS: Final = 1.0
"""How long after the other side ended a call's media its ``verto.bye`` may take."""

_WORD_FOLLOWS_SECONDS: Final = 1.0
"""How long after a hold that was not confirmed the engine may take to tell of it."""


def _ignore(_: object) -> None:
    return


class WebPhone:
    """One user's web phone: signalling and sound.

    ::

        phone = WebPhone("wss://pbx.example:8082", "100@pbx.example", Secret("…"), media=AiortcPeers(), on_news=print)
        async with anyio.create_task_group() as group:
            group.start_soon(phone.live)

    Args:
        url: Where the signalling listens.
        user: ``number@domain``.
        password: The user's password there.
        media: Makes the calls' media.
        on_news: Told what becomes of its calls, and of its connection. It must be quick and must not raise.
        on_callback: Told the dialogs in the words of Webitel's library.
        rings: Whether an incoming call is heard: while somebody talks here it waits, and is heard once nobody does.
        shows_video: Whether video is told of, where both sides have agreed on it.
        clock: The clock of the calls' times.
        policy: How long to wait between attempts to connect.
        timeouts: How long to wait for what.
        on_request: Called with each request before it is sent.
        on_signal: Called with each signal of the server's.
        on_traffic: Called with all that goes over the wire.
        log: A structlog logger.
        open_socket: How to open the WebSocket.

    Attributes:
        client: The signalling.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: Secret[str],
        *,
        media: MediaPeers,
        on_news: TellsNews = _ignore,
        on_callback: Callable[[WebRtcCallback], object] = _ignore,
        rings: bool = True,
        shows_video: bool = False,
        clock: SessionClock | None = None,
        policy: ReconnectPolicy | None = None,
        timeouts: VertoTimeouts | None = None,
        on_request: Callable[[VertoMessage], object] | None = None,
        on_signal: Callable[[Signal], object] = _ignore,
        on_traffic: OnTraffic | None = None,
        log: Any = None,
        open_socket: OpenWebSocket = open_websocket,
    ) -> None:
        self._on_news = on_news
        self._on_callback = on_callback
        self._on_signal = on_signal
        self._rings = rings
        self._shows_video = shows_video
        self._clock = clock or SessionClock()
        self._log = log if log is not None else structlog.get_logger("cti_webitel.web_phone")
        self._sounds = Sounds(media, self._heard_of, self._log)
        self._calls: dict[str, PhoneCall] = {}
        # Those that came while somebody talked here. They are heard when nobody does any more.
        self._unheard: set[str] = set()
        self._tasks: TaskGroup | None = None
        self.client = VertoClient(
            url,
            user,
            password,
            on_signals=self._on_signals,
            on_attach=self._attach,
            user_variables={"verto_user_agent": "cti-framework"},
            on_request=on_request,
            on_traffic=on_traffic,
            timeouts=timeouts,
            log=self._log,
            open_socket=open_socket,
        )
        self._keeper = PhoneKeeper(
            self.client,
            on_back=lambda: self._on_news(PhoneBack()),
            on_lost=self._lost,
            policy=policy or ReconnectPolicy(),
            log=self._log,
        )

    def __repr__(self) -> str:
        return f"<WebPhone {self.client.user}, {len(self._calls)} calls, {'' if self.connected else 'not '}connected>"

    @property
    def connected(self) -> bool:
        """Whether something can be asked."""
        return self.client.connected

    @property
    def error(self) -> CtiError | None:
        """Why it is not connected; ``None``: it is, or no attempt is decided yet."""
        return self._keeper.error

    @property
    def calls(self) -> Mapping[str, PhoneCall]:
        """Its calls, by identifier. They outlive connections."""
        return self._calls

    async def live(self) -> None:
        """Keep it connected, and its calls' media going, until it is cancelled.

        At the end the media is closed and the connection, too. Calls are not hung up: the server keeps those that are answered
        for a while, and they come back when it lives again in time.
        """
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                await self._keeper.keep()
                # What it is to say once more, it says when it is asked to live again.
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            with anyio.CancelScope(shield=True):
                for call in tuple(self._calls.values()):
                    call.silenced.set()
                    await self._sounds.end(call)

    async def settled(self) -> None:
        """Wait until the first attempt to connect is decided."""
        await self._keeper.settled.wait()

    def start(self, act: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
        """Run something beside it, for as long as it lives.

        Args:
            act: What.
            *arguments: What it is given.
        """
        if self._tasks is not None:
            self._tasks.start_soon(act, *arguments)

    # ------------------------------------------------------------------ what can be asked

    def is_ringing(self, call_id: str) -> bool:
        """Tell whether a call can be answered now.

        Args:
            call_id: The call.

        Returns:
            Whether it rings here, and the connection is there to say so.
        """
        dialog = self.client.dialogs.get(call_id)
        return self.connected and dialog is not None and dialog.state is DialogState.RINGING

    def is_talked_on(self, call_id: str) -> bool:
        """Tell whether a call can be held, and keys be pressed in it, by the signalling.

        Args:
            call_id: The call.

        Returns:
            Whether it is answered here, and the connection is there.
        """
        dialog = self.client.dialogs.get(call_id)
        return self.connected and dialog is not None and dialog.is_answered

    async def answer(self, call_id: str) -> None:
        """Answer a call that rings.

        Args:
            call_id: The call.

        Raises:
            NotConnectedError: There is no connection.
            NotAllowedNowError: It does not ring, or is being answered.
            NoSoundError: Its media cannot be begun. It goes on ringing.
            CommandError: The server refused it, or did not say that it is answered.
        """
        call = self._call("answer_call", call_id)
        dialog = self.client.dialogs.get(call_id)
        if call.is_answering or dialog is None or dialog.state is not DialogState.RINGING:
            reason = "it is being answered" if call.is_answering else "it does not ring any more"
            raise NotAllowedNowError(f"answer_call for call {call_id!r}", reason=reason, command="answer_call")
        call.is_answering = True
        call.silenced.set()
        try:
            sdp = await self._sounds.answer(call, call.offer)
            self._changed(call)
            await self.client.answer(call_id, sdp)
        finally:
            call.is_answering = False
            if self._is_state(call_id, DialogState.RINGING):
                # Nothing was sent: it can be tried again.
                await self._sounds.end(call)
                self._ring(call)
                self._changed(call)
        self._active(call)

    async def prepare(self, number: str) -> PhoneCall:
        """Begin the media of a call that is to be made. Nothing is sent.

        Args:
            number: Whom to call.

        Returns:
            The call, for `invite` or `discard`.

        Raises:
            NoSoundError: Its media cannot be begun.
        """
        call = PhoneCall(str(uuid4()), is_incoming=False, began_at=self._clock.now(), number=number)
        call.offer = await self._sounds.offer(call)
        return call

    async def discard(self, call: PhoneCall) -> None:
        """Let go of a call that was prepared and is not to be made.

        Args:
            call: It.
        """
        call.is_over = True
        await self._sounds.end(call)

    async def invite(self, call: PhoneCall) -> None:
        """Make a call that was prepared.

        Args:
            call: It.

        Raises:
            CommandError: The server refused it, or did not say that there is a call.
        """
        self._calls[call.id] = call
        self._on_callback(call.about(OnNewWebRtcCall))
        try:
            await self.client.invite(call.number, call.offer, call_id=call.id)
        except BaseException:
            if call.id not in self.client.dialogs:
                await self._forget(call)
            raise
        if not call.is_over:
            self._on_news(CallCame(call))

    async def hold(self, call_id: str) -> None:
        """Hold a call: the microphone is silent at once, and the server plays to the other side what it is set to.

        Args:
            call_id: The call.

        Raises:
            CommandError: As for `VertoClient.hold`.
        """
        await self._hold(self._call("hold_call", call_id), True)

    async def unhold(self, call_id: str) -> None:
        """Take a call back.

        Args:
            call_id: The call.

        Raises:
            CommandError: As for `VertoClient.unhold`.
        """
        await self._hold(self._call("unhold_call", call_id), False)

    async def send_digits(self, call_id: str, digits: str) -> None:
        """Press keys.

        Args:
            call_id: The call.
            digits: 0 to 9, ``*``, ``#`` and A to D.

        Raises:
            CommandError: As for `VertoClient.send_digits`.
        """
        await self.client.send_digits(self._call("send_dtmf", call_id).id, digits)

    async def hang_up(self, call_id: str, cause: str | None = None) -> None:
        """Hang a call up, or refuse one that rings.

        Args:
            call_id: The call.
            cause: Why, in FreeSWITCH's words; by default the normal way.

        Raises:
            CommandError: As for `VertoClient.hang_up`.
        """
        await self.client.hang_up(self._call("drop_call", call_id).id, cause)

    async def make_sure_of_end(self, call: PhoneCall) -> None:
        """Hang up a call that may be there although nobody was told of it: nobody else could.

        Args:
            call: The call.
        """
        try:
            if not call.is_over:
                await self.client.hang_up(call.id)
        except CommandError as error:
            # After the next log in the server says whether it has it. Until then no microphone is open for it.
            self._log.warning("webitel.web_phone.not_hung_up", call_id=call.id, **error.describe())
            await self._sounds.end(call)

    def mute(self, call_id: str, on: bool) -> None:
        """Switch the microphone of a call off or on. Nothing is sent.

        Args:
            call_id: The call.
            on: Whether it is to be off.

        Raises:
            NotAllowedNowError: It has no media here.
            CtiError: Its media cannot.
        """
        call = self._calls.get(call_id)
        if call is None or call.peer is None:
            raise NotAllowedNowError(f"set_mute for call {call_id!r}", reason="it has no media here", command="set_mute")
        self._sounds.switch(call, muted=on)
        call.is_muted = on
        self._changed(call)

    def follow_hold(self, call_id: str, held: bool) -> None:
        """Have a call's media do what the switch says of the call, whoever asked for it.

        Args:
            call_id: The call.
            held: Whether our side holds it.
        """
        call = self._calls.get(call_id)
        if call is not None:
            self._set_held(call, held)

    def _call(self, verb: str, call_id: str) -> PhoneCall:
        call = self._calls.get(call_id)
        if call is None:
            raise NotAllowedNowError(f"{verb} for call {call_id!r}", reason="the web phone has no such call", command=verb)
        if not self.connected:
            raise NotConnectedError(f"{verb} was not sent: the web phone is not connected.", command=verb)
        return call

    def _is_state(self, call_id: str, state: DialogState) -> bool:
        dialog = self.client.dialogs.get(call_id)
        return dialog is not None and dialog.state is state

    async def _hold(self, call: PhoneCall, held: bool) -> None:
        # Whoever holds must not be heard from here on. Whoever takes back is heard when the server has taken it back.
        if held:
            self._set_held(call, True)
        try:
            await (self.client.hold if held else self.client.unhold)(call.id)
        except CommandUnconfirmedError:
            # Which it is, the next word of the switch says. Where it has none to say, it did nothing.
            self.start(self._doubt_hold, call)
            raise
        except CommandError:
            dialog = self.client.dialogs.get(call.id)
            if dialog is not None:
                self._set_held(call, dialog.is_held)
            raise

    async def _doubt_hold(self, call: PhoneCall) -> None:
        await anyio.sleep(_WORD_FOLLOWS_SECONDS)
        if not call.is_over:
            self._on_news(HoldInDoubt(call))

    def _set_held(self, call: PhoneCall, held: bool) -> None:
        try:
            self._sounds.switch(call, held=held)
        except CtiError as error:
            # The switch holds it all the same; whoever reads on must not be stopped by it.
            self._trouble(call, error)

    # ------------------------------------------------------------------ what the signalling says

    def _on_signals(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            self._on_signal(signal)
            match signal:
                case Invited():
                    self._invited(signal)
                case EarlyMedia():
                    self._accept(signal.call_id, signal.sdp)
                case Answered():
                    self._answered(signal)
                case Attached():
                    self._attached(signal)
                case Displayed() | HoldChanged():
                    self._learn(signal)
                case AttachFailed():
                    self._trouble(self._calls.get(signal.call_id), signal.error)
                case Ended():
                    self._ended(signal)
                case _:
                    pass

    def _lost(self, error: CtiError, goes_on: bool) -> None:
        if not goes_on:
            # Nobody brings their sound back, and a microphone is not left open for nobody.
            for call in self._calls.values():
                call.silenced.set()
                self.start(self._end_sound, call)
        self._on_news(PhoneLost(error, goes_on))

    async def _end_sound(self, call: PhoneCall) -> None:
        await self._sounds.end(call)
        self._changed(call)

    def _invited(self, signal: Invited) -> None:
        call = PhoneCall(signal.call_id, is_incoming=True, began_at=self._clock.now(), offer=signal.sdp)
        call.variables.update(signal.variables)
        self._add(call)
        self._ring(call)

    def _attached(self, signal: Attached) -> None:
        call = self._calls.get(signal.call_id)
        if call is None:
            # Of an earlier life of this session.
            is_incoming = signal.parties.direction != "inbound"
            call = PhoneCall(signal.call_id, is_incoming=is_incoming, began_at=self._clock.now(), offer=signal.sdp)
            call.is_answered = True
            call.number = signal.parties.caller_number if is_incoming else signal.parties.callee_number
            self._add(call)
        else:
            call.is_answered = True
            self._changed(call)

    def _add(self, call: PhoneCall) -> None:
        self._calls[call.id] = call
        dialog = self.client.dialogs.get(call.id)
        if dialog is not None:
            call.learn(dialog)
        self._on_callback(call.about(OnNewWebRtcCall))
        self._on_news(CallCame(call))

    def _answered(self, signal: Answered) -> None:
        call = self._calls.get(signal.call_id)
        if call is None:
            return
        if signal.sdp is not None:
            self._accept(call.id, signal.sdp)
        elif not call.is_described:
            # It comes without one only where media came before it (facts: verto, Calls).
            error = SdpError("The server said that the call is answered, and nothing of its media.")
            self.start(self._without_sound, call, error)
        self._active(call)

    def _learn(self, signal: Displayed | HoldChanged) -> None:
        call = self._calls.get(signal.call_id)
        if call is None:
            return
        if isinstance(signal, HoldChanged):
            self._set_held(call, signal.held)
            if not signal.held:
                self._hold_others(call)
        self._changed(call)

    def _accept(self, call_id: str, sdp: str) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        if call.is_described:
            # Of one offer there is one answer: the sound that is there goes on.
            self._log.debug("webitel.web_phone.described_again", call_id=call_id)
            return
        call.is_described = True
        self.start(self._accept_now, call, sdp)

    async def _accept_now(self, call: PhoneCall, sdp: str) -> None:
        try:
            await self._sounds.accept(call, sdp)
        except CtiError as error:
            await self._without_sound(call, error)
        else:
            self._show_video(call)

    def _active(self, call: PhoneCall) -> None:
        """A call was answered, by whichever side."""
        call.silenced.set()
        call.is_answered = True
        self._show_video(call)
        self._hold_others(call)
        self._changed(call)

    def _hold_others(self, active: PhoneCall) -> None:
        for call in self._calls.values():
            dialog = self.client.dialogs.get(call.id)
            if call is not active and dialog is not None and dialog.state is DialogState.ACTIVE:
                # At once: two must not hear each other.
                self._set_held(call, True)
                self.start(self._hold_beside, call)

    async def _hold_beside(self, call: PhoneCall) -> None:
        if not self.is_talked_on(call.id) or self._is_state(call.id, DialogState.HELD):
            return
        try:
            await self._hold(call, True)
        except CommandError as error:
            self._trouble(call, error)

    def _ended(self, signal: Ended) -> None:
        call = self._calls.pop(signal.call_id, None)
        if call is None:
            return
        call.is_over = True
        call.silenced.set()
        self._on_callback(call.about(OnDestroyWebRtcCall))
        self._on_news(CallOver(call, signal))
        self.start(self._sounds.end, call)
        self._ring_unheard()

    async def _forget(self, call: PhoneCall) -> None:
        """Let go of a call of which the server never knew."""
        if self._calls.pop(call.id, None) is not None:
            self._on_callback(call.about(OnDestroyWebRtcCall))
        await self.discard(call)
        self._ring_unheard()

    async def _attach(self, offered: Attached) -> str | None:
        call = self._calls.get(offered.call_id)
        if call is None:
            return None
        sdp = await self._sounds.answer_again(call, offered.sdp)
        call.was_mended = False
        self._show_video(call)
        self._changed(call)
        self._on_news(HoldInDoubt(call))
        return sdp

    def _ring(self, call: PhoneCall) -> None:
        if not self._rings or call.is_over:
            return
        if any(other.has_media for other in self._calls.values() if other is not call):
            self._unheard.add(call.id)
            return
        self._unheard.discard(call.id)
        call.silenced = anyio.Event()
        self.start(self._ring_until_silenced, call)

    def _ring_unheard(self) -> None:
        """Let those be heard that still ring, where nobody talks any more."""
        for call_id in tuple(self._unheard):
            call = self._calls.get(call_id)
            if call is None or call.is_answering or call.silenced.is_set() or not self._is_state(call_id, DialogState.RINGING):
                self._unheard.discard(call_id)
            else:
                self._ring(call)

    async def _ring_until_silenced(self, call: PhoneCall) -> None:
        try:
            await self._sounds.ringing(call)
        except CtiError as error:
            # It is shown all the same.
            self._log.warning("webitel.web_phone.not_heard", call_id=call.id, **error.describe())

    def _show_video(self, call: PhoneCall) -> None:
        if not self._shows_video or not call.has_video or call.is_video_told:
            return
        if call.is_answered and not call.is_over:
            call.is_video_told = True
            self._on_callback(call.about(OnVideoWebRtcCall))

    def _changed(self, call: PhoneCall) -> None:
        dialog: Dialog | None = self.client.dialogs.get(call.id)
        if dialog is not None:
            call.learn(dialog)
        if call.id in self._calls:
            self._on_news(CallChanged(call))

    def _trouble(self, call: PhoneCall | None, error: CtiError) -> None:
        if call is not None and not call.is_over:
            self._on_news(CallTrouble(call, error))

    # ------------------------------------------------------------------ what the media says

    def _heard_of(self, call: PhoneCall, notice: MediaNotice) -> None:
        if call.is_over:
            return
        match notice:
            case MediaConnected():
                call.was_connected, call.was_mended = True, False
            case QualityMeasured(quality=quality):
                self._on_news(CallMeasured(call, quality))
            case AudioFailed(error=error):
                self._trouble(call, error)
            case MediaFailed(error=error) if not call.was_connected:
                self.start(self._without_sound, call, error)
            case MediaFailed(error=error):
                self.start(self._mend, call, error)
            case MediaEnded():
                self.start(self._mend_unless_over, call)
            case _:
                pass

    async def _without_sound(self, call: PhoneCall, error: CtiError) -> None:
        """Hang up a call whose media never came to be: a call without sound is no call."""
        self._trouble(call, error)
        if not call.is_over and self.connected:
            try:
                await self.client.hang_up(call.id)
            except CommandError as failure:
                self._trouble(call, failure)

    async def _mend_unless_over(self, call: PhoneCall) -> None:
        # Mostly the call is over, and its bye is on the way.
        await anyio.sleep(_BYE_FOLLOWS_SECONDS)
        if call.peer is not None and call.peer.state is MediaState.ENDED:
            await self._mend(call, None)

    async def _mend(self, call: PhoneCall, error: CtiError | None) -> None:
        """Begin new media, once, for a call whose media broke. Without a connection nothing is done: the next one brings some."""
        if call.is_over or call.is_mending or not self.is_talked_on(call.id):
            return
        if call.was_mended:
            # New media did not help: from here on it is silent, and somebody has to know.
            self._trouble(call, error or MediaConnectionError("The other side ended the new media, too, and not the call."))
            return
        call.is_mending = call.was_mended = True
        reason = None if error is None else str(error)
        self._log.warning("webitel.web_phone.media_lost", call_id=call.id, reason=reason)
        try:
            await self._sounds.mend(call, lambda offer: self.client.update_media(call.id, offer))
        except CtiError as failure:
            if self.connected:
                self._trouble(call, failure if error is None else error)
        finally:
            call.is_mending = False
