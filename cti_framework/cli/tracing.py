"""Seeing what each layer does, without a line for it in the layers: what is watched is wrapped when it is watched.

The provider's class is replaced by a subclass made on the spot, which tells the verbs that the core calls, the reports that
it makes and the messages that it exchanges with the PBX (``ProviderContext.trace``). A companion tells the events and what the
core asks the host.
"""

from __future__ import annotations

import inspect
import re
import time
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from cti_framework.calls import Call
from cti_framework.cli.console import OutputClosed
from cti_framework.cli.words import event_in_words, in_words, report_in_words
from cti_framework.errors import CtiError
from cti_framework.events import CallEvent, Event
from cti_framework.hooks import Hooks, hook_name, hookimpl
from cti_framework.plugins import PluginRecord, Plugins
from cti_framework.provider import BaseCtiProvider, CtiUser, ProviderContext
from cti_framework.reports import CallReport, IdChanged, Report, Snapshot

__all__ = [
    "COMPANION",
    "HOST",
    "INITIALIZER",
    "LINE",
    "MODEL",
    "OPERATOR",
    "PBX",
    "SIMULATOR",
    "SUBSCRIBER",
    "Step",
    "Trace",
    "WatchedPlugins",
    "WatchingCompanion",
    "call_id_of",
]

OPERATOR: Final = "operator"
SUBSCRIBER: Final = "subscriber"
HOST: Final = "host"
INITIALIZER: Final = "CtiProviderInitializer"
PLUGINS: Final = "Plugins"
COMPANION: Final = "companion"
MODEL: Final = "CtiModel"
LINE: Final = "Line"
PBX: Final = "PBX"
SIMULATOR: Final = "simulator"


@attrs.frozen
class Step:
    """One thing that one layer says to another.

    Attributes:
        at_seconds: Since the trace began.
        source: Who.
        target: To whom.
        name: What.
        call_id: The call concerned, if it is one.
        detail: More, in words.
    """

    at_seconds: float
    source: str
    target: str
    name: str
    call_id: str | None = None
    detail: str = ""


def call_id_of(event: Event) -> str | None:
    """Find the call that an event is about.

    Args:
        event: The event.

    Returns:
        The call's identifier, or ``None``.
    """
    call = getattr(event, "call", None)
    return call.id if isinstance(call, Call) else None


class Trace:
    """Collects steps in the order in which they are made.

    Layers are never disturbed by being watched: that nobody reads any more is kept until ``check()`` asks for it.

    Args:
        tell: Told each step.
        clock: Gives seconds that only grow.
    """

    def __init__(self, tell: Callable[[Step], None], *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._closed: OutputClosed | None = None

    def step(self, source: str, target: str, name: str, detail: str = "", *, call: str | None = None) -> None:
        """Tell a step.

        Args:
            source: Who.
            target: To whom.
            name: What.
            detail: More, in words.
            call: The identifier of the call concerned.
        """
        if self._closed is None:
            try:
                self._tell(Step(self._clock() - self._began, source, target, name, call, detail))
            except OutputClosed as closed:
                self._closed = closed

    def check(self) -> None:
        """Make sure that the steps were told.

        Raises:
            OutputClosed: Nobody reads any more.
        """
        if self._closed is not None:
            raise self._closed


class WatchedPlugins(Plugins):
    """Plugins whose providers are watched.

    Args:
        plugins: The plugins.
        trace: Where steps go.
    """

    def __init__(self, plugins: Plugins, trace: Trace) -> None:
        super().__init__(entry_points=tuple)
        self._watched = plugins
        self._trace = trace

    def records(self) -> tuple[PluginRecord, ...]:
        """Tell what is installed.

        Returns:
            One record a plugin.
        """
        return self._watched.records()

    def find_provider(self, name: str) -> PluginRecord | None:
        """Find the provider of a name.

        Args:
            name: As in ``cti.provider``.

        Returns:
            Its record, or ``None``.
        """
        return self._watched.find_provider(name)

    def load_provider(self, name: str) -> type[BaseCtiProvider]:
        """Import the provider of a name.

        Args:
            name: As in ``cti.provider``.

        Returns:
            A watched subclass of its class.

        Raises:
            CtiError: As ``Plugins.load_provider`` does.
        """
        self._trace.step(INITIALIZER, PLUGINS, "load_provider", f"entry point '{name}' of cti_framework.providers")
        provider_class = self._watched.load_provider(name)
        found = f"{provider_class.__name__} of {self.find_provider(name)}, provider API {provider_class.provider_api}"
        self._trace.step(PLUGINS, INITIALIZER, "class", found)
        return _watched_class(provider_class, self._trace)

    def load_companions(self, hooks: Hooks) -> None:
        """Load no companion: one that is installed is not to take what is played for the truth.

        Args:
            hooks: Left alone.
        """


class WatchingCompanion:
    """Tells what the core asks the host, each event, and that hooks are told those about calls.

    Args:
        trace: Where steps go.
        directory: The answer to ``cti_user_connection``: the users directory has it for everybody.
    """

    def __init__(self, trace: Trace, directory: Mapping[str, Any]) -> None:
        self._trace = trace
        self._directory = directory

    @hookimpl
    def cti_log_in(self, user: CtiUser, licences: tuple[str, ...]) -> bool:
        """Let everybody in."""
        wanted = f"; licences: {', '.join(licences)}" if licences else ""
        self._trace.step(INITIALIZER, COMPANION, "cti_log_in", f"may user {user.id} use telephony?{wanted}")
        self._trace.step(COMPANION, INITIALIZER, "cti_log_in", "yes")
        return True

    @hookimpl
    def cti_user_connection(self, user: CtiUser, provider: str) -> Mapping[str, Any] | None:
        """Look the user up."""
        self._trace.step(INITIALIZER, COMPANION, "cti_user_connection", f"user {user.id} at {provider}?")
        # The keys only: the values are the user's password and the like.
        found = ", ".join(self._directory) or "nothing of the user's own; the system's settings hold"
        self._trace.step(COMPANION, INITIALIZER, "cti_user_connection", found)
        return self._directory or None

    @hookimpl
    def cti_event(self, event: Event) -> None:
        """Be told an event: the line has just made it."""
        self._trace.step(LINE, MODEL, type(event).__name__, event_in_words(event), call=call_id_of(event))
        if isinstance(event, CallEvent):
            self._trace.step(MODEL, COMPANION, hook_name(type(event)), f"event {event.seq}", call=event.call.id)


_LEG: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.ASCII | re.IGNORECASE)


