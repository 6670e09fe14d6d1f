from __future__ import annotations

import importlib.metadata
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs
from typed_settings.types import Secret

from cti_framework.calls import Call
from cti_framework.errors import (
    CommandUnconfirmedError,
    ConfigurationError,
    CredentialsRefusedError,
    CtiError,
    HookError,
    LogInRefusedError,
    PluginError,
    PluginImportError,
    PluginIncompatibleError,
    ProviderDisabledError,
    ProviderDuplicateError,
    ProviderNotFoundError,
    ProviderNotSetError,
    SettingsError,
    StepTimeoutError,
    UserConnectionError,
)
from cti_framework.events import CallStarted, ProviderState
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.provider import BaseCtiProvider, CtiUser
from tests.core.scripted import living, state_of

pytestmark = pytest.mark.anyio

PROVIDER = """
import anyio, attrs
from typed_settings.types import Secret
from cti_framework.calls import CallFeature
from cti_framework.errors import CredentialsRefusedError
from cti_framework.provider import BaseCtiProvider, Capabilities
from cti_framework.reports import Snapshot, Started
from cti_framework.settings import setting

@attrs.frozen(kw_only=True)
class Settings:
    address: str = setting(code="AcmeAddress")
    port: int = setting(default=5060, validator=attrs.validators.gt(0))

@attrs.frozen(kw_only=True)
class UserSettings:
    login: str = setting()
    password: Secret[str] = setting()
    use_web_phone: bool = setting(default=False)

class Provider(BaseCtiProvider):
    settings_type = Settings
    user_settings_type = UserSettings
    capabilities = Capabilities(calls=CallFeature.DIAL)
    licences = ("telephony",)
    async def run(self):
        if self.context.user_settings.password.get_secret_value() == "wrong":
            raise CredentialsRefusedError("No such user.")
        self.context.report(Started(at=self.context.clock.now()))
        await anyio.sleep_forever()
    async def snapshot(self):
        return Snapshot(at=self.context.clock.now())
    async def make_call(self, destination): ...
    async def drop_call(self, call): ...
"""
SETTINGS = {"cti.provider": "acme", "acme.address": "pbx.example"}
USER = CtiUser("ann", parameters={"login": "100", "password": "tr0ub4dor"})

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs distributions that bring one module each, as importlib.metadata sees them."""
    modules: list[str] = []
    folders: list[str] = []
    # The project's own plugins may or may not be installed here; these tests are about others.
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: importlib.metadata.Distribution.discover(path=folders))

    def install(distribution: str, group: str, name: str, text: str, attribute: str = "Provider") -> None:
        module = distribution.replace("-", "_")
        folder = tmp_path / distribution
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cti_framework.{group}]\n{name} = {module}:{attribute}\n")
        (folder / f"{module}.py").write_text(text)
        modules.append(module)
        folders.append(str(folder))
        monkeypatch.syspath_prepend(folder)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def acme(install: Install) -> None:
    install("acme-pbx", "providers", "acme", PROVIDER)


def initializer(settings: Mapping[str, Any] = SETTINGS, *companions: object, **options: Any) -> CtiProviderInitializer:
    return CtiProviderInitializer(settings, **{"environ": {}, "companions": companions, **options})


async def refusal(by: CtiProviderInitializer, expected: type[CtiError], user: CtiUser | str = USER) -> CtiError:
    """Open, expecting an error that says what to do, and that nothing is left behind."""
    before = living()
    with anyio.fail_after(5), pytest.raises(expected) as caught:
        async with by.open(user):
            pytest.fail("it opened")
    assert living() == before
    assert type(caught.value) is expected
    assert caught.value.remedy
    assert caught.value.remedy in str(caught.value)
    return caught.value


# The whole chain -------------------------------------------------------------------------------------------------------


async def test_a_session_is_opened_by_a_settings_key(acme: None) -> None:
    before = living()
    async with initializer().open(USER) as model:
        assert state_of(model) is ProviderState.IN_SERVICE
        assert model.provider_name == "acme"
        assert model.user == USER
        settings = model._provider.context.settings
        assert (settings.address, settings.port) == ("pbx.example", 5060)
        assert model._provider.context.user_settings.login == "100"
    assert living() == before


async def test_a_session_can_be_created_and_opened_later(acme: None) -> None:
    model = await initializer().create(USER)
    assert state_of(model) is ProviderState.CLOSED
    async with model:
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_one_initializer_serves_many_users(acme: None) -> None:
    by = initializer()
    users = [CtiUser(f"user {number}", parameters={"login": str(number), "password": "x"}) for number in range(5)]
    opened: list[Any] = []

    async def host(user: CtiUser) -> None:
        async with by.open(user) as model:
            opened.append(model)
            while len(opened) < len(users):
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for user in users:
            tasks.start_soon(host, user)
    assert sorted(model._provider.context.user_settings.login for model in opened) == ["0", "1", "2", "3", "4"]
    assert len({id(model._hooks) for model in opened}) == 1
    assert len({type(model._provider) for model in opened}) == 1


async def test_the_user_may_be_a_text(acme: None) -> None:
    class Directory:
        @hookimpl
        def cti_user_connection(self, user: CtiUser, provider: str) -> dict[str, Any]:
            return {"login": f"{user.id}@{provider}", "password": "x"}

    async with initializer(SETTINGS, Directory()).open("ann") as model:
        assert model.user == CtiUser("ann")
        assert model._provider.context.user_settings.login == "ann@acme"


async def test_what_the_pbx_refuses_comes_out_as_it_is(acme: None) -> None:
    user = CtiUser("ann", parameters={"login": "100", "password": "wrong"})
    with pytest.raises(CredentialsRefusedError, match="No such user"):
        async with initializer().open(user):
            pytest.fail("it opened")


async def test_what_a_host_raises_comes_out_as_it_is(acme: None) -> None:
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with initializer().open(USER):
            raise mine
    assert caught.value is mine


async def test_auto_connect_off_is_a_setting(acme: None) -> None:
    async with initializer({**SETTINGS, "cti.auto_connect": "false"}).open(USER) as model:
        assert state_of(model) is ProviderState.CLOSED
        await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE


# Which provider --------------------------------------------------------------------------------------------------------


async def test_how_long_the_core_waits_for_a_verb_is_a_setting(acme: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never_answers(self: BaseCtiProvider, destination: str) -> Call:
        await anyio.sleep_forever()
        raise AssertionError

    async with initializer({**SETTINGS, "cti.make_call_timeout_seconds": 0.01}).open(USER) as model:
        monkeypatch.setattr(type(model._provider), "make_call", never_answers)
        with pytest.raises(CommandUnconfirmedError, match=r"within 0\.01 s"):
            await model.make_call("0501")


async def test_no_provider_is_set(acme: None) -> None:
    error = await refusal(initializer({}), ProviderNotSetError)
    assert "SysMsgLib" in str(error)
    assert "acme" in error.remedy


async def test_no_provider_is_set_and_none_is_installed(install: Install) -> None:
    error = await refusal(initializer({"cti.provider": " "}), ProviderNotSetError)
    assert "install one first" in error.remedy


async def test_an_unknown_provider_is_named_with_a_close_match_what_is_installed_and_how_to_install_it(
    acme: None, install: Install
) -> None:
    install("zeta-pbx", "providers", "zeta", PROVIDER)
    error = await refusal(initializer({"cti.provider": "acmee"}), ProviderNotFoundError)
    said = str(error)
    assert "'acmee'" in said
    assert "Did you mean 'acme'?" in said
    assert "acme, zeta" in said
    assert "pip install" in said


@pytest.mark.parametrize("key", ["cti.provider", "SysMsgLib", "sysmsglib", "CTI.Provider"])
@pytest.mark.parametrize("value", ["acme", "Acme", "ACME"])
async def test_key_and_name_are_compared_without_regard_to_case(acme: None, key: str, value: str) -> None:
    async with initializer({key: value, "AcmeAddress": "pbx.example"}).open(USER) as model:
        assert model.provider_name == "acme"
        assert model._provider.context.settings.address == "pbx.example"


async def test_the_name_is_that_of_the_provider_even_where_others_are_loaded(acme: None, install: Install) -> None:
    install("aaa-pbx", "providers", "aaa", PROVIDER)
    by = initializer({"SysMsgLib": "aaa", "aaa.address": "a"})
    async with by.open(USER) as model:
        assert model.provider_name == "aaa"
    other = initializer({"SysMsgLib": "Acme", "acme.address": "b"}, plugins=by.chain._plugins)
    async with other.open(USER) as model:
        assert model.provider_name == "acme"
        assert model._provider.context.settings.address == "b"


async def test_two_distributions_under_one_name_are_both_named(acme: None, install: Install) -> None:
    install("acme-clone", "providers", "Acme", PROVIDER)
    error = await refusal(initializer(), ProviderDuplicateError)
    assert "acme-pbx" in str(error)
    assert "acme-clone" in str(error)


async def test_a_provider_that_is_switched_off(acme: None) -> None:
    error = await refusal(initializer({**SETTINGS, "cti.disabled_plugins": "acme"}), ProviderDisabledError)
    assert "cti.disabled_plugins" in error.remedy


async def test_a_provider_that_a_hook_switches_off(acme: None) -> None:
    class Registry:
        @hookimpl
        def cti_setting(self, key: str) -> Any:
            return {"cti.disabled_plugins": ["Acme"]}.get(key)

    error = await refusal(initializer(SETTINGS, Registry()), ProviderDisabledError)
    assert "cti.disabled_plugins" in error.remedy


@pytest.mark.parametrize(("api", "side"), [(0, "pip install --upgrade broken-pbx"), (99, "pip install --upgrade cti-framework")])
async def test_an_incompatible_provider_says_which_side_to_upgrade(install: Install, api: int, side: str) -> None:
    install("broken-pbx", "providers", "broken", f"{PROVIDER}    provider_api = {api}\n")
    error = await refusal(initializer({"cti.provider": "broken"}), PluginIncompatibleError)
    assert str(api) in error.message
    assert side in error.remedy


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import no_such_module_anywhere", ModuleNotFoundError),
        ("1 / 0", ZeroDivisionError),
        ("x = (", SyntaxError),
        ("y = 1", AttributeError),
        ("import sys; sys.exit(3)", SystemExit),
    ],
)
async def test_a_failed_import_keeps_its_cause(install: Install, acme: None, text: str, cause: type[BaseException]) -> None:
    install("broken-pbx", "providers", "broken", text)
    error = await refusal(initializer({"cti.provider": "broken"}), PluginImportError)
    assert isinstance(error.__cause__, cause)
    assert "broken-pbx 1.0" in error.message
    # A broken one changes nothing for another.
    async with initializer().open(USER) as model:
        assert model.provider_name == "acme"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a module that hangs waits for, as ``cti_test_gate.event``; its thread ends with the test."""
    event, before = threading.Event(), set(threading.enumerate())
    monkeypatch.setitem(sys.modules, "cti_test_gate", types.SimpleNamespace(event=event))
    yield event
    event.set()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("cti: "):
            thread.join()


