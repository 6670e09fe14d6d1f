"""Events on their way from the switch to whoever listens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

from cti_framework.switchboard.events import SwitchEvent

__all__ = ["Delivery"]


class Delivery:
    """Collects what an operation raises and delivers it when the outermost operation is through.

    So no listener ever sees half of an operation, each may operate the switch itself, and all see one order.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[SwitchEvent], None]] = []
        self._events: deque[SwitchEvent] = deque()
        self._depth = 0
        self._delivering = False

    def subscribe(self, listener: Callable[[SwitchEvent], None]) -> Callable[[], None]:
        """Add a listener.

        Args:
            listener: Called with each event, in order; it must not raise.

        Returns:
            What removes it.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def publish(self, event: SwitchEvent) -> None:
        """Raise an event, within an operation.

        Args:
            event: Which.
        """
        self._events.append(event)

    def drop(self) -> None:
        """Forget what is not delivered yet."""
        self._events.clear()

    @contextmanager
    def operation(self) -> Generator[None]:
        """The block is one operation, or a part of the one around it."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and not self._delivering:
                self._deliver()

    def _deliver(self) -> None:
        self._delivering = True
        try:
            while self._events:
                event = self._events.popleft()
                for listener in tuple(self._listeners):
                    listener(event)
        finally:
            self._delivering = False
