"""What hosts do with sessions, with marked secrets, carelessly: everything that may show one is shown to the canary."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel
import structlog
import trustme
from typed_settings.types import Secret

from cti_framework.back_off import ReconnectPolicy
from cti_framework.blocking import open_session
from cti_framework.errors import CtiError
from cti_framework.events import CallConnected, CallFinished, CallHeld, CallUnheld, Event, RawMessage
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from cti_framework.transport import safe_url
from cti_webitel.engine.client import Webitel
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.recordings import Recording
from tests.canary.canary import MARK, Canary
from tests.core.scripted import Pbx, ScriptedProvider
from tests.core.tls_front import client_files
from tests.webitel.sessions import FAR, PATIENCE_SECONDS

__all__ = [
    "ACCOUNT",
    "PIN",
    "SPOKEN",
    "UUID",
    "Marked",
    "all_scenarios",
    "blocking_scenario",
    "marked_simulator",
    "unknown_secrets",
]

SPOKEN: Final = "spoken by a plugin"
"""A secret that a plugin wrote into the text of its own error: Python's tracebacks quote that, and nobody else may."""
PIN: Final = "digits of a PIN"
UUID: Final = "08080808-0000-4000-8000-000000000008"
ACCOUNT: Final = "300@demo.local"

_log = structlog.get_logger("careless_host")


class Marked:
    """A simulator with an account whose secrets are all marked."""

    def __init__(self, canary: Canary, simulator: WebitelSimulator) -> None:
        self.canary = canary
        self.simulator = simulator
        self.password = canary.secret("password")
        simulator.switchboard.add_account("300", "demo.local", password=self.password)
        token = simulator.engine.tokens.give(ACCOUNT)
        self.token = canary.secret("token", token.token)
        self.key = canary.secret("key of the token", token.key)
        simulator.engine.recordings.keep(Recording(uuid=UUID, seconds=0.2, ended_at=datetime(2026, 1, 1, tzinfo=UTC)))

    def url_at(self, place: str) -> str:
        """An address with a user, a password and a token in it."""
        # A quotation mark may stand there as it is.
        password = self.canary.secret("url password", f"it's-{MARK}")
        return f"ws://proxy:{password}@{place}/engine?token={self.canary.secret('url token')}"

    @property
    def url(self) -> str:
        return self.url_at(f"127.0.0.1:{self.simulator.port}")

    def link_at(self, address: str) -> str:
        return f"{address}/api/v2/files/{UUID}?x_key={self.key}&access_token={self.token}"

    @property
    def by_password(self) -> dict[str, Any]:
        return {"login": ACCOUNT, "password": self.password}

    @property
    def by_token(self) -> dict[str, Any]:
        return {"login": ACCOUNT, "key": self.key, "token": self.token}

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {
            "cti.provider": "webitel",
            "webitel.connection_string": self.url,
            "webitel.hold_grace_seconds": 0.1,
            "cti.reconnect_initial_seconds": 0.02,
            "cti.reconnect_max_seconds": 0.05,
            **changes,
        }


@asynccontextmanager
async def marked_simulator(canary: Canary) -> AsyncIterator[Marked]:
    swift = SimulatorOptions(own_answer_seconds=0.0, far_answer_seconds=0.0, proxy_hold=True)
    async with serve_webitel(control_port=None, options=swift) as simulator:
        yield Marked(canary, simulator)


class Careless:
    """A companion that logs whatever it is given, and whose events fail with secrets at hand."""

    def __init__(self, canary: Canary, answer: Mapping[str, Any]) -> None:
        self._canary = canary
        self._answer = dict(answer)

    @hookimpl
    async def cti_log_in(self, user: CtiUser, licences: tuple[str, ...]) -> bool:
        _log.info("logging in", user=user, parameters=user.parameters)
        return True

    @hookimpl
    async def cti_user_connection(self, user: CtiUser, provider: str) -> Mapping[str, Any]:
        _log.info("the directory answers", answer=self._answer, typed={"password": Secret(self._answer.get("password", ""))})
        return self._answer

    @hookimpl
    def cti_event(self, model: CtiModel, event: Event) -> None:
        _log.debug("told", event_told=event, model=model, calls=model.calls)
        if isinstance(event, RawMessage):
            _log.debug("raw", frame=event.raw, told=repr(event))

    @hookimpl
    def cti_call_started(self, model: CtiModel, event: Event) -> None:
        password = self._answer.get("password")
        raise ValueError(f"a hook with {len(str(password))} characters of a password at hand")

    @hookimpl
    async def cti_call_connected(self, model: CtiModel, event: Event) -> None:
        answer = self._answer
        await anyio.lowlevel.checkpoint()
        raise KeyError("nothing", len(answer))

    @hookimpl
    def cti_call_held(self, model: CtiModel, event: Event) -> None:
        raise ValueError(f"cannot tell the CRM with {self._canary.secret(SPOKEN)}")