async def test_an_import_that_hangs_is_given_up_in_time_and_blocks_nobody(install: Install, gate: threading.Event) -> None:
    install("hanging-pbx", "providers", "hanging", "import cti_test_gate; cti_test_gate.event.wait()")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(others)
            with pytest.raises(StepTimeoutError, match=r"within 0\.05 s") as caught:
                await initializer({"cti.provider": "hanging", "cti.load_timeout_seconds": 0.05}).create("ann")
            tasks.cancel_scope.cancel()
    assert "hanging" in str(caught.value)
    assert caught.value.remedy
    assert turns > 1


async def test_cancelled_while_a_provider_is_imported(install: Install, gate: threading.Event) -> None:
    install("hanging-pbx", "providers", "hanging", "import cti_test_gate; cti_test_gate.event.wait()")
    with anyio.move_on_after(0.05) as scope:
        await initializer({"cti.provider": "hanging"}).create("ann")
    assert scope.cancelled_caught


async def test_a_provider_that_cannot_be_made_is_named(install: Install) -> None:
    install("broken-pbx", "providers", "broken", f"{PROVIDER}    def __init__(self, context): raise RuntimeError('no')\n")
    error = await refusal(initializer({"cti.provider": "broken", "broken.address": "x"}), PluginError)
    assert "'broken'" in error.message
    assert isinstance(error.__cause__, RuntimeError)


