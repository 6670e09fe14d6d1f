"""A sound card that is not there, so that tests need none."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

__all__ = ["sound_card"]


class _Errors(Exception):
    """What PortAudio raises."""


class _Stream:
    """A stream of a sound card that is not there."""

    def __init__(self, said: bytes, callback: Callable[..., None], device: str | None, **_: Any) -> None:
        if device == "gone":
            raise ValueError("No input device matching 'gone'")
        self._said = said
        self._callback = callback
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def close(self, ignore_errors: bool = True) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.005):
            self._callback(bytearray(self._said), len(self._said) // 2, None, None)


def sound_card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Plug a headset in: PortAudio's module, as far as it is used.

    Returns:
        The module. ``said`` is what its microphone hears, ``devices`` what it lists.
    """
    headset = {"name": "Headset", "max_input_channels": 1, "max_output_channels": 2}
    module = SimpleNamespace(said=struct.pack("<960h", *([3000, -3000] * 480)), devices=[headset], PortAudioError=_Errors)
    module.query_devices = lambda: module.devices
    module.default = SimpleNamespace(device=(0, 0))
    module.RawInputStream = lambda **given: _Stream(module.said, **given)
    module.RawOutputStream = module.RawInputStream
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module