Act = Callable[[], Awaitable[object]]


async def failing(canary: Canary, act: Act) -> None:
    """Do what fails, look at the error, and have the host log it as it likes."""
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            await act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        canary.see_error(error)
        _log.exception("it failed", error=error)
        if isinstance(error, CtiError):
            _log.error("in other words", **error.describe())
        return
    raise AssertionError("it was to fail")


async def until(model: CtiModel, kind: type[Event], after: Any) -> Event:
    with anyio.fail_after(PATIENCE_SECONDS):
        async for event in model.events(after):
            if isinstance(event, kind):
                return event
    raise AssertionError("the session has ended")


# --- scenarios


def unknown_secrets(canary: Canary) -> None:
    """Log requests of other libraries, in all the ways that these write them: what is secret in them nobody has registered."""
    headers = [
        ("Authorization", f"Basic {canary.secret('authorization')}"),
        ("Proxy-Authorization", f'Digest username="a", response="{canary.secret("digest")}"'),
        ("Cookie", f"a=1; sid={canary.secret('cookie')}"),
        ("X-Api-Key", canary.secret("api key")),
    ]
    for begin in ("", "GET / HTTP/1.1\r\n"):
        request = begin + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        _log.debug("sent", request=request, data=request.encode())
        _log.debug("sent", request=repr(request), data=repr(request.encode()), text=json.dumps({"sent": request}))
        _log.error("bad request", error=RuntimeError(f"cannot read {request.encode()!r}"))
    for name, value in headers:
        for pair in ((name.lower(), value), (name.encode(), value.encode())):
            _log.debug("headers", headers=repr([pair, ("Host", "a")]), in_words=f"of {pair!r}")
        _log.debug("headers", headers=json.dumps([[name, value]]))
    password = canary.secret("unknown url password", f"o'{MARK}")
    address = f"wss://bob:{password}@pbx.example/x"
    _log.warning(f"cannot reach {address}", address=address, error=OSError(f"cannot reach {address!r}"))
    _log.debug("looked up", cache={f"/x?access_token={canary.secret('token in a key')}": 1})


async def a_working_day(marked: Marked, folder: Path, user_settings: Mapping[str, Any]) -> None:
    """Log in, call, fetch the recording, look at everything, write a support bundle."""
    canary = marked.canary
    files = client_files(trustme.CA(), folder, password=canary.secret("key password"))
    settings = marked.settings(
        **{
            "cti.raw_messages": True,
            "cti.tls_client_certificate_file": files.certificate,
            "cti.tls_client_key_file": files.key,
            "cti.tls_client_key_password": canary.secret("key password"),
        }
    )
    _log.info("settings", settings=settings, line=f"connecting to {settings['webitel.connection_string']}")
    initializer = CtiProviderInitializer(settings, environ={}, companions=[Careless(canary, user_settings)])
    user = CtiUser("300", parameters={"webitel.auto_answer_param": "sip_h_Call-Info=answer-after=0"})
    with anyio.fail_after(PATIENCE_SECONDS):
        async with initializer.open(user) as model:
            began = model.cursor
            call = await model.make_call(FAR)
            await until(model, CallConnected, began)
            await model.hold_call()
            await until(model, CallHeld, began)
            await model.unhold_call()
            await until(model, CallUnheld, began)
            await model.send_dtmf(canary.secret(PIN, "5800813565321"), call)
            await failing(canary, lambda: model.send_dtmf(canary.secret(PIN) + "x", call))
            await model.set_agent_state("ONBREAK", "lunch")
            await model.drop_call()
            await until(model, CallFinished, began)
            await _recordings(marked, model, folder)
            canary.see_objects()
            canary.see("recorder", *model.recorder.lines())
            await model.write_support_bundle(folder / "open.zip")
        await model.write_support_bundle(folder / "closed.zip")
    for name in ("open.zip", "closed.zip"):
        canary.see_file(folder / name)
        (folder / name).unlink()


