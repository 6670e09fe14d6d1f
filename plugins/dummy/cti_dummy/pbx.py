"""The PBX that the dummy provider connects to: a ``Switchboard`` with a network in between that can be cut."""

from __future__ import annotations

import anyio

from cti_framework.switchboard import Switchboard, SwitchOptions

__all__ = ["DummyPbx"]

DOMAIN = "demo.local"


class DummyPbx:
    """A PBX in memory with three users, 100 to 102, and an outside world that answers when it is called.

    Args:
        switchboard: The switch; ``None``: a new one.

    Attributes:
        switchboard: As given, or the new one. Its time stands still unless somebody turns it or drives it.
    """

    def __init__(self, switchboard: Switchboard | None = None) -> None:
        if switchboard is None:
            switchboard = Switchboard(options=SwitchOptions(far_answer_seconds=0.15))
            for number in ("100", "101", "102"):
                switchboard.add_account(number, DOMAIN, name=f"User {number}")
        self.switchboard = switchboard
        self._lines: set[anyio.Event] = set()

    def plug_in(self) -> anyio.Event:
        """Lay a line to the PBX.

        Returns:
            What is set when the line is cut.
        """
        line = anyio.Event()
        self._lines.add(line)
        return line

    def unplug(self, line: anyio.Event) -> None:
        """Take a line away.

        Args:
            line: As ``plug_in`` gave it.
        """
        self._lines.discard(line)

    def cut(self) -> None:
        """Cut all lines, without a goodbye."""
        for line in tuple(self._lines):
            line.set()
