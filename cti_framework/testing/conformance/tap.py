"""Sits between the core and a provider: whatever one says to the other is written down, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, Final

import anyio

from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature
from cti_framework.errors import told_error
from cti_framework.plugins import PluginKind, Plugins
from cti_framework.provider import BaseCtiProvider, ProviderContext
from cti_framework.reports import Report
from cti_framework.testing.conformance.seen import Run, Seen

__all__ = ["VERBS", "Taps", "plugins_with"]

VERBS: Final[dict[str, CallFeature | AgentFeature]] = {
    "make_call": CallFeature.DIAL,
    "answer_call": CallFeature.ANSWER,
    "drop_call": CallFeature.DROP,
    "hold_call": CallFeature.HOLD,
    "unhold_call": CallFeature.UNHOLD,
    "send_dtmf": CallFeature.DTMF,
    "make_consult_call": CallFeature.CONSULT,
    "complete_transfer": CallFeature.COMPLETE_TRANSFER,
    "cancel_transfer": CallFeature.CANCEL_TRANSFER,
    "blind_transfer": CallFeature.BLIND_TRANSFER,
    "alternate": CallFeature.ALTERNATE,
    "conference": CallFeature.CONFERENCE,
    "set_mute": CallFeature.MUTE,
    "set_video": CallFeature.VIDEO,
    "start_recording": CallFeature.RECORDING,
    "stop_recording": CallFeature.RECORDING,
    "pause_recording": CallFeature.RECORDING,
    "monitor": CallFeature.MONITOR,
    "set_agent_state": AgentFeature.SET_STATE,
    "set_wrap_up": AgentFeature.WRAP_UP,
    "set_call_centre_mode": AgentFeature.CALL_CENTRE_MODE,
    "query_recordings": AgentFeature.CALL_RECORDS,
    "fetch_recording": AgentFeature.CALL_RECORDS,
}
"""Each verb of a provider, and the capability that declares it."""


class Taps:
    """Wraps a provider's class.

    Args:
        provider_class: The provider.
        seen: Where to write down.

    Attributes:
        wrapped: A subclass of it that does the same and is written down.
        provider: The one that was made last.
    """

    def __init__(self, provider_class: type[BaseCtiProvider], seen: Seen) -> None:
        self._seen = seen
        self.provider: BaseCtiProvider | None = None
        self.wrapped = self._wrap(provider_class)

    def _wrap(self, provider_class: type[BaseCtiProvider]) -> type[BaseCtiProvider]:
        taps, seen = self, self._seen

        def __init__(self: Any, context: ProviderContext) -> None:
            report = context.report

            def tapped(*reports: Report) -> None:
                for one in reports:
                    seen.report(one)
                report(*reports)
                seen.catch_up()

            context.report = tapped
            _tap_marks(context, seen)
            _tap_trace(context, seen)
            taps.provider = self
            provider_class.__init__(self, context)

        async def run(self: Any) -> None:
            this = Run(len(seen.runs) + 1)
            seen.runs.append(this)
            seen.note("run", f"run() {this.number} begins")
            try:
                await provider_class.run(self)
            except BaseException as error:
                this.error, this.fault = error, _fault(error)
                raise
            finally:
                this.is_over = True
                seen.note("run", f"run() {this.number} ends {_in_words(this.error)}")

        members: dict[str, Any] = {verb: _tapped_verb(getattr(provider_class, verb), verb, seen) for verb in VERBS}
        members |= {"__init__": __init__, "run": run, "__module__": provider_class.__module__, "__doc__": provider_class.__doc__}
        members["__qualname__"] = provider_class.__qualname__
        wrapped: type[BaseCtiProvider] = type(provider_class.__name__, (provider_class,), members)
        return wrapped


def _tap_marks(context: ProviderContext, seen: Seen) -> None:
    sent = context._command_sent

    def command_sent() -> None:
        seen.marks += 1
        if sent is not None:
            sent()

    context._command_sent = command_sent


def _tap_trace(context: ProviderContext, seen: Seen) -> None:
    trace = context.trace

    def traced(direction: str, name: str, detail: str) -> None:
        seen.traced.append(f"{direction} {name} {detail}")
        if trace is not None:
            trace(direction, name, detail)

    context.trace = traced


def _tapped_verb(act: Callable[..., Any], verb: str, seen: Seen) -> Callable[..., Any]:
    async def tapped(self: Any, *arguments: Any, **more: Any) -> Any:
        # The link of a recording may hold secrets.
        shown = () if verb == "fetch_recording" else arguments
        given = ", ".join(getattr(argument, "id", None) or repr(argument) for argument in shown)
        seen.note("verb", f"{verb}({given})")
        marks = seen.marks
        try:
            answer = await act(self, *arguments, **more)
        except BaseException as error:
            seen.note("verb", f"{verb} ends {_in_words(error)}")
            raise
        seen.note("verb", f"{verb} returns")
        if seen.marks == marks:
            seen.unmarked.append(verb)
        return answer

    tapped.__name__ = verb
    return tapped


def _fault(error: BaseException) -> BaseException | None:
    if isinstance(error, Exception):
        return None if told_error(error) is not None else error
    known = (KeyboardInterrupt, GeneratorExit, BaseExceptionGroup, anyio.get_cancelled_exc_class())
    return None if isinstance(error, known) else error


def _in_words(error: BaseException | None) -> str:
    if error is None:
        return "by itself"
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return "by cancellation"
    return f"with {type(error).__name__}: {error}"


def plugins_with(name: str, provider_class: type[BaseCtiProvider]) -> Plugins:
    """Make a set of installed plugins that has one provider, whatever is installed.

    Args:
        name: Its name.
        provider_class: The provider.

    Returns:
        They.
    """

    class Given(EntryPoint):
        def load(self) -> Any:
            return provider_class

    value = f"{provider_class.__module__}:{provider_class.__name__}"
    return Plugins(entry_points=lambda: [Given(name=name, value=value, group=PluginKind.PROVIDER.group)])