# Companions ------------------------------------------------------------------------------------------------------------

COMPANION = """
from cti_framework.hooks import hookimpl
class Journal:
    made = 0
    def __init__(self):
        type(self).made += 1
    @hookimpl
    def cti_call_started(self, event): ...
"""


async def test_companions_are_loaded_once_and_a_broken_one_stops_nobody(acme: None, install: Install) -> None:
    install("good-journal", "companions", "journal", COMPANION, "Journal")
    install("bad-journal", "companions", "bad", "1 / 0", "Journal")
    install("off-journal", "companions", "off", COMPANION, "Journal")
    by = initializer({**SETTINGS, "cti.disabled_plugins": ["off"]})
    with capture_logs() as logs:
        for _ in range(2):
            async with by.open(USER) as model:
                assert model._hooks.names() == ("journal",)
    assert sys.modules["good_journal"].Journal.made == 1
    assert "off_journal" not in sys.modules
    assert [line["name"] for line in logs if line["event"] == "cti.companion.not_used"] == ["bad"]


async def test_a_companion_that_hangs_is_named_and_stops_nobody(acme: None, install: Install, gate: threading.Event) -> None:
    install("hanging-journal", "companions", "hanging", "import cti_test_gate; cti_test_gate.event.wait()")
    by = initializer({**SETTINGS, "cti.load_timeout_seconds": 0.3})
    with anyio.fail_after(5), capture_logs() as logs:
        async with by.open(USER) as model:
            assert state_of(model) is ProviderState.IN_SERVICE
    (line,) = [line for line in logs if line["event"] == "cti.companions.hang"]
    assert line["not_loaded"] == ["hanging"]