@attrs.define(eq=False)
class _Legs:
    """Which call a message of the PBX is about, as far as can be seen from outside.

    A PBX names legs, a report names the call: what a provider reports upon a message is about that message's leg.
    """

    _calls: dict[str, str] = attrs.field(factory=dict)
    _latest: str | None = None

    def call_of(self, detail: str) -> str | None:
        """Find the call of a message, and take what is reported next for what it led to."""
        found = _LEG.search(detail)
        self._latest = found[0] if found else None
        return None if self._latest is None else self._calls.get(self._latest)

    def reported(self, report: CallReport) -> None:
        """Learn from a report."""
        if self._latest is not None:
            self._calls.setdefault(self._latest, report.call_id)
        if isinstance(report, IdChanged):
            former = [leg for leg, call_id in self._calls.items() if call_id == report.call_id]
            self._calls.update(dict.fromkeys(former, report.new_id))


def _watched_class(provider_class: type[BaseCtiProvider], trace: Trace) -> type[BaseCtiProvider]:
    name = provider_class.__name__

    def __init__(self: BaseCtiProvider, context: ProviderContext) -> None:
        report = context.report

        def watched_report(*reports: Report) -> None:
            # One by one: what follows from each is shown under it.
            for made in reports:
                call_id = None
                if isinstance(made, CallReport):
                    call_id = made.call_id
                    legs.reported(made)
                trace.step(name, LINE, type(made).__name__, report_in_words(made), call=call_id)
                report(made)

        def watched_message(direction: str, message: str, detail: str = "") -> None:
            source, target = (name, PBX) if direction == "to_pbx" else (PBX, name)
            trace.step(source, target, message, detail.strip(), call=legs.call_of(detail))

        legs = _Legs()
        context.report = watched_report
        context.trace = watched_message
        provider_class.__init__(self, context)

    members: dict[str, Any] = {"__init__": __init__, "__module__": provider_class.__module__, "__doc__": provider_class.__doc__}
    for verb, inherited in vars(BaseCtiProvider).items():
        if inspect.iscoroutinefunction(inherited):
            members[verb] = _watched_verb(verb, getattr(provider_class, verb), name, trace)
    watched: type[BaseCtiProvider] = types.new_class(name, (provider_class,), exec_body=lambda body: body.update(members))
    return watched


def _watched_verb(verb: str, original: Callable[..., Any], name: str, trace: Trace) -> Callable[..., Any]:
    async def watched(self: BaseCtiProvider, *arguments: Any) -> Any:
        call_id = next((argument.id for argument in arguments if isinstance(argument, Call)), None)
        told = ", ".join(in_words(argument) for argument in arguments)
        trace.step(MODEL, name, verb, told, call=call_id)
        try:
            result = await original(self, *arguments)
        except CtiError as error:
            trace.step(name, MODEL, verb, f"{type(error).__name__}: {error.message}", call=call_id)
            raise
        if isinstance(result, Call):
            call_id = result.id
        trace.step(name, MODEL, verb, _result_in_words(result), call=call_id)
        return result

    return watched


def _result_in_words(result: Any) -> str:
    if result is None:
        return "done"
    return report_in_words(result) if isinstance(result, Snapshot) else in_words(result)
