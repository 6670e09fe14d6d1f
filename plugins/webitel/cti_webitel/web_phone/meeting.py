"""Where the web phone's calls and the engine's meet: they are one call on the operator's line, whichever is known first.

A dialog's ``callID`` is the ``Unique-ID`` of its leg (facts: webitel-protocol 6), and the engine says which call a leg belongs
to. The two sockets say it in any order, and either can be silent:

- The engine shows the leg: the call is the engine's. The phone says what can be done with it, and how its media is.
- It does not within half a second: the phone shows the call by itself, by the dialog's identifier, so that none rings unseen.
  When the engine shows it later, that is an identifier of its own for the same call, and no second beginning.
- A dialog is over: its call is over where the phone alone had shown it. If the engine goes on showing the leg, it is asked.
- The engine says that a call is over and its dialog lives on: the dialog is hung up, as the library does it.

What can be done with a call is said with its beginning, and again whenever that changes: a call at a desk phone can be neither
answered nor muted from here, nor can one of the phone's be answered while its signalling is away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import attrs

from cti_framework.calls import Call, CallFeature, EndCause, Side
from cti_framework.errors import CommandError, CommandRefusedError, CtiError
from cti_framework.provider import ProviderContext
from cti_framework.reports import (
    Allowed,
    Answered,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    IdChanged,
    InfoChanged,
    MediaEnded,
    MediaMeasured,
    Offered,
    Originated,
    Report,
    Snapshot,
    Trouble,
)
from cti_webitel.asked import AskedCalls
from cti_webitel.engine.callbacks import (
    Callback,
    CallCallback,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnNewLeg,
    OnUnholdCall,
    OnUuidCall,
    WebitelCall,
)
from cti_webitel.engine.client import Webitel
from cti_webitel.engine.headers import ATTENDED_TRANSFER, AUTO_ANSWER
from cti_webitel.looks import LISTENING_FEATURES
from cti_webitel.started import FEATURES
from cti_webitel.translator import Translator
from cti_webitel.web_phone.phone import WebPhone
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
    PhoneNews,
)
from cti_webitel.web_phone.showing import beginning, end_of, media_of, news_of, snapshot_of

__all__ = ["Meeting"]

_SHOWN_WITHIN_SECONDS: Final = 0.5
"""How long the engine may take to show the leg of a dialog before the phone shows the call by itself."""
_OVER_WITHIN_SECONDS: Final = 1.0
"""How long the two may differ on whether a call is over."""
_ALONE: Final = CallFeature.DROP | CallFeature.HOLD | CallFeature.UNHOLD | CallFeature.DTMF
"""What can be done with a call that only the phone shows: the engine's commands do not reach it."""

_ENDS: Final = frozenset({"CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"})
"""By these a call gets the identifier of its record, at its end: the callback that follows has the former one."""


class _Place:
    """Where a dialog's call stands on the line.

    Attributes:
        call: The dialog's call.
        shown_as: What the line calls it; ``None``: nothing shows it yet.
        by_engine: The engine shows it.
    """

    __slots__ = ("by_engine", "call", "shown_as")

    def __init__(self, call: PhoneCall) -> None:
        self.call = call
        self.shown_as: str | None = None
        self.by_engine = False