class Named:
    @hookimpl
    def cti_call_started(self, event: CallStarted) -> None: ...


async def test_a_hosts_own_companions_are_registered(acme: None) -> None:
    async with initializer(SETTINGS, Named(), Named()).open(USER) as model:
        assert model._hooks.names() == ("Named", "Named (2)")


async def test_a_hosts_misspelt_hook_is_an_error_at_once(acme: None) -> None:
    class Misspelt:
        @hookimpl
        def cti_call_startet(self, event: CallStarted) -> None: ...

    with pytest.raises(HookError, match="cti_call_started"):
        await initializer(SETTINGS, Misspelt()).create(USER)


async def test_hooks_that_are_given_are_used_as_they_are(acme: None, install: Install) -> None:
    install("good-journal", "companions", "journal", COMPANION, "Journal")
    hooks = Hooks()
    async with initializer(hooks=hooks).open(USER) as model:
        assert model._hooks is hooks
    assert hooks.names() == ()


# Settings --------------------------------------------------------------------------------------------------------------


async def test_each_bad_setting_is_told(acme: None) -> None:
    with pytest.raises(SettingsError) as caught:
        await initializer({"cti.provider": "acme", "acme.port": "many"}).create(USER)
    address, port = sorted(caught.value.problems)
    assert "acme.address" in address
    assert "CTI_ACME__ADDRESS" in address
    assert "'many'" in port
    assert "a whole number" in port


