"""Every hook has a section in the reference, and its example is called when what it is told happens, or answers what is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType

import anyio
import pytest

from cti_framework import CtiModel, CtiProviderInitializer, LogInRefusedError
from cti_framework.events import EVENT_TYPES, CurrentCallChanged, ResyncRequired
from cti_framework.hooks import Hooks, HookSpecs, hook_name, hookimpl
from tests.conformance.mutants import Able
from tests.docs.happenings import HAPPENINGS, made_without_a_session
from tests.docs.reference_pages import BACKENDS, DOCS, Section, execute, imported, run, sections, session, talked_on

PAGE = "reference/hooks.md"
SECTIONS = sections(PAGE)
HOOKS = [name for name in dir(HookSpecs) if name.startswith("cti_")]
EVENT_OF = {hook_name(event_type): event_type for event_type in (*EVENT_TYPES, ResyncRequired)}
# The catch-all is told whatever happens.
EVENT_OF["cti_event"] = CurrentCallChanged


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_an_example(hook: str) -> None:
    assert hook in SECTIONS, f"docs/{PAGE} has no section `{hook}`"
    assert f"def {hook}(" in SECTIONS[hook].code, f"the example of {hook} implements another hook"
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert f"`](#{hook})" in text, f"no table leads to {hook}"


def test_no_hook_is_told_that_there_is_not() -> None:
    assert set(SECTIONS) <= set(HOOKS)


async def companion_of(section: Section, printed: list[str]) -> ModuleType:
    """Make the module that an example is."""
    companion = ModuleType(section.name)
    given = {**imported(), "anyio": anyio, "print": lambda *words: printed.append(" ".join(map(str, words)))}
    vars(companion).update(await execute(section, given))
    return companion


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hook", [hook for hook in SECTIONS if hook in EVENT_OF])
def test_the_example_of_a_hook_is_told(hook: str, backend: str) -> None:
    printed: list[str] = []
    event_type = EVENT_OF[hook]

    async def act() -> None:
        companion = await companion_of(SECTIONS[hook], printed)
        hooks = Hooks()
        if event_type is ResyncRequired:
            # Whoever is switched off for a fault, and on again, has missed events.
            hooks = Hooks(fault_limit=1)
            vars(companion)["cti_call_started"] = hookimpl(falls)
        hooks.register(companion, hook)
        async with session(Able, hooks=hooks) as (model, pbx):
            await HAPPENINGS[event_type](model, pbx)
            if event_type is ResyncRequired:
                hooks.switch_on(hook)
            call = model.calls[0] if model.calls else await talked_on(model, pbx)
            made = made_without_a_session(event_type, call, model)
            if made is not None:
                hooks.tell(model, made)
            await hooks.flush(model)
        if event_type is not ResyncRequired:
            assert [(record.plugin, record.failures) for record in hooks.records()] == [(hook, 0)]

    run(backend, act)
    assert printed, f"the example of {hook} was not told"


def falls(event: object) -> None:
    raise RuntimeError("once")


# Asked -----------------------------------------------------------------------------------------------------------------


def opened(companion: ModuleType, user: str) -> AbstractAsyncContextManager[CtiModel]:
    return CtiProviderInitializer({"cti.provider": "dummy"}, environ={}, companions=[companion]).open(user)


async def logs_in(companion: ModuleType) -> None:
    async with opened(companion, "anna"):
        pass
    with pytest.raises(LogInRefusedError, match="boris has no role"):
        async with opened(companion, "boris"):
            pass


async def connects(companion: ModuleType) -> None:
    for user, number in (("anna", "101"), ("eve", "100")):
        async with opened(companion, user) as model:
            assert (await model.make_call("0501234567")).own.number == number


async def is_set(companion: ModuleType) -> None:
    async with opened(companion, "anna") as model:
        assert model._provider.context.wants_raw
        assert model._policy.maximum_delay_seconds == 120


async def identifies(companion: ModuleType) -> None:
    hooks = Hooks()
    hooks.register(companion, "contacts")
    assert await hooks.identify("0671112233") == "Olena"
    assert await hooks.identify("0670000000") is None


async def saves(companion: ModuleType) -> None:
    hooks = Hooks()
    hooks.register(companion, "journal")
    assert await hooks.save_call({"number": "0671112233"}) == "17"


ASKED: dict[str, Callable[[ModuleType], Awaitable[None]]] = {
    "cti_log_in": logs_in,
    "cti_user_connection": connects,
    "cti_setting": is_set,
    "cti_identify": identifies,
    "cti_save_call": saves,
}


def test_every_hook_is_told_or_asked() -> None:
    assert {*EVENT_OF, *ASKED} == set(HOOKS)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hook", [hook for hook in SECTIONS if hook in ASKED])
def test_the_example_of_a_hook_answers(hook: str, backend: str) -> None:
    async def act() -> None:
        await ASKED[hook](await companion_of(SECTIONS[hook], []))

    # The provider is loaded in a thread, which does not jump.
    run(backend, act, jumping=False)
