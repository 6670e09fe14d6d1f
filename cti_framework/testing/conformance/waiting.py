"""Waiting for what a provider is to make known, and finding a rule broken where it does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from cti_framework.calls import Call
from cti_framework.events import CallEvent, Event
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.running import Broken, NotMeasured
from cti_framework.testing.conformance.seen import Seen

__all__ = ["Waiting", "is_same_call"]

EventT = TypeVar("EventT", bound=Event)
T = TypeVar("T")


def is_same_call(call: Call, call_id: str) -> bool:
    """Tell whether an identifier names a call, or did.

    Args:
        call: The call.
        call_id: The identifier.

    Returns:
        Whether.
    """
    return call_id == call.id or call_id in call.former_ids


class Waiting:
    """What was seen, and what is expected of it.

    Args:
        bench: The provider under test.
        seen: All that was done, reported and told.

    Attributes:
        bench: As given.
        seen: As given.
    """

    def __init__(self, bench: ProviderBench, seen: Seen) -> None:
        self.bench = bench
        self.seen = seen

    def expect(self, holds: object, otherwise: str) -> None:
        """Find a rule broken where something does not hold.

        Args:
            holds: What is to be true.
            otherwise: What is broken if not.

        Raises:
            Broken: It does not hold.
        """
        if not holds:
            raise Broken(otherwise)

    @contextmanager
    def expect_error(self, *kinds: type[BaseException], doing: str) -> Iterator[None]:
        """Find a rule broken where the block does not raise.

        Args:
            kinds: One of these is to be raised.
            doing: What the block does, in words.

        Yields:
            Nothing.

        Raises:
            Broken: Nothing was raised, or something else.
        """
        wanted = " or ".join(kind.__name__ for kind in kinds)
        try:
            yield
        except kinds:
            return
        except (Broken, NotMeasured):
            raise
        except Exception as error:
            raise Broken(f"{doing} raised {type(error).__name__} ({error}) and not {wanted}.") from error
        raise Broken(f"{doing} raised nothing; {wanted} was due.")

    def mark(self) -> int:
        """Give the present place in the session's events, to wait for what comes from here on.

        Returns:
            A number for ``until``'s ``since``.
        """
        self.seen.catch_up()
        return len(self.seen.events)

    async def until(
        self,
        event_type: type[EventT],
        call: Call | str | None = None,
        where: Callable[[EventT], object] | None = None,
        *,
        since: int = 0,
        what: str = "",
    ) -> EventT:
        """Wait for an event; one that came already counts, too.

        Args:
            event_type: Its class.
            call: The call that it is about.
            where: What else is to be so.
            since: Where to begin, as ``mark`` gave it.
            what: What is waited for, in words.

        Returns:
            The first that fits.

        Raises:
            Broken: It did not come in time.
        """
        call_id = call.id if isinstance(call, Call) else call
        place = since
        with anyio.move_on_after(self.bench.patience_seconds):
            while True:
                self.seen.catch_up()
                while place < len(self.seen.events):
                    event = self.seen.events[place]
                    place += 1
                    if (
                        isinstance(event, event_type)
                        and (call_id is None or (isinstance(event, CallEvent) and is_same_call(event.call, call_id)))
                        and (where is None or where(event))
                    ):
                        return event
                await self.seen.change()
        about = "" if call_id is None else f" about call {call_id}"
        wanted = f" ({what})" if what else ""
        raise Broken(f"{event_type.__name__}{about}{wanted} did not come within {self.bench.patience_seconds:g} s.")

    async def until_so(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so; it is looked at whenever something was told.

        Args:
            is_so: Whether it is.
            what: What is waited for, in words.

        Raises:
            Broken: It was not so in time.
        """
        with anyio.move_on_after(self.bench.patience_seconds):
            while not is_so():
                await self.seen.change()
            return
        raise Broken(f"{what}: that was not so within {self.bench.patience_seconds:g} s.")

    async def within(self, act: Awaitable[T], doing: str) -> T:
        """Await something, but not for ever.

        Args:
            act: What.
            doing: The same in words.

        Returns:
            What it gives.

        Raises:
            Broken: It did not end in time.
        """
        with anyio.move_on_after(self.bench.patience_seconds):
            return await act
        raise Broken(f"{doing} did not end within {self.bench.patience_seconds:g} s.")
