"""Every error has a section in the reference, and its example provokes that error and handles it."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.abc
import pytest

from cti_dummy import DummyCtiProvider
from cti_framework import errors
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, ProviderContext
from tests.docs.reference_pages import BACKENDS, DOCS, Places, check_said, execute, names_used, run, sections, session

PAGE = "reference/errors.md"
SECTIONS = sections(PAGE)
ERRORS = [name for name in errors.__all__ if name.endswith("Error")]
GROUP = "cti_framework.providers"


class Moody(DummyCtiProvider):
    def __init__(self, context: ProviderContext) -> None:
        raise RuntimeError("not today")


@pytest.fixture(autouse=True)
def nothing_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples make initializers, which read the variables of the process."""
    for variable in [name for name in os.environ if name.startswith("CTI_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The plugins of the page: some of them are broken."""
    old, moody = ModuleType("cti_old"), ModuleType("cti_moody")
    vars(old)["Provider"] = type("Provider", (BaseCtiProvider,), {"provider_api": 0})
    vars(moody)["Provider"] = Moody
    monkeypatch.setitem(sys.modules, "cti_old", old)
    monkeypatch.setitem(sys.modules, "cti_moody", moody)
    entries = [
        EntryPoint("acme", "cti_acme:Provider", GROUP),
        EntryPoint("acme", "cti_other:Provider", GROUP),
        EntryPoint("torn", "cti_torn:Provider", GROUP),
        EntryPoint("old", "cti_old:Provider", GROUP),
        EntryPoint("moody", "cti_moody:Provider", GROUP),
    ]
    return Plugins(entry_points=lambda: entries)


@asynccontextmanager
async def web_server() -> AsyncIterator[str]:
    """Serve what is no PBX; give its address as one of a WebSocket."""

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"ws://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def handled(code: str) -> set[str]:
    """Tell which errors an example names where it handles them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name):
            found.add(node.type.id)
        elif isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name):
            found.add(node.cls.id)
    return found


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_an_example(error: str) -> None:
    assert error in SECTIONS, f"docs/{PAGE} has no section `{error}`"
    assert error in handled(SECTIONS[error].code), f"the example of {error} handles something else"
    if error != "CtiError":
        assert f"](#{error.lower()})" in (DOCS / PAGE).read_text(encoding="utf-8"), f"no table leads to {error}"


def test_no_error_is_told_that_there_is_not() -> None:
    assert set(SECTIONS) <= set(ERRORS)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("error", SECTIONS)
def test_the_example_of_an_error_provokes_it(error: str, backend: str, plugins: Plugins, tmp_path: Path) -> None:
    section = SECTIONS[error]
    used = names_used(section.code)
    # Providers are loaded in threads, which do not jump.
    jumping = not used & {"CtiProviderInitializer", "web_server"}
    printed: list[str] = []

    async def act() -> None:
        async with session(DummyCtiProvider, jumping=jumping) as (model, pbx):
            places = Places(model, pbx, tmp_path)
            given: dict[str, Any] = {**await places.names(used), "anyio": anyio, "plugins": plugins}
            if "web_server" in used:
                async with web_server() as address:
                    await execute(section, {**given, "web_server": address})
            else:
                await execute(section, given)
            printed.extend(places.printed)

    run(backend, act, jumping=jumping)
    # It prints only where it handles the error.
    assert printed, f"the example of {error} does not provoke it"
    check_said(section, printed)