class Meeting:
    """Makes one call of what the two say.

    Args:
        context: The session's.
        webitel: The engine's client.
        translator: Turns the engine's callbacks into reports.
        asked: The calls that are waited for.
        phone: The web phone.
        own_number: The operator's number.
        tell: Reports, while a connection to the engine is logged in; drops what is said at other times.
        is_live: Whether one is.
        look_at_once: Asks the engine for its calls.
        auto_answer: ``never``, ``always`` or ``by_variable``.
    """

    def __init__(
        self,
        context: ProviderContext,
        webitel: Webitel,
        translator: Translator,
        asked: AskedCalls,
        phone: WebPhone,
        *,
        own_number: str,
        tell: Callable[..., None],
        is_live: Callable[[], bool],
        look_at_once: Callable[[], None],
        auto_answer: str,
    ) -> None:
        self._context = context
        self._webitel = webitel
        self._translator = translator
        self._asked = asked
        self._phone = phone
        self._own_number = own_number
        self._tell = tell
        self._is_live = is_live
        self._look_at_once = look_at_once
        self._auto_answer = auto_answer
        self._places: dict[str, _Place] = {}
        self._allowed: dict[str, CallFeature] = {}
        # By the dialog: the call that its media was told of, for a call can be called otherwise when it is over.
        self._media_told: dict[str, str] = {}
        self._video_told: set[str] = set()
        self._wanted: set[str] = set()
        self._untold: list[Trouble] = []

    # ------------------------------------------------------------------ what the provider asks

    def dialogs_of(self, call_id: str) -> tuple[str, ...]:
        """Find the dialogs of a call.

        Args:
            call_id: What the line calls it, or called it.

        Returns:
            Those that there are, the one that is talked on first.
        """
        known = self._context.call(call_id)
        name = call_id if known is None else known.id
        found = [place.call for place in self._places.values() if place.shown_as == name and not place.call.is_over]
        return tuple(call.id for call in sorted(found, key=lambda call: not call.is_answered))

    def allowed(self, call_id: str) -> CallFeature:
        """Tell what can be done with a call that the engine shows, or the phone alone.

        Args:
            call_id: What the line calls it.

        Returns:
            What the two accept for it.
        """
        places = [place for place in self._places.values() if place.shown_as == call_id and not place.call.is_over]
        if places and not any(place.by_engine for place in places):
            features = _ALONE if self._phone.connected else CallFeature.NONE
        else:
            features = LISTENING_FEATURES if self._translator.is_listening(call_id) else FEATURES
        if any(self._phone.is_ringing(place.call.id) for place in places):
            features |= CallFeature.ANSWER
        if any(place.call.has_media for place in places):
            features |= CallFeature.MUTE
        return features

    def asked_for(self, call_id: str) -> None:
        """Note that the user asked for a call, so that the phone picks it up by itself.

        Args:
            call_id: What the line calls it.
        """
        known = self._context.call(call_id)
        if known is None or known.parent_id is None or self.dialogs_of(known.parent_id):
            # An enquiry for a call at a desk phone belongs there, where the receiver is in the operator's hand.
            self._wanted.add(call_id)
        for place in tuple(self._places.values()):
            if place.shown_as == call_id:
                self._answer_if_wanted(place)
        self._retell(call_id)

    def started(self) -> None:
        """Say what happened while no connection to the engine was there."""
        self._tell(*self._untold)
        self._untold.clear()
        for dialog_id, call_id in tuple(self._media_told.items()):
            call = self._phone.calls.get(dialog_id)
            if call is None or not call.has_media:
                self._forget_media(dialog_id, call_id)

    def complete(self, snapshot: Snapshot) -> Snapshot:
        """Add to the engine's calls what only the phone knows.

        Args:
            snapshot: What the engine has.

        Returns:
            The same, with the calls that only the phone has.
        """
        calls = list(snapshot.calls)
        there = {item.call_id for item in calls}
        for place in self._places.values():
            call = place.call
            if call.is_over or place.shown_as in there or self._is_young(place):
                continue
            # A call that the engine had and does not have any more goes on as what the phone has.
            place.by_engine = self._webitel.call_of(call.id) is not None
            call_id = place.shown_as = place.shown_as or call.id
            known = self._context.call(call_id)
            calls.append(snapshot_of(call, call_id, self._own_number, self._allow(call_id), known))
            there.add(call_id)
        return attrs.evolve(snapshot, calls=tuple(calls)) if snapshot.complete else snapshot

    def describe(self, item: CallSnapshot) -> CallSnapshot:
        """Add to a call that a look found what the phone knows of it.

        Args:
            item: The call, as the switch has it.

        Returns:
            It, with what can be done with it, and what the phone called it before.
        """
        former_ids: list[str] = []
        muted: bool | None = None
        for place in self._places.values():
            if not place.call.is_over and self._webitel.call_of(place.call.id) == item.call_id:
                if place.shown_as not in (None, item.call_id):
                    merged = self._merged(place, item.call_id)
                    if isinstance(merged[-1], Ended):
                        self._tell(*merged)
                    else:
                        former_ids.append(place.shown_as or "")
                self._meet(place, item.call_id)
                muted = place.call.is_muted
        return attrs.evolve(item, former_ids=(*item.former_ids, *former_ids), allowed=self._allow(item.call_id), muted=muted)

    def keeps(self, call_id: str) -> bool:
        """Tell whether a call that the switch is said not to have goes on here.

        Args:
            call_id: What the line calls it.

        Returns:
            Whether a dialog of it lives; then it is the phone's alone from now on.
        """
        kept = False
        for place in self._places.values():
            if place.shown_as == call_id and not place.call.is_over and self._phone.connected:
                place.by_engine, kept = False, True
                self._phone.start(self._bring_up_later, place)
        return kept

    def catch_up(self) -> None:
        """Tell what could not be told before the line knew the calls."""
        for place in tuple(self._places.values()):
            self._bring_up(place)
        self._wanted = {call_id for call_id in self._wanted if self._context.call(call_id) is not None}
        for call_id in tuple(self._allowed):
            self._retell(call_id)

    # ------------------------------------------------------------------ what the engine says

    def translate(self, callback: Callback) -> tuple[Report, ...]:
        """Turn one of the engine's callbacks into what it reports, with what the phone knows.

        Args:
            callback: As the protocol gives it.

        Returns:
            The reports, in order.
        """
        reports = self._translator.translate(callback)
        match callback:
            case OnNewCall():
                return self._begun(callback, reports)
            case OnNewLeg():
                return (*reports, *self._joined(callback))
            case OnUuidCall(new_id=new_id) if new_id and callback.trigger not in _ENDS:
                self._renamed(callback.call.uuid, new_id)
            case OnHangupCall():
                return (*self._engine_ended(callback.call.uuid), *reports)
            case OnHoldCall() | OnUnholdCall():
                self._follow_hold(callback)
            case _:
                pass
        return reports

    def _places_of(self, call: WebitelCall, *leg_uuids: str) -> list[_Place]:
        legs = {*leg_uuids, call.channel_uuid}
        return [
            place for place in self._places.values() if place.call.id in legs or self._webitel.call_of(place.call.id) == call.uuid
        ]

    def _begun(self, callback: OnNewCall, reports: tuple[Report, ...]) -> tuple[Report, ...]:
        call = callback.call
        call_id = call.uuid
        told: list[Report] = []
        alone: Call | None = None
        for place in self._places_of(call, callback.leg_uuid):
            if place.shown_as is not None and not place.call.is_over:
                alone = self._context.call(place.shown_as) or alone
                if alone is not None and alone.id != call_id:
                    told += self._merged(place, call_id)
            self._meet(place, call_id, call)
        allowed = self._allow(call_id)
        for report in reports:
            if isinstance(report, Offered | Originated) and alone is None:
                told.append(attrs.evolve(report, allowed=allowed))
            elif isinstance(report, Offered | Originated):
                told += self._known_already(report, alone, allowed)
            elif alone is None or not _is_known(report, alone):
                told.append(report)
        for place in self._places.values():
            if place.shown_as == call_id:
                # It is told after the call itself, when the line has it.
                self._phone.start(self._bring_up_later, place)
        return tuple(told)

    def _known_already(self, report: Offered | Originated, alone: Call | None, allowed: CallFeature) -> tuple[Report, ...]:
        parent_id = report.parent_id if isinstance(report, Originated) else None
        at = self._context.clock.now()
        news = InfoChanged(
            at=at,
            call_id=report.call_id,
            own=report.own,
            other=report.other if report.other.number or alone is None else None,
            parent_id=parent_id,
            attributes=report.attributes or None,
        )
        return news, Allowed(at=at, call_id=report.call_id, features=allowed)

    def _joined(self, callback: OnNewLeg) -> tuple[Report, ...]:
        call_id = callback.call.uuid
        reports: tuple[Report, ...] = ()
        for place in self._places.values():
            if place.call.id == callback.leg_uuid and not place.call.is_over:
                if place.shown_as not in (None, call_id):
                    reports += self._merged(place, call_id)
                self._meet(place, call_id, callback.call)
                self._phone.start(self._bring_up_later, place)
        return reports

    def _merged(self, place: _Place, call_id: str) -> tuple[Report, ...]:
        """Tell that what the phone had shown alone is a call of the engine's."""
        at, alone_id = self._context.clock.now(), place.shown_as or place.call.id
        self._allowed.pop(alone_id, None)
        if self._context.call(call_id) is None:
            return (IdChanged(at=at, call_id=alone_id, new_id=call_id),)
        # The line has both, and both were seen to begin. The engine's goes on.
        ended = Ended(at=at, call_id=alone_id, cause=EndCause.RESYNC)
        if self._media_told.pop(place.call.id, None) is None:
            return (ended,)
        return MediaEnded(at=at, call_id=alone_id, media_id=place.call.id), ended

    def _renamed(self, old: str, new: str) -> None:
        for place in self._places.values():
            if place.shown_as == old:
                place.shown_as = new
        if old in self._wanted:
            self._wanted.add(new)
        if old in self._allowed:
            self._allowed[new] = self._allowed.pop(old)

    def _engine_ended(self, call_id: str) -> tuple[Report, ...]:
        self._allowed.pop(call_id, None)
        self._wanted.discard(call_id)
        at = self._context.clock.now()
        told: list[Report] = []
        for place in self._places.values():
            if place.shown_as == call_id:
                place.by_engine = False
                if place.call.id in self._media_told:
                    # Of a call that is over nothing can be told.
                    del self._media_told[place.call.id]
                    told.append(MediaEnded(at=at, call_id=call_id, media_id=place.call.id))
                place.call.silenced.set()
                self._phone.start(self._end_ghost, place, call_id)
        return tuple(told)

    async def _end_ghost(self, place: _Place, call_id: str) -> None:
        """Hang up a dialog whose call is over for the engine."""
        await anyio.sleep(_OVER_WITHIN_SECONDS)
        if place.call.is_over or place.shown_as != call_id or self._context.call(call_id) is not None:
            return
        self._context.log.warning("webitel.web_phone.ghost", call_id=call_id, dialog=place.call.id)
        await self._phone.make_sure_of_end(place.call)

    def _follow_hold(self, callback: CallCallback) -> None:
        held = isinstance(callback, OnHoldCall)
        for place in self._places.values():
            if place.call.id == callback.leg_uuid and place.call.is_answered:
                self._phone.follow_hold(place.call.id, held)

    def _agree_on_hold(self, call: PhoneCall) -> None:
        """Have a call's media be held as the line shows the call: it was silenced before the server was asked."""
        place = self._places.get(call.id)
        known = None if place is None else self._known(place)
        if known is not None and not known.stale:
            self._phone.follow_hold(call.id, Side.OWN in known.held_by)

    # ------------------------------------------------------------------ what the phone says

    def take(self, news: PhoneNews) -> None:
        """Take what the phone tells.

        Args:
            news: It.
        """
        match news:
            case CallCame(call=call):
                self._came(call)
            case CallChanged(call=call):
                place = self._places.get(call.id)
                if place is not None:
                    self._bring_up(place)
            case HoldInDoubt(call=call):
                self._agree_on_hold(call)
            case CallOver():
                self._over(news)
            case CallMeasured(call=call, quality=quality):
                place = self._places.get(call.id)
                if place is not None and (known := self._known(place)) is not None:
                    self._tell(
                        MediaMeasured(
                            at=self._context.clock.now(),
                            call_id=known.id,
                            media_id=call.id,
                            mos=quality.mos,
                            loss=quality.loss,
                            jitter_seconds=quality.jitter_seconds,
                            round_trip_seconds=quality.round_trip_seconds,
                        )
                    )
            case CallTrouble(call=call, error=error):
                place = self._places.get(call.id)
                self._trouble(error, None if place is None else place.shown_as)
            case PhoneBack():
                self._retell_all()
            case PhoneLost(error=error):
                self._trouble(error)
                self._retell_all()
            case _:
                pass

    def _came(self, call: PhoneCall) -> None:
        place = self._places.get(call.id)
        if place is None:
            place = self._places[call.id] = _Place(call)
        if place.shown_as is None and not self._meet_if_shown(place):
            self._phone.start(self._show_later, place)

    def _meet_if_shown(self, place: _Place) -> bool:
        call_id = self._webitel.call_of(place.call.id)
        known = None if call_id is None else self._context.call(call_id)
        if known is None:
            return False
        self._meet(place, known.id)
        self._bring_up(place)
        return True

    def _meet(self, place: _Place, call_id: str, call: WebitelCall | None = None) -> None:
        """Note that the engine shows a dialog's call."""
        place.shown_as = call_id
        place.by_engine = True
        if call is None:
            call = self._webitel.call_told(place.call.id)
        if call is not None and self._picks_up(place, call):
            self._wanted.add(call_id)
        self._phone.start(self._answer_later, place)

    def _picks_up(self, place: _Place, call: WebitelCall) -> bool:
        """Tell whether the phone answers a call by itself for what the engine says of it."""
        parent_id = call.headers.get(ATTENDED_TRANSFER)
        if isinstance(parent_id, str) and parent_id:
            # An enquiry for a call that the operator has at this phone: his microphone is open for it already.
            parent = self._context.call(parent_id)
            return parent is not None and bool(self.dialogs_of(parent.id))
        return self._auto_answer == "by_variable" and call.headers.get(AUTO_ANSWER) == "true" and self._is_free(place)

    def _is_free(self, place: _Place) -> bool:
        return not any(other.call.has_media or other.call.is_answered for other in self._places.values() if other is not place)

    async def _answer_later(self, place: _Place) -> None:
        self._answer_if_wanted(place)

    def _answer_if_wanted(self, place: _Place) -> None:
        call = place.call
        if place.shown_as is None or not call.is_incoming or call.is_answering or not self._phone.is_ringing(call.id):
            return
        if place.shown_as in self._wanted or (self._auto_answer == "always" and self._is_free(place)):
            self._phone.start(self._pick_up, place)

    async def _pick_up(self, place: _Place) -> None:
        call = place.call
        if call.is_answering or not self._phone.is_ringing(call.id):
            return
        try:
            await self._phone.answer(call.id)
        except CommandError as error:
            if not call.is_over:
                self._trouble(error, place.shown_as)

    async def _show_later(self, place: _Place) -> None:
        await anyio.sleep(_SHOWN_WITHIN_SECONDS)
        # Without a connection to the engine the next snapshot shows it.
        if not place.call.is_over and place.shown_as is None and not self._meet_if_shown(place) and self._is_live():
            self._show(place)

    def _show(self, place: _Place) -> None:
        """Show a call that the engine does not show."""
        call = place.call
        call_id = place.shown_as = call.id
        self._context.log.info("webitel.web_phone.shown_alone", call_id=call_id)
        self._tell(beginning(call, call_id, self._own_number, self._allow(call_id)))
        known = self._context.call(call_id)
        if known is not None and not call.is_incoming:
            self._asked.match_leg(call.id, known)
        self._bring_up(place)
        self._answer_if_wanted(place)

    async def _bring_up_later(self, place: _Place) -> None:
        self._bring_up(place)

    def _known(self, place: _Place) -> Call | None:
        return None if place.shown_as is None or not self._is_live() else self._context.call(place.shown_as)

    def _bring_up(self, place: _Place) -> None:
        """Have the line agree with the phone on one call."""
        call, known = place.call, self._known(place)
        if known is None or call.is_over:
            return
        at = self._context.clock.now()
        if not place.by_engine:
            self._tell(*news_of(call, known, at))
        reports = media_of(call, known, self._media_told, self._video_told, at)
        if call.has_media:
            self._media_told[call.id] = known.id
            if call.is_video_told:
                self._video_told.add(call.id)
        else:
            self._media_told.pop(call.id, None)
        self._tell(*reports)
        self._retell(known.id)

    def _over(self, news: CallOver) -> None:
        call, ended = news.call, news.ended
        place = self._places.get(call.id)
        if place is None:
            # It was refused before it was a call.
            self._refuse_asked(call, news)
            return
        known = self._known(place)
        if known is None:
            if place.shown_as is None and not call.is_incoming:
                self._refuse_asked(call, news)
            elif place.shown_as is None and self._is_live():
                # It rang for less than the engine may take to show it: it is told by whichever of the two shows it first.
                self._phone.start(self._tell_missed, place, news)
                return
            self._drop(place)
            return
        if call.id in self._media_told:
            self._forget_media(call.id, known.id)
        if place.by_engine and self._webitel.call_of(call.id) is not None:
            self._retell(known.id)
            self._phone.start(self._see_it_end, call.id)
        elif not place.by_engine and not any(other != call.id for other in self.dialogs_of(known.id)):
            self._allowed.pop(known.id, None)
            self._tell(end_of(call, known.id, ended.cause, ended.by, self._context.clock.now()))
        else:
            self._retell(known.id)
        self._drop(place)

    async def _tell_missed(self, place: _Place, news: CallOver) -> None:
        await anyio.sleep(_SHOWN_WITHIN_SECONDS)
        if place.shown_as is None and self._is_live():
            call_id = place.call.id
            self._tell(beginning(place.call, call_id, self._own_number, CallFeature.NONE))
            self._tell(end_of(place.call, call_id, news.ended.cause, news.ended.by, self._context.clock.now()))
        self._drop(place)

    def _refuse_asked(self, call: PhoneCall, news: CallOver) -> None:
        self._phone.start(self._refuse_later, call, news)

    async def _refuse_later(self, call: PhoneCall, news: CallOver) -> None:
        # The engine may still show it, with its end.
        await anyio.sleep(_SHOWN_WITHIN_SECONDS)
        cause = news.ended.cause
        self._asked.fail_leg(
            call.id,
            CommandRefusedError(
                f"The server ended the call to {call.number} at once: {cause or 'no reason given'}.",
                pbx_text=None if cause is None else cause.name,
                command="make_call",
                remedy="The number may be unknown or busy, or the sound of the web phone be refused.",
            ),
        )

    async def _see_it_end(self, leg_uuid: str) -> None:
        """Ask the engine, where it goes on showing a leg whose dialog is over."""
        await anyio.sleep(_OVER_WITHIN_SECONDS)
        if self._webitel.call_of(leg_uuid) is not None and self._is_live():
            self._look_at_once()

    def _drop(self, place: _Place) -> None:
        self._places.pop(place.call.id, None)
        self._video_told.discard(place.call.id)
        self._wanted.discard(place.shown_as or "")
        if place.call.id in self._media_told and place.shown_as is not None:
            self._forget_media(place.call.id, place.shown_as)

    def _forget_media(self, dialog_id: str, call_id: str) -> None:
        if self._is_live():
            self._media_told.pop(dialog_id, None)
            if self._context.call(call_id) is not None:
                self._tell(MediaEnded(at=self._context.clock.now(), call_id=call_id, media_id=dialog_id))

    # ------------------------------------------------------------------ what can be done with them

    def _allow(self, call_id: str) -> CallFeature:
        """Tell what can be done with a call, to whoever says it now."""
        self._allowed[call_id] = features = self.allowed(call_id)
        return features

    def _retell(self, call_id: str) -> None:
        """Say what can be done with a call, where that is not what was said last."""
        known = self._context.call(call_id) if self._is_live() else None
        if known is None or known.stale:
            # Of one that may be over for long, the next snapshot says it, if it has the call.
            self._allowed.pop(call_id, None)
            return
        before = self._allowed.get(call_id)
        features = self._allow(call_id)
        if features != before:
            self._tell(Allowed(at=self._context.clock.now(), call_id=call_id, features=features))

    def _retell_all(self) -> None:
        for call_id in tuple(self._allowed):
            self._retell(call_id)

    def _is_young(self, place: _Place) -> bool:
        """Whether the engine may still show it in time."""
        age = (self._context.clock.now() - place.call.began_at).total_seconds()
        return place.shown_as is None and age < _SHOWN_WITHIN_SECONDS

    def _trouble(self, error: CtiError, call_id: str | None = None) -> None:
        trouble = Trouble(at=self._context.clock.now(), error=error, call_id=call_id)
        if self._is_live():
            self._tell(trouble)
        else:
            self._untold[:] = [*self._untold[-3:], trouble]


def _is_known(report: Report, known: Call) -> bool:
    """Whether the line has it already of a call that the phone has shown."""
    match report:
        case Answered():
            return known.answered_at is not None
        case Connected():
            return known.connected_at is not None
        case Held(by=by):
            return by in known.held_by
        case _:
            return False