async def test_what_plugins_may_do_is_set(acme: None) -> None:
    # Tests before these may have left some, of providers that cannot be cancelled.
    def dogs() -> int:
        return [thread.name for thread in threading.enumerate()].count("cti: watchdog")

    limits = {"cti.hook_timeout_seconds": 2, "cti.plugin_fault_limit": 0, "cti.stall_seconds": 0}
    before = dogs()
    async with initializer({**SETTINGS, **limits}).open(USER) as model:
        assert (model._hooks._timeout_seconds, model._hooks._fault_limit) == (2.0, 0)
        assert dogs() == before
    async with initializer(SETTINGS).open(USER) as model:
        assert (model._hooks._timeout_seconds, model._hooks._fault_limit) == (30.0, 20)
        assert model._watch.stall_seconds == 0.5
        assert dogs() == before + 1
    assert dogs() == before


async def test_each_bad_setting_of_the_core_is_told(acme: None) -> None:
    with pytest.raises(SettingsError) as caught:
        await initializer({**SETTINGS, "cti.connect_timeout_seconds": "soon", "cti.event_log_capacity": 0}).create(USER)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("key", ["cti.provder", "acme.adress", "acme.usewebphon"])
async def test_an_unknown_key_is_refused_with_a_close_match(acme: None, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await initializer({**SETTINGS, key: "x", "host.own": "y", "adress": "z"}).create(USER)
    (problem,) = caught.value.problems
    assert key in problem
    assert "did you mean" in problem


async def test_a_misspelt_key_of_the_core_is_told_before_a_provider_is_missed(acme: None) -> None:
    with pytest.raises(SettingsError, match=r"cti\.providr in the host's settings: not known; did you mean cti\.provider\?"):
        await initializer({"cti.providr": "acme"}).create(USER)


@pytest.mark.parametrize(("variable", "meant"), [("CTI_PROVIDR", "CTI_PROVIDER"), ("CTI_ACME_ADDRESS", "CTI_ACME__ADDRESS")])
async def test_a_misspelt_variable_is_told_with_what_was_meant(acme: None, variable: str, meant: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await initializer({}, environ={variable: "x"}).create(USER)
    assert caught.value.problems == (f"the variable {variable}: not known; did you mean {meant}?",)


async def test_variables_of_others_are_left_alone(acme: None) -> None:
    async with initializer(environ={"CTI_CI": "1", "CTI_HOME": "/srv/cti"}).open(USER) as model:
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_an_unknown_key_of_a_user_is_refused_too(acme: None) -> None:
    user = CtiUser("ann", parameters={**USER.parameters, "acme.logni": "100"})
    with pytest.raises(SettingsError, match=r"acme\.logni"):
        await initializer().create(user)


async def test_variables_are_stronger_than_the_mapping(acme: None) -> None:
    environ = {"CTI_PROVIDER": "acme", "CTI_ACME__ADDRESS": "other.example", "CTI_ACME__PORT": "5061"}
    by = initializer({"cti.provider": "nobody", "acme.address": "x"}, environ=environ)
    async with by.open(USER) as model:
        settings = model._provider.context.settings
        assert (settings.address, settings.port) == ("other.example", 5061)


async def test_a_toml_file_is_a_source(acme: None, tmp_path: Path) -> None:
    file = tmp_path / "cti.toml"
    file.write_text('SysMsgLib = "acme"\n[acme]\naddress = "toml.example"\n')
    async with initializer({}, toml=file).open(USER) as model:
        assert model._provider.context.settings.address == "toml.example"


async def test_a_hook_gives_settings_even_the_provider(acme: None) -> None:
    class Registry:
        @hookimpl
        async def cti_setting(self, key: str) -> Any:
            return {"cti.provider": "acme", "AcmeAddress": "hook.example"}.get(key)

    async with initializer({}, Registry()).open(USER) as model:
        assert model._provider.context.settings.address == "hook.example"


@pytest.mark.parametrize("key", ["acme.address", "AcmeAddress"])
async def test_a_users_parameters_are_the_strongest(acme: None, key: str) -> None:
    user = CtiUser("ann", parameters={**USER.parameters, key: "own.example"})
    for settings in (SETTINGS, {"cti.provider": "acme"}):
        async with initializer(settings).open(user) as model:
            assert model._provider.context.settings.address == "own.example"


async def test_the_directory_may_name_another_pbx(acme: None) -> None:
    class Directory:
        @hookimpl
        def cti_user_connection(self, user: CtiUser, provider: str) -> dict[str, Any]:
            return {"login": "100", "password": "x", "acme.address": "branch.example"}

    async with initializer(SETTINGS, Directory()).open("ann") as model:
        assert model._provider.context.settings.address == "branch.example"


async def test_a_users_parameters_are_above_the_directory(acme: None) -> None:
    class Directory:
        @hookimpl
        def cti_user_connection(self, user: CtiUser, provider: str) -> dict[str, Any]:
            return {"login": "100", "password": "x", "useWebPhone": True}

    async with initializer(SETTINGS, Directory()).open(CtiUser("ann", parameters={"login": "101"})) as model:
        assert model._provider.context.user_settings.login == "101"
        assert model._provider.context.user_settings.use_web_phone is True


async def test_secrets_are_in_no_error_and_no_log(acme: None) -> None:
    said = []
    with capture_logs() as logs:
        for broken in ({"login": ["100"]}, {"use_web_phone": "perhaps"}, {"acme.logni": "x"}):
            with pytest.raises(CtiError) as caught:
                await initializer().create(CtiUser("ann", parameters={**USER.parameters, **broken}))
            said += [str(caught.value), repr(caught.value), repr(caught.value.describe())]
            said += [repr(caught.value.__cause__), repr(caught.value.__context__)]
        async with initializer().open(USER) as model:
            context = model._provider.context
            said += [repr(model), repr(model.user), repr(context.user_settings), repr(USER)]
            assert isinstance(context.user_settings.password, Secret)
            assert context.user_settings.password.get_secret_value() == "tr0ub4dor"
    assert "tr0ub4dor" not in "".join(said) + repr(logs)


# Log in and user connection --------------------------------------------------------------------------------------------


def log_in(answer: Any) -> object:
    class Gate:
        asked: list[tuple[str, tuple[str, ...]]] = []  # noqa: RUF012  # one class a test

        @hookimpl
        async def cti_log_in(self, user: CtiUser, licences: tuple[str, ...]) -> Any:
            self.asked.append((user.id, licences))
            return await answer() if callable(answer) else answer

    return Gate()


@pytest.mark.parametrize("answer", [True, "session-1", None])
async def test_a_log_in_that_agrees_or_has_no_opinion(acme: None, answer: Any) -> None:
    gatekeeper: Any = log_in(answer)
    async with initializer(SETTINGS, gatekeeper).open(USER) as model:
        assert state_of(model) is ProviderState.IN_SERVICE
    assert gatekeeper.asked == [("ann", ("telephony",))]


async def test_a_refused_log_in(acme: None) -> None:
    error = await refusal(initializer(SETTINGS, log_in(False)), LogInRefusedError)
    assert "'ann'" in error.message


async def test_a_log_in_that_says_why_not(acme: None) -> None:
    async def says() -> None:
        raise LogInRefusedError("No licence is left.")

    with pytest.raises(LogInRefusedError, match="No licence is left"):
        await initializer(SETTINGS, log_in(says)).create(USER)


async def test_a_log_in_that_raises_is_named(acme: None) -> None:
    async def breaks() -> None:
        raise KeyError("x")

    error = await refusal(initializer(SETTINGS, log_in(breaks)), HookError)
    assert "Gate" in error.message
    assert error.step == "log_in"
    assert isinstance(error.__cause__, KeyError)


async def test_a_log_in_that_hangs_is_given_up_in_time(acme: None) -> None:
    by = initializer({**SETTINGS, "cti.log_in_timeout_seconds": 0.02}, log_in(anyio.sleep_forever))
    error = await refusal(by, StepTimeoutError)
    assert error.step == "log_in"
    assert "0.02 s" in error.message
    assert "'Gate'" in error.message
    assert "cti.log_in_timeout_seconds" in error.remedy


async def test_a_log_in_that_blocks_is_given_up_in_time_and_blocks_nobody(acme: None) -> None:
    go = threading.Event()
    threads: list[threading.Thread] = []

    class Database:
        @hookimpl
        def cti_log_in(self) -> bool:
            threads.append(threading.current_thread())
            return go.wait(10)

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(others)
            with pytest.raises(StepTimeoutError, match=r"'Database' did not answer cti_log_in"):
                await initializer({**SETTINGS, "cti.log_in_timeout_seconds": 0.05}, Database()).create(USER)
            go.set()
            while not threads or threads[0].is_alive():
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert turns > 1


def directory(answer: Any) -> object:
    class Directory:
        @hookimpl
        async def cti_user_connection(self, user: CtiUser, provider: str) -> Any:
            return await answer() if callable(answer) else answer

    return Directory()


async def test_a_user_whom_the_directory_has_no_connection_for(acme: None) -> None:
    error = await refusal(initializer(SETTINGS, directory({})), UserConnectionError)
    assert "'ann'" in error.message


async def test_a_user_without_a_connection_is_told_what_is_missing(acme: None) -> None:
    for by in (initializer(), initializer(SETTINGS, directory(None))):
        error = await refusal(by, UserConnectionError, "bob")
        assert "'bob'" in error.message
        assert "acme.login" in error.message
        assert "acme.login, acme.password" in error.remedy


@pytest.mark.parametrize("password", [None, "env:NOPE"])
async def test_only_what_is_missing_of_a_users_connection_is_named(acme: None, password: str | None) -> None:
    answer = {"login": "1", "password": password}
    error = await refusal(initializer(SETTINGS, directory(answer)), UserConnectionError, "ann")
    assert "acme.password" in error.remedy
    assert "acme.login" not in str(error)


async def test_a_user_whose_settings_are_wrong(acme: None) -> None:
    answer = {"login": "1", "password": "x", "useWebPhone": "no way"}
    error = await refusal(initializer(SETTINGS, directory(answer)), UserConnectionError)
    assert "acme.use_web_phone" in error.message


async def test_a_directory_that_hangs_is_given_up_in_time(acme: None) -> None:
    by = initializer({**SETTINGS, "cti.user_connection_timeout_seconds": 0.02}, directory(anyio.sleep_forever))
    error = await refusal(by, StepTimeoutError)
    assert error.step == "user_connection"
    assert "cti.user_connection_timeout_seconds" in error.remedy


async def test_a_directory_that_answers_nonsense(acme: None) -> None:
    with pytest.raises(HookError, match="a mapping or None") as caught:
        await initializer(SETTINGS, directory("tr0ub4dor")).create(USER)
    assert "tr0ub4dor" not in str(caught.value)


async def test_a_settings_hook_that_hangs_is_given_up_in_time(acme: None) -> None:
    class Registry:
        @hookimpl
        async def cti_setting(self, key: str) -> Any:
            await anyio.sleep_forever()

    by = initializer({**SETTINGS, "cti.user_connection_timeout_seconds": 0.02}, Registry())
    assert (await refusal(by, StepTimeoutError)).step == "settings"


async def test_all_settings_that_a_hook_is_asked_for_have_one_time(acme: None) -> None:
    class Registry:
        @hookimpl
        async def cti_setting(self, key: str) -> Any:
            await anyio.sleep(0.04)

    await refusal(initializer({**SETTINGS, "cti.user_connection_timeout_seconds": 0.1}, Registry()), StepTimeoutError)


async def test_nobody_is_asked_to_log_in_with_settings_that_cannot_be_used(acme: None) -> None:
    gatekeeper: Any = log_in(True)
    with pytest.raises(ConfigurationError):
        await initializer({"cti.provider": "acme"}, gatekeeper).create(USER)
    assert gatekeeper.asked == []