async def _recordings(marked: Marked, model: CtiModel, folder: Path) -> None:
    canary = marked.canary
    (link,) = await model.query_recordings(UUID)
    _log.info("found", link=link, shown=safe_url(link))
    file = await model.fetch_recording(link, folder)
    await failing(canary, lambda: model.fetch_recording(link, folder))
    file.unlink()
    wrong = link.replace(marked.token, f"{marked.token}x")
    await failing(canary, lambda: model.fetch_recording(wrong, folder))
    await failing(canary, lambda: model.fetch_recording(marked.link_at("http://127.0.0.1:1"), folder))
    await failing(canary, lambda: model.fetch_recording(marked.link_at("http://pbx.invalid"), folder))
    await failing(canary, lambda: model.fetch_recording(marked.link_at("nonsense"), folder))
    await failing(canary, lambda: model.fetch_recording(link, folder / "nowhere"))


async def refused(marked: Marked, folder: Path) -> None:
    """Wrong credentials, each of them, and a session that keeps on trying."""
    canary = marked.canary
    wrong_password = {"login": ACCOUNT, "password": canary.secret("wrong password")}
    wrong_token = {"login": ACCOUNT, "key": marked.key, "token": canary.secret("wrong token")}
    for answer in (wrong_password, wrong_token):
        initializer = CtiProviderInitializer(marked.settings(), environ={}, companions=[Careless(canary, answer)])
        await failing(canary, partial(_open, initializer, "300"))
    async with await CtiProviderInitializer(marked.settings(), environ={}, companions=[Careless(canary, wrong_password)]).create(
        "300", wait_for_service=False
    ) as model:
        await failing(canary, model.connect)
        canary.see_objects()
        canary.see("errors", repr(model.provider_state_event))
        await model.write_support_bundle(folder / "refused.zip")
    canary.see_file(folder / "refused.zip")


async def _open(initializer: CtiProviderInitializer, user: CtiUser | str) -> None:
    async with initializer.open(user):
        raise AssertionError("it opened")


async def networks(marked: Marked, folder: Path) -> None:
    """Addresses at which nobody answers as they should, with secrets in them."""
    canary = marked.canary
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    silent = listener.extra(anyio.abc.SocketAttribute.local_port)
    addresses = [
        marked.url_at("127.0.0.1:1"),
        marked.url_at("pbx.invalid:871"),
        marked.url_at("pbx.invalid:871").replace("ws:", "wss:"),
        marked.url_at("pbx.example:99999"),
        marked.url_at("127.0.0.1:port"),
        marked.url_at(f"127.0.0.1:{marked.simulator.port}").replace("ws:", "wss:"),
        marked.url_at(f"127.0.0.1:{silent}"),
        marked.url.replace("ws:", "http:"),
        marked.url.replace("ws://", ""),
        marked.url.replace("127.0.0.1", "127.0.0.1#"),
        marked.url.replace("url-token", "url token"),
        f"{marked.url}#{marked.password}",
    ]
    async with listener:
        for address in addresses:
            settings = marked.settings(**{"webitel.connection_string": address, "cti.connect_timeout_seconds": 0.3})
            initializer = CtiProviderInitializer(settings, environ={}, companions=[Careless(canary, marked.by_password)])
            await failing(canary, partial(_open, initializer, "300"))


async def settings_that_are_wrong(marked: Marked, folder: Path) -> None:
    """Values that cannot be used, in each source, and files."""
    canary = marked.canary
    toml = folder / "bad.toml"
    toml.write_text(f'[webitel]\nconnection_string = "{marked.url}"\npassword = {marked.password}\n')
    sources: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (marked.settings(**{"cti.command_timeout_seconds": marked.url}), marked.by_password),
        (marked.settings(**{"cti.tls_client_key_password": canary.secret("key password"), "cti.tls_client_key_file": "x"}), {}),
        (marked.settings(), {**marked.by_password, "passwort": marked.password}),
        (marked.settings(), {"login": ACCOUNT, "password": {"nested": marked.password}}),
        (marked.settings(), {"login": ACCOUNT, "password": [marked.password]}),
        (marked.settings(), {"login": ACCOUNT, "token": marked.token}),
        (marked.settings(), {**marked.by_password, "Password": canary.secret("wrong password")}),
    ]
    for settings, answer in sources:
        initializer = CtiProviderInitializer(settings, environ={}, companions=[Careless(canary, answer)])
        await failing(canary, partial(_open, initializer, "300"))

    async def read_file() -> None:
        CtiProviderInitializer(toml=toml, environ={})

    await failing(canary, read_file)


