"""A robot that looks whether one can telephone: it calls the PBX's echo, says a tone, and looks how much of it comes back."""

import anyio

from cti_framework import CallConnected, CtiProviderInitializer, WebRtcQuality
from cti_framework.media import AiortcPeers, LevelMeter, MediaOptions, Tone
from cti_webitel import WebitelCtiProvider

ECHO = "9196"


async def check_the_line() -> None:
    levels: list[float] = []
    peers = AiortcPeers(
        MediaOptions(quality_interval_seconds=1),
        source=lambda call_id: Tone(440, level_dbfs=-18),
        sink=lambda call_id: LevelMeter(levels.append),
    )
    async with WebitelCtiProvider.simulator() as simulation:
        pbx = simulation.web_phone
        assert pbx is not None, "The extra media is not installed: pip install 'cti-framework[media]'"
        initializer = CtiProviderInitializer({"cti.provider": "webitel", **pbx.settings})
        async with initializer.open(pbx.user, media=peers) as model:
            events = model.events()
            call = await model.make_call(ECHO)
            with anyio.fail_after(20):
                async for event in events:
                    if isinstance(event, CallConnected):
                        print("connected")
                    if isinstance(event, WebRtcQuality) and levels and max(levels) > -30:
                        print(f"heard at {max(levels):.0f} dB of full scale, MOS {event.mos:.1f}")
                        break
            await model.drop_call(call)


if __name__ == "__main__":
    anyio.run(check_the_line)
