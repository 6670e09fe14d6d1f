"""`WebPhone` without a provider: its calls, in the words of Webitel's library, and what becomes of its connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from typed_settings.types import Secret

from cti_framework.back_off import ReconnectPolicy
from cti_framework.errors import AddressError, NotAllowedNowError, NotConnectedError, OutageKind
from cti_webitel.engine.callbacks import WEB_PHONE_CALLBACKS, WebRtcCallback
from cti_webitel.verto.errors import SessionTakenError
from cti_webitel.web_phone.phone import WebPhone
from cti_webitel.web_phone.phone_call import CallCame, CallOver, PhoneBack, PhoneLost, PhoneNews
from tests.webitel.verto_server import OFFER, PATIENCE_SECONDS, URL, USER, VertoServer
from tests.webitel.web_phone_bench import SDP, VIDEO, FakePeers

pytestmark = pytest.mark.anyio

CALL = "0360199f-fa1f-447b-93ee-18524bd684f3"
SWIFT = ReconnectPolicy(initial_delay_seconds=0.01, maximum_delay_seconds=0.02)


class Alone:
    def __init__(self, *, shows_video: bool = False) -> None:
        self.server = VertoServer()
        self.peers = FakePeers()
        self.news: list[PhoneNews] = []
        self.callbacks: list[WebRtcCallback] = []
        self._came = anyio.Event()
        self.phone = WebPhone(
            URL,
            USER,
            Secret("hunter2"),
            media=self.peers,
            on_news=self._take,
            on_callback=self.callbacks.append,
            shows_video=shows_video,
            policy=SWIFT,
            open_socket=self.server.open,
        )

    def _take(self, news: PhoneNews) -> None:
        self.news.append(news)
        came, self._came = self._came, anyio.Event()
        came.set()

    async def until(self, kind: type[PhoneNews], times: int = 1) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len([news for news in self.news if isinstance(news, kind)]) < times:
                await self._came.wait()

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.phone.live)
            yield
            tasks.cancel_scope.cancel()
        assert self.peers.open == 0

    async def invite(self, sdp: str = OFFER) -> None:
        await self.server.say("verto.invite", callID=CALL, sdp=sdp, caller_id_number="067", caller_id_name="ACME")
        await self.until(CallCame)

    def names(self) -> list[str]:
        return [callback.name for callback in self.callbacks]


async def test_a_call_in_the_librarys_words() -> None:
    alone = Alone(shows_video=True)
    alone.peers.sdp = SDP + VIDEO
    async with alone.living():
        await alone.until(PhoneBack)
        await alone.invite(OFFER + VIDEO)
        assert alone.phone.is_ringing(CALL)
        await alone.phone.answer(CALL)
        assert alone.phone.is_talked_on(CALL)
        await alone.phone.hang_up(CALL)
        await alone.until(CallOver)
    assert alone.names() == [kind.name for kind in WEB_PHONE_CALLBACKS]
    told = {"callID": CALL, "direction": "inbound", "remoteNumber": "067", "remoteName": "ACME"}
    assert [callback.payload() for callback in alone.callbacks] == [told] * 3


async def test_a_call_of_ones_own() -> None:
    alone = Alone()
    async with alone.living():
        await alone.until(PhoneBack)
        call = await alone.phone.prepare("9196")
        assert alone.server.methods() == ["login"]
        await alone.phone.invite(call)
        assert alone.callbacks[0].payload() == {"callID": call.id, "direction": "outbound", "remoteNumber": "9196"}
        await alone.server.say("verto.answer", callID=call.id, sdp=OFFER)
        await alone.server.say("verto.display", callID=call.id, display_name="Echo", display_number="9196")
        await alone.server.say("verto.bye", callID=call.id, causeCode=16, cause="NORMAL_CLEARING")
        await alone.until(CallOver)
        assert (call.is_answered, call.is_over, call.name) == (True, True, "Echo")
        assert repr(call).endswith("over>")


async def test_a_call_that_was_prepared_and_not_made() -> None:
    alone = Alone()
    async with alone.living():
        await alone.until(PhoneBack)
        call = await alone.phone.prepare("9196")
        assert alone.peers.open == 1
        await alone.phone.discard(call)
        assert alone.peers.open == 0
    assert alone.callbacks == []


async def test_an_outage_is_told_once_and_the_return_too() -> None:
    alone = Alone()
    async with alone.living():
        await alone.until(PhoneBack)
        alone.server.silent.add("login")
        alone.server.sockets[-1].cut()
        await alone.until(PhoneLost)
        await alone.server.asked("login", 2)
        alone.server.silent.clear()
        alone.server.sockets[-1].cut()
        await alone.until(PhoneBack, 2)
        lost = [news for news in alone.news if isinstance(news, PhoneLost)]
        assert [news.is_tried_again for news in lost] == [True]
        assert OutageKind.of(lost[0].error) is OutageKind.LOST


async def test_refused_credentials_are_not_tried_again() -> None:
    alone = Alone()
    alone.server.refusals["login"] = {"code": -32001, "message": "Authentication Failure"}
    with anyio.fail_after(PATIENCE_SECONDS):
        await alone.phone._keeper.keep()
    assert alone.server.methods() == ["login"]
    # Until somebody connects anew.
    alone.server.refusals.clear()
    async with alone.living():
        await alone.until(PhoneBack)


async def test_it_lives_again_after_its_session_was_taken() -> None:
    alone = Alone()
    first = alone.phone.client.session_id
    async with alone.living():
        await alone.until(PhoneBack)
        await alone.server.say("verto.punt")
        await alone.until(PhoneLost)
        assert [news.is_tried_again for news in alone.news if isinstance(news, PhoneLost)] == [False]
        assert isinstance(next(news.error for news in alone.news if isinstance(news, PhoneLost)), SessionTakenError)
    async with alone.living():
        await alone.until(PhoneBack, 2)
        assert alone.phone.client.session_id != first


async def test_an_address_that_is_none() -> None:
    alone = Alone()
    alone.phone = WebPhone("http://pbx.example", USER, Secret("x"), media=alone.peers, on_news=alone._take)
    async with alone.living():
        await alone.phone.settled()
        await alone.until(PhoneLost)
        (lost,) = alone.news
        assert isinstance(lost, PhoneLost)
        assert isinstance(lost.error, AddressError)


async def test_what_cannot_be_asked() -> None:
    alone = Alone()
    with pytest.raises(NotAllowedNowError):
        await alone.phone.answer(CALL)
    with pytest.raises(NotAllowedNowError):
        alone.phone.mute(CALL, True)
    async with alone.living():
        await alone.until(PhoneBack)
        await alone.invite()
        await alone.phone.answer(CALL)
        with pytest.raises(NotAllowedNowError):
            await alone.phone.answer(CALL)
        alone.server.silent.add("login")
        alone.server.sockets[-1].cut()
        await alone.until(PhoneLost)
        # The microphone can be switched off all the same.
        alone.phone.mute(CALL, True)
        assert alone.peers.of(CALL).muted
        with pytest.raises(NotConnectedError):
            await alone.phone.hang_up(CALL)
    assert repr(alone.phone).endswith("not connected>")