async def plugins_that_raise(marked: Marked, folder: Path) -> None:
    """A provider's and a companion's own errors, with secrets in locals and in their words."""
    canary = marked.canary

    async def run(provider: ScriptedProvider) -> None:
        password = marked.password
        raise RuntimeError(f"cannot log in with {len(password)} characters, {canary.secret(SPOKEN)}")

    async def verb(*arguments: Any) -> None:
        password = marked.password
        raise RuntimeError(f"cannot call with {len(password)} characters, {canary.secret(SPOKEN)}")

    async def snapshot(provider: ScriptedProvider) -> None:
        raise RuntimeError(canary.secret(SPOKEN))

    def model_of(pbx: Pbx, **options: Any) -> CtiModel:
        policy = ReconnectPolicy(initial_delay_seconds=0.01, maximum_delay_seconds=0.02)
        return CtiModel(
            ScriptedProvider,
            user=CtiUser("300", parameters=marked.by_password),
            settings=pbx,
            user_settings=None,
            name="scripted",
            policy=policy,
            **options,
        )

    raising = Pbx()
    raising.on_run[1] = run
    await failing(canary, model_of(raising).__aenter__)
    pbx = Pbx()
    pbx.on_verb = {"make_call": verb, "set_agent_state": verb}
    pbx.on_snapshot[1] = snapshot
    hooks = Hooks()
    hooks.register(Careless(canary, marked.by_password), "careless")
    async with model_of(pbx, hooks=hooks) as model:
        await failing(canary, lambda: model.make_call(FAR))
        await failing(canary, lambda: model.set_agent_state("DND"))
        began = model.cursor
        pbx.provider.offered("1")
        pbx.provider.connected("1")
        await until(model, CallConnected, began)
        canary.see("records", repr(hooks.records()), repr(model.commands), repr(model.refused_reports))
        canary.see_objects()
        await model.write_support_bundle(folder / "raising.zip")

    class Asked(Careless):
        @hookimpl
        async def cti_log_in(self, user: CtiUser, licences: tuple[str, ...]) -> bool:
            raise RuntimeError(f"the directory refuses {canary.secret(SPOKEN)}")

    initializer = CtiProviderInitializer(marked.settings(), environ={}, companions=[Asked(canary, marked.by_password)])
    await failing(canary, lambda: _open(initializer, "300"))


async def the_client_alone(marked: Marked, folder: Path) -> None:
    """Webitel's own client without the framework, with what it tells of frames and commands."""
    canary = marked.canary
    told: list[str] = []

    def client_with(**credentials: Any) -> Webitel:
        return Webitel(
            marked.url,
            ACCOUNT,
            on_callbacks=lambda callbacks: told.extend(map(repr, callbacks)),
            on_command=lambda func, arguments: told.append(f"{func} {arguments!r}"),
            **credentials,
        )

    await failing(canary, client_with(secret=Secret(canary.secret("wrong password"))).run)
    for client in (client_with(secret=Secret(marked.password)), client_with(key=marked.key, token=Secret(marked.token))):
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                await tasks.start(client.run)
                told.append(repr(await client.recording_link(UUID)))
                token = await client.generate_token()
                canary.secret("new token", token.token.get_secret_value())
                told.append(repr(token))
                # What cannot be written as JSON is quoted by whoever tries to.
                unwritable = {"secret": Secret(marked.password), "x": "\ud800"}
                await failing(canary, partial(client.execute, "api whoami", unwritable))
                canary.see_objects()
                tasks.cancel_scope.cancel()
    canary.see("the client tells", *told)


async def all_scenarios(canary: Canary, folder: Path) -> None:
    """Go through all of them."""
    async with marked_simulator(canary) as marked:
        await a_working_day(marked, folder, marked.by_password)
        await a_working_day(marked, folder, marked.by_token)
        await refused(marked, folder)
        await networks(marked, folder)
        await settings_that_are_wrong(marked, folder)
        await plugins_that_raise(marked, folder)
        await the_client_alone(marked, folder)


def blocking_scenario(canary: Canary, marked: Marked) -> None:
    """The same without an event loop, from this thread."""
    careless = Careless(canary, marked.by_password)
    initializer = CtiProviderInitializer(marked.settings(), environ={}, companions=[careless])

    def callback(event: Event) -> None:
        password = marked.password
        raise ValueError(f"{len(password)} characters, {canary.secret(SPOKEN)}")

    with open_session(initializer, "300") as session:
        session.on_event(callback)
        session.make_call(FAR)
        session.drop_call()
        canary.see("objects", repr(session), repr(session.calls))
        canary.see_objects()
    wrong = Careless(canary, {"login": ACCOUNT, "password": canary.secret("wrong password")})
    try:
        open_session(CtiProviderInitializer(marked.settings(), environ={}, companions=[wrong]), "300")
    except CtiError as error:
        canary.see_error(error)
        _log.exception("refused")
