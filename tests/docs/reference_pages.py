"""The sections of the reference, and the sessions in which their examples run.

A section is a heading of the third level whose text is one name in backticks; its example is the Python below it. What a name
in an example stands for is told on top of the page, and given here: only what an example uses is made.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import trio.testing

import cti_framework
from cti_framework.calls import Call
from cti_framework.clock import SessionClock
from cti_framework.events import CallConnected, CallStarted, Cursor, Event, Initialized
from cti_framework.hooks import Hooks
from cti_framework.model import CtiModel
from cti_framework.provider import BaseCtiProvider, Simulation
from cti_framework.settings import SystemSettings
from tests.core.scripted import JumpingLoop, until

DOCS = Path(__file__).parents[2] / "docs"
BACKENDS = ("asyncio", "trio")
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_SAID = re.compile(r"\bprint\(.*\)  # (?P<said>.+)$")


@attrs.frozen
class Section:
    """One name of the reference.

    Attributes:
        name: It.
        page: Where it stands.
        words: What is said of it beside the example.
        code: Its example.
    """

    name: str
    page: str
    words: str
    code: str

    @property
    def said(self) -> list[str]:
        """What the example says that it prints."""
        return [found["said"] for line in self.code.splitlines() if (found := _SAID.search(line))]


def sections(page: str) -> dict[str, Section]:
    """Read a page of the reference.

    Args:
        page: Its path under ``docs``.

    Returns:
        Its sections by name.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    found: dict[str, Section] = {}
    headings = list(re.finditer(r"^(#{2,3}) (.*)$", _without_code(text), re.MULTILINE))
    for heading, after in zip(headings, [*headings[1:], None], strict=True):
        name = re.fullmatch(r"`(\w+)`", heading[2])
        if name is None or heading[1] != "###":
            continue
        body = text[heading.end() : after.start() if after else None]
        code = "\n".join(re.findall(r"^```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL))
        words = re.sub(r"^```.*?^```$", "", body, flags=re.MULTILINE | re.DOTALL).strip()
        assert name[1] not in found, f"docs/{page} has two sections {name[1]}"
        found[name[1]] = Section(name[1], page, words, code)
    return found


def _without_code(text: str) -> str:
    """Blank what is fenced, and leave everything else where it is: a comment in Python is no heading."""
    return re.sub(r"^```.*?^```$", lambda block: re.sub(r"[^\n]", " ", block[0]), text, flags=re.MULTILINE | re.DOTALL)


def names_used(code: str) -> set[str]:
    """Tell which names an example takes from where it stands: those that it reads and does not make.

    Args:
        code: The example.

    Returns:
        The names.
    """
    names = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - made


def own_module(name: str) -> Any:
    """Give a module with which the documentation is built.

    Args:
        name: Its name.

    Returns:
        It.
    """
    folder = str(DOCS / "_ext")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


# Where it runs ---------------------------------------------------------------------------------------------------------


def run(backend: str, act: Callable[[], Awaitable[None]], *, jumping: bool = True, limit_seconds: float = 20.0) -> None:
    """Run something on an event loop of its own.

    Args:
        backend: The event loop's name.
        act: What.
        jumping: Whether time jumps. Not where threads or sockets are waited for.
        limit_seconds: How long it may take where time does not jump.
    """

    async def limited() -> None:
        with anyio.fail_after(86_400 if jumping else limit_seconds):
            await act()

    options: dict[str, Any] = {}
    if jumping and backend == "asyncio":
        options = {"loop_factory": JumpingLoop}
    elif jumping:
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    anyio.run(limited, backend=backend, backend_options=options)


@asynccontextmanager
async def session(
    provider_class: type[BaseCtiProvider],
    *,
    name: str = "dummy",
    hooks: Hooks | None = None,
    jumping: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[tuple[CtiModel, Simulation]]:
    """Open a session on a provider's own PBX in a box.

    Args:
        provider_class: The provider.
        name: Its prefix.
        hooks: Whom to tell.
        jumping: Whether time jumps: then the session's clock is the loop's.
        settings: Further settings.

    Yields:
        The session in service, and the PBX.
    """
    async with provider_class.simulator() as simulation:
        read = SystemSettings.load({**simulation.settings, **(settings or {})}, environ={}).with_user(simulation.user.parameters)
        model = CtiModel(
            provider_class,
            user=simulation.user,
            settings=read.read(name, provider_class.settings_type),
            user_settings=read.read(name, provider_class.user_settings_type),
            name=name,
            hooks=hooks,
            raw_messages=True,
            clock=SessionClock(monotonic=anyio.current_time) if jumping else None,
        )
        async with model:
            events = model.events(after=Cursor(model.cursor.epoch, 0))
            await until(events, Initialized)
            yield model, simulation


async def talked_on(model: CtiModel, pbx: Simulation) -> Call:
    """Give a call that is talked on."""
    events = model.events()
    made = await model.make_call(pbx.subscriber)
    await until(events, CallConnected, lambda event: made.id in (event.call.id, *event.call.former_ids))
    call = model.current_call
    assert call is not None
    return call


async def rings_here(model: CtiModel, pbx: Simulation) -> Call:
    """Give a call that rings here."""
    events = model.events()
    await pbx.far_side.incoming("0671112233", "Olena")
    return (await until(events, CallStarted)).call


async def enquiry_of(model: CtiModel, pbx: Simulation, call: Call) -> Call:
    """Give an enquiry that is talked on, on behalf of a call."""
    events = model.events()
    made = await model.make_consult_call(pbx.subscriber, call)
    await until(events, CallConnected, lambda event: made.id in (event.call.id, *event.call.former_ids))
    enquiry = model.call(made.id)
    assert enquiry is not None
    return enquiry


class Places:
    """Makes what the names in examples stand for.

    Args:
        model: The session.
        pbx: The PBX.
        folder: A directory of the test's own.

    Attributes:
        printed: What an example printed.
    """

    def __init__(self, model: CtiModel, pbx: Simulation, folder: Path) -> None:
        self.printed: list[str] = []
        self._model = model
        self._pbx = pbx
        self._folder = folder

    async def names(self, used: set[str]) -> dict[str, Any]:
        """Make those that are used.

        Args:
            used: The names.

        Returns:
            What each stands for, with all that `cti_framework` has to give.
        """
        given: dict[str, Any] = {**imported(), "print": self.print}
        given |= {"model": self._model, "pbx": self._pbx, "directory": self._folder}
        if used & {"call", "enquiry"}:
            given["call"] = await talked_on(self._model, self._pbx)
        if "ringing" in used:
            given["ringing"] = await rings_here(self._model, self._pbx)
        if "enquiry" in used:
            given["enquiry"] = await enquiry_of(self._model, self._pbx, given["call"])
            given["call"] = self._model.call(given["call"].id)
        if "their_call" in used:
            far_side: Any = self._pbx.far_side
            given["their_call"] = await far_side.call_between_others()
        given["events"] = self._model.events()
        return given

    def print(self, *words: object) -> None:
        """Take what an example prints."""
        self.printed.append(" ".join(map(str, words)))


def imported() -> dict[str, Any]:
    """Give what an example may use without importing it: the public names of `cti_framework`."""
    return {name: getattr(cti_framework, name) for name in cti_framework.__all__ if not name.startswith("_")}


async def execute(section: Section, given: dict[str, Any]) -> dict[str, Any]:
    """Run an example.

    Args:
        section: Whose.
        given: The names that it may use; those that it makes are added.

    Returns:
        The names.
    """
    where = f"docs/{section.page}"
    # So that a line of a traceback is the page's.
    code = compile(section.code, f"{where} ({section.name})", "exec", flags=_FLAGS)
    result = eval(code, given)
    if inspect.isawaitable(result):
        await result
    return given


def check_said(section: Section, printed: list[str]) -> None:
    """Check that an example printed what it says.

    Args:
        section: Whose.
        printed: What it printed.
    """
    assert printed[: len(section.said)] == section.said, section.name


async def told_so_far(model: CtiModel) -> list[Event]:
    """Give all events of a session until now."""
    await anyio.wait_all_tasks_blocked()
    reader = model.events(after=Cursor(model.cursor.epoch, 0))
    taken: list[Event] = []
    while (event := reader.next_nowait()) is not None:
        taken.append(event)
    return taken


__all__ = [
    "BACKENDS",
    "DOCS",
    "Places",
    "Section",
    "check_said",
    "execute",
    "imported",
    "names_used",
    "own_module",
    "run",
    "sections",
    "session",
    "talked_on",
    "told_so_far",
]
