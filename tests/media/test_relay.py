"""Media that a remote party has: texts go across, sound does not. On both loops, for no aiortc is in it."""

from __future__ import annotations

import anyio
import pytest

from cti_framework.media import (
    IceFailedError,
    MediaConnected,
    MediaCounters,
    MediaEnded,
    MediaFailed,
    MediaNotice,
    MediaState,
    MediaStateError,
    QualityMeasured,
    RelayError,
    RelayPeer,
    RemoteParty,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    if backend == "trio":
        pytest.importorskip("trio", reason="the extra trio is not installed")
    return backend


class Browser:
    """A page with a microphone; it writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusal: Exception | None = None
        self.silent = False

    async def _do(self, what: str) -> str:
        self.asked.append(what)
        if self.silent:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        return f"v=0 {what}"

    async def offer(self) -> str:
        return await self._do("offer")

    async def answer(self, remote_sdp: str) -> str:
        return await self._do(f"answer to {remote_sdp}")

    async def set_remote(self, remote_sdp: str) -> None:
        await self._do(f"set {remote_sdp}")

    async def restart(self) -> str:
        return await self._do("restart")

    async def renegotiate(self, held: bool) -> str:
        return await self._do(f"renegotiate held={held}")

    def switch(self, muted: bool, held: bool) -> None:
        self.asked.append(f"muted={muted} held={held}")

    async def close(self) -> None:
        await self._do("close")


async def test_a_call_goes_out() -> None:
    browser: RemoteParty = Browser()
    assert isinstance(browser, Browser)
    notices: list[MediaNotice] = []
    async with RelayPeer(browser, notices.append) as peer:
        assert await peer.offer() == "v=0 offer"
        with pytest.raises(MediaStateError, match="begun already"):
            await peer.offer()
        # What comes too early is not believed.
        peer.told_connected()
        assert peer.state is MediaState.NEW
        await peer.set_remote("theirs")
        assert peer.state.value == "connecting"
        peer.told_connected()
        await peer.wait_connected()
        peer.mute()
        peer.hold()
        assert await peer.renegotiate() == "v=0 renegotiate held=True"
        with pytest.raises(MediaStateError):
            await peer.renegotiate()
        await peer.set_remote("again")
        with pytest.raises(MediaStateError, match="no offer"):
            await peer.set_remote("once more")
        assert await peer.restart() == "v=0 restart"
        await peer.set_remote("new")
    assert browser.asked == [
        "offer",
        "set theirs",
        "muted=True held=False",
        "muted=True held=True",
        "renegotiate held=True",
        "set again",
        "restart",
        "set new",
        "close",
    ]
    assert notices == [MediaConnected()]


async def test_a_call_comes_in_and_ends() -> None:
    notices: list[MediaNotice] = []
    async with RelayPeer(Browser(), notices.append) as peer:
        assert await peer.answer("theirs") == "v=0 answer to theirs"
        with pytest.raises(MediaStateError):
            await peer.set_remote("x")
        peer.told_connected()
        peer.told_ended()
        assert peer.state is MediaState.ENDED
        await peer.answer("new media")
        peer.told_connected()
    await peer.close()
    assert [type(notice) for notice in notices] == [MediaConnected, MediaEnded, MediaConnected]


async def test_its_quality_is_told() -> None:
    notices: list[MediaNotice] = []
    async with RelayPeer(Browser(), notices.append) as peer:
        assert (await peer.statistics()).packets_received == 0
        peer.told_counters(MediaCounters(at_seconds=1, packets_received=50))
        quality = peer.told_counters(MediaCounters(at_seconds=2, packets_received=90, packets_lost=10))
        assert (await peer.statistics()).packets_received == 90
        assert quality.loss == pytest.approx(0.2)
        assert notices[-1] == QualityMeasured(quality)
        peer.hold()
        # Who holds is sent nothing, and hears none of it.
        assert peer.told_counters(MediaCounters(at_seconds=3, packets_received=90, packets_lost=10)).loss == 1
        assert notices[-1] == QualityMeasured(quality)


async def test_a_party_that_never_answers() -> None:
    browser = Browser()
    browser.silent = True
    with anyio.fail_after(5):
        async with RelayPeer(browser, answer_timeout_seconds=0.05) as peer:
            with pytest.raises(RelayError, match=r"did not do 'offer' within 0.05 s") as raised:
                await peer.offer()
            assert raised.value.remedy and raised.value.retryable
    assert browser.asked == ["offer", "close"]


async def test_a_party_that_refuses() -> None:
    browser = Browser()
    browser.refusal = ConnectionError("the page is gone")
    async with RelayPeer(browser) as peer:
        with pytest.raises(RelayError, match="the page is gone"):
            await peer.answer("theirs")
    assert peer.state is MediaState.CLOSED


async def test_a_party_that_fails() -> None:
    notices: list[MediaNotice] = []
    async with RelayPeer(Browser(), notices.append) as peer:
        await peer.answer("theirs")
        peer.told_failed("NotAllowedError")
        with pytest.raises(RelayError, match="NotAllowedError"):
            await peer.wait_connected()
        peer.told_failed(IceFailedError("No pair of addresses works."))
    assert [type(notice.error) for notice in notices if isinstance(notice, MediaFailed)] == [RelayError, IceFailedError]


async def test_whoever_waits_is_woken_by_the_close() -> None:
    peer = RelayPeer(Browser())
    woken: list[str] = []

    async def wait() -> None:
        with pytest.raises(MediaStateError, match="closed"):
            await peer.wait_connected()
        woken.append("woken")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await peer.close()
    assert woken == ["woken"]
    peer.told_connected()
    peer.told_failed("late")
    assert peer.state is MediaState.CLOSED
    for step in (peer.offer(), peer.answer("x"), peer.set_remote("x"), peer.restart(), peer.renegotiate()):
        with pytest.raises(MediaStateError):
            await step
