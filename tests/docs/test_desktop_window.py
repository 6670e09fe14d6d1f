"""The window of ``docs/examples/desktop_window.py``, where there is no display: a toolkit that does nothing but keep its turn."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cti_framework import CtiProviderInitializer, open_session

EXAMPLE = Path(__file__).parents[2] / "docs/examples/desktop_window.py"


class Toolkit(ModuleType):
    """As much of tkinter as the example uses. Its operator presses a button whenever something new is shown."""

    def __init__(self) -> None:
        super().__init__("tkinter")
        self.shown: list[str] = []
        self.buttons: dict[str, Callable[[], object]] = {}
        self._turns: deque[Callable[[], object]] = deque()
        self._is_over = False
        self.Label = lambda window, textvariable, width: self
        self.StringVar = lambda window, value: self
        self.Tk = lambda: self

    def Button(self, window: object, text: str, command: Callable[[], object]) -> Toolkit:
        self.buttons[text] = command
        return self

    def pack(self) -> None:
        """There is nowhere to put it."""

    def set(self, text: str) -> None:
        self.shown.append(text)
        if text.startswith("CallConnected"):
            self.buttons["Hang up"]()
        if text.startswith("CallFinished"):
            # There is no call left: the operator is told why it cannot be.
            self.buttons["Hang up"]()
        self._is_over = "there is no call" in text

    def after(self, milliseconds: int, act: Callable[[], object]) -> None:
        self._turns.append(act)

    def mainloop(self) -> None:
        self.buttons["Call"]()
        while not self._is_over:
            self._turns.popleft()()


@pytest.fixture
def example() -> Any:
    spec = importlib.util.spec_from_file_location("docs_desktop_window", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_call_in_the_window(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    toolkit = Toolkit()
    monkeypatch.setitem(sys.modules, "tkinter", toolkit)
    initializer = CtiProviderInitializer({"cti.provider": "dummy"}, environ={})
    with ThreadPoolExecutor(max_workers=1) as worker, open_session(initializer, "100") as session:
        example.in_window(session, worker)
    assert [text.partition(":")[0] for text in toolkit.shown] == [
        "CallStarted",
        "CallInfoChanged",
        "CallConnected",
        "CallFinished",
        "drop_call",
    ]
