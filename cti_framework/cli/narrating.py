"""How the demo tells its steps: as objects, or as a timeline for people."""

from __future__ import annotations

from typing import Final

from cti_framework.cli.console import Output
from cti_framework.cli.tracing import HOST, INITIALIZER, MODEL, OPERATOR, PBX, SUBSCRIBER, Step

__all__ = ["JsonNarrator", "TimelineNarrator"]


class JsonNarrator:
    """Steps as objects.

    Args:
        output: Where to write.
    """

    def __init__(self, output: Output) -> None:
        self._output = output

    def act(self, title: str) -> None:
        """Tell nothing: what is no step is no line."""

    def step(self, step: Step) -> None:
        """Write a step."""
        self._output.json(
            {
                "at_ms": round(step.at_seconds * 1000, 1),
                "from": step.source,
                "to": step.target,
                "step": step.name,
                "call": step.call_id,
                "detail": step.detail,
            }
        )


_STYLES: Final = {OPERATOR: "bold", SUBSCRIBER: "bold", HOST: "green", MODEL: "cyan", INITIALIZER: "green", PBX: "yellow"}


class TimelineNarrator:
    """Steps as lines that are aligned, under a heading for each act.

    Args:
        output: Where to write.
    """

    def __init__(self, output: Output) -> None:
        self._output = output

    def act(self, title: str) -> None:
        """Write a heading."""
        self._output.line("")
        self._output.line((title, "bold", 0))

    def step(self, step: Step) -> None:
        """Write a step."""
        self._output.line(
            (f"{step.at_seconds * 1000:8.1f} ms", "dim", 0),
            (f"{_shown(step.source)} → {_shown(step.target)}", _STYLES.get(step.source, "blue"), _WHO_WIDTH),
            (step.name, "bold", _STEP_WIDTH),
            # What the host is told has just been told to the model.
            (step.detail, "dim" if (step.source, step.target) == (MODEL, HOST) else "", 0),
        )


_WHO_WIDTH: Final = 29
_STEP_WIDTH: Final = 21


def _shown(who: str) -> str:
    return "Initializer" if who == INITIALIZER else who
