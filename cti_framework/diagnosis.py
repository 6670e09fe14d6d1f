"""What a diagnosis is made of: steps, each with what was found and what to do.

`cti_framework.doctor` walks from the settings to a session; a provider adds what only it can look at, in
``BaseCtiProvider.diagnose``::

    async def diagnose(self, checks):
        async def phone():
            if not await self._has_phone():
                return Finding("No phone is registered.", StepState.WARNING, remedy="Switch the phone on.")
            return "A phone is registered."

        await checks.check("phone", phone)

A step that fails stops no other, except those that say by ``needs`` that they cannot do without it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import attrs

from cti_framework.errors import AddressError, CtiError, SettingsError

__all__ = ["Checks", "DiagnosisStep", "Endpoint", "Finding", "StepState"]

_PORTS: Final = {"ws": 80, "http": 80, "wss": 443, "https": 443}
_ENCRYPTED: Final = frozenset({"wss", "https", "tls"})


class StepState(Enum):
    """What came of a step."""

    OK = "ok"
    """It is as it should be."""
    WARNING = "warning"
    """It works, and something about it wants a look."""
    FAILED = "failed"
    """It does not work."""
    SKIPPED = "skipped"
    """It was not looked at: a step before it failed that it needs, or there is nothing to look at."""


@attrs.frozen
class Finding:
    """What a step found.

    Attributes:
        detail: In a sentence.
        state: What it means.
        remedy: What to do, where something is to be done.
    """

    detail: str
    state: StepState = StepState.OK
    remedy: str | None = None


@attrs.frozen
class DiagnosisStep:
    """One step of a diagnosis.

    Attributes:
        step: Its name, the same in every version: ``"log_in"``, ``"engine: port"``.
        state: What came of it.
        detail: What was found, in a sentence.
        remedy: What to do, where something is to be done.
        seconds: How long it took.
    """

    step: str
    state: StepState
    detail: str
    remedy: str | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data, for ``--json`` output.

        Returns:
            The attributes by name, the state by value.
        """
        return {**attrs.asdict(self), "state": self.state.value, "seconds": round(self.seconds, 3)}


@attrs.frozen
class Endpoint:
    """An address that a provider connects to, for whoever looks into a network.

    Attributes:
        name: What is there, in one word: ``"engine"``. Steps are named by it.
        url: ``ws://``, ``wss://``, ``http://``, ``https://``; ``tcp://`` or ``tls://`` for anything else, with its port.
    """

    name: str
    url: str = attrs.field(repr=False)

    @property
    def scheme(self) -> str:
        """The first part of the address, in small letters."""
        return self.url.strip().partition("://")[0].lower()

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in _ENCRYPTED

    def place(self) -> tuple[str, int]:
        """Tell where it is.

        Returns:
            Host and port.

        Raises:
            AddressError: That cannot be told.
        """
        try:
            parts = urlsplit(self.url.strip())
            host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            host = port = None
        if "://" not in self.url or not host or not port:
            # Not the address: a password may be in it.
            raise AddressError(
                f"The address of the {self.name} tells no host and port that could be connected to.",
                remedy="Write it as wss://host:port.",
            )
        return host, port


class Checks:
    """Takes the steps of one diagnosis, one after the other.

    Args:
        on_step: Told each step when it has ended; ``None``: nobody is.
        redact: Takes secrets out of what is told.
        timeout_seconds: How long a step may take that does not say.

    Attributes:
        steps: Those that have ended.
    """

    def __init__(
        self,
        *,
        on_step: Callable[[DiagnosisStep], object] | None = None,
        redact: Callable[[str], str] = str,
        timeout_seconds: float = 15.0,
    ) -> None:
        self.steps: list[DiagnosisStep] = []
        self._on_step = on_step
        self._redact = redact
        self._timeout_seconds = timeout_seconds

    async def check(
        self,
        step: str,
        act: Callable[[], Awaitable[Finding | str]],
        *,
        needs: Sequence[str] = (),
        timeout_seconds: float | None = None,
    ) -> bool:
        """Take a step. Whatever it raises is told, and goes no further.

        Args:
            step: Its name.
            act: Looks, and says what it found; a text alone is in order. A ``CtiError`` is told with its remedy, of other
                errors only the type: their words may hold secrets.
            needs: The steps without which there is nothing to look at.
            timeout_seconds: How long it may take.

        Returns:
            Whether it worked, be it with a warning.
        """
        missing = [need for need in needs if not self.is_good(need)]
        if missing:
            return self.tell(step, Finding(f"Not looked at: it needs {' and '.join(missing)}.", StepState.SKIPPED))
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        finding = Finding(
            f"It did not end within {seconds:g} s.",
            StepState.FAILED,
            remedy="Something there neither answers nor refuses; try again, and look at the log (`cti -v …`).",
        )
        began = time.monotonic()
        try:
            with anyio.move_on_after(seconds):
                found = await act()
                finding = Finding(found) if isinstance(found, str) else found
        except Exception as error:  # noqa: BLE001 - a diagnosis goes on, whatever a plugin raises
            finding = _failure(error)
        return self.tell(step, finding, seconds=time.monotonic() - began)

    def tell(self, step: str, finding: Finding, *, seconds: float = 0.0) -> bool:
        """Put down what was found elsewhere.

        Args:
            step: The step's name.
            finding: What was found.
            seconds: How long it took.

        Returns:
            Whether it worked, be it with a warning.
        """
        remedy = finding.remedy
        if remedy is None and finding.state is StepState.FAILED:
            # Somebody has to do something, whatever is known of it.
            remedy = _ANY_REMEDY
        remedy = None if remedy is None else self._redact(remedy)
        told = DiagnosisStep(step, finding.state, self._redact(finding.detail), remedy, seconds)
        self.steps.append(told)
        if self._on_step is not None:
            self._on_step(told)
        return told.state in _GOOD

    def is_good(self, step: str) -> bool:
        """Tell whether a step worked, be it with a warning.

        Args:
            step: Its name.

        Returns:
            Whether; a step that was never taken did not.
        """
        return any(told.step == step and told.state in _GOOD for told in self.steps)


_ANY_REMEDY: Final = "Try again; if it stays so, look at the log (`cti -v …`)."
_GOOD: Final = (StepState.OK, StepState.WARNING)


def _failure(error: Exception) -> Finding:
    told = next((leaf for leaf in _leaves(error) if isinstance(leaf, CtiError)), None)
    if told is None:
        return Finding(
            f"Unexpected {type(next(_leaves(error))).__name__}: a fault of the program or of a plugin.",
            StepState.FAILED,
            remedy="Tell the plugin's author.",
        )
    problems = f" {'; '.join(told.problems)}." if isinstance(told, SettingsError) else ""
    # The last may end in a question: "did you mean …?"
    problems = problems.removesuffix(".") if problems.endswith("?.") else problems
    return Finding(f"{told.message}{problems}", StepState.FAILED, remedy=told.remedy or None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
