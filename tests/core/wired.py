"""A provider of the tests' own with a wire: its frames are words, and each word is a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import anyio
import attrs
from typed_settings.types import Secret

from cti_framework.calls import Call, CallFeature, EndCause, Party
from cti_framework.errors import CredentialsRefusedError, NetworkError
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, Capabilities, ProviderContext, ReplayLine
from cti_framework.recorder import FrameDirection
from cti_framework.reports import Answered, Connected, Ended, Offered, Originated, Report, Snapshot, Started
from cti_framework.settings import setting

SECRET = "canary-4b1d"
TOKEN = "canary-token-9"


@attrs.frozen(kw_only=True)
class WiredSettings:
    address: str = setting(default=f"ws://user:{SECRET}@pbx.example")
    mode: str = setting(default="")
    token: str = setting(default="", secret=True)


@attrs.frozen(kw_only=True)
class WiredUserSettings:
    password: Secret[str] | None = setting(default=None)


class WiredProvider(BaseCtiProvider):
    capabilities: ClassVar[Capabilities] = Capabilities(calls=CallFeature.DIAL | CallFeature.DROP)
    settings_type = WiredSettings
    user_settings_type = WiredUserSettings
    latest: ClassVar[WiredProvider]

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.cut = anyio.Event()
        type(self).latest = self

    async def run(self) -> None:
        context, settings = self.context, self.context.settings
        if settings.mode == "nobody":
            raise NetworkError(f"Nobody answers at {settings.address}.")
        password = self.context.user_settings.password
        said = password.get_secret_value() if password is not None else ""
        context.frame(FrameDirection.OPEN, settings.address)
        context.frame(FrameDirection.TO_PBX, json.dumps({"log in": "100", "password": said, "remark": f"token={settings.token}"}))
        if settings.mode == "refuses":
            raise CredentialsRefusedError("The PBX refuses user 100.")
        try:
            self.hear("ready", echo=f"welcome {said}")
            if settings.mode == "talks":
                for word in ("offered", "answered", "connected", "ended"):
                    self.hear(word)
            await self.cut.wait()
        finally:
            context.frame(FrameDirection.CLOSE, {"code": 1006, "reason": ""})
        raise NetworkError("The line was cut.")

    def hear(self, word: str, **more: Any) -> None:
        self.context.frames(FrameDirection.FROM_PBX, [json.dumps({"say": word, **more}).encode()])
        for report in reports_of(word, self.context.clock.now()):
            self.context.report(report)

    async def snapshot(self) -> Snapshot:
        return Snapshot(at=self.context.clock.now(), complete=False)

    async def make_call(self, destination: str) -> Call:
        self.hear("originated")
        call = self.context.call("c")
        assert call is not None
        return call

    async def drop_call(self, call: Call) -> None:
        self.hear("ended")

    @classmethod
    def replay(cls, lines: Iterable[str]) -> Iterator[ReplayLine]:
        began = datetime(2026, 1, 1, tzinfo=UTC)
        for entry in map(json.loads, lines):
            seconds = entry["t"] / 1000
            if entry["dir"] == "s2c":
                word = entry["frame"]["say"]
                reports = tuple(reports_of(word, began + timedelta(seconds=seconds)))
                yield ReplayLine(seconds, word, reports=reports, text=word)
            elif entry["dir"] == "close":
                yield ReplayLine(seconds, None, text="over", disconnected=True)


def reports_of(word: str, at: datetime) -> Iterator[Report]:
    match word:
        case "ready":
            yield Started(at=at, own_numbers=("100",))
        case "originated":
            yield Originated(at=at, call_id="c", other=Party("5"))
        case "offered":
            yield Offered(at=at, call_id="c", other=Party("5"))
        case "answered":
            yield Answered(at=at, call_id="c")
        case "connected":
            yield Connected(at=at, call_id="c")
        case "ended":
            yield Ended(at=at, call_id="c", cause=EndCause.NORMAL)


def wired_plugins() -> Plugins:
    return Plugins(
        entry_points=lambda: [
            EntryPoint("wired", "tests.core.wired:WiredProvider", "cti_framework.providers"),
            EntryPoint("broken", "tests.core.wired:NotThere", "cti_framework.companions"),
        ]
    )
