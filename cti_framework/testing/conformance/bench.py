"""What the kit is told about a provider under test."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any

import attrs

from cti_framework.provider import BaseCtiProvider, Simulation

__all__ = ["ProviderBench"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


def _positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} is {value!r}, it takes seconds above 0")


@attrs.frozen
class ProviderBench:
    """A provider under test, and the PBX in a box that it is tested on.

    Attributes:
        provider_class: The provider.
        simulate: Makes the PBX in a box, a new one for each test; ``None``: the provider's own ``simulator()``.
        name: By what its settings are named; ``None``: the class's name in small letters, without ``CtiProvider``.
        refused: Settings, by dotted key, with which the PBX refuses the user, the system's or the user's: they replace those of
            the PBX in a box. ``None``: all secret settings are set wrong, and where there is none, nothing can be refused.
        web_phone: Makes the PBX in a box for a user whose sound goes through the session; ``None``: what the PBX in a box has
            as its ``web_phone``.
        by_web_phone: Whether every rule is measured of that user, and not only what needs his web phone.
        known_failures: The names of tests that are known to fail, each with why. One that passes fails: it is to be taken out.
        patience_seconds: How long what must come may take, and logging in. Only a test that fails waits as long.
        settle_seconds: After how long, with nothing on its way any more, nothing else is expected to come.
        limit_seconds: How long one test may take; one that hangs is given up then.
    """

    provider_class: type[BaseCtiProvider]
    simulate: Callable[[], AbstractAsyncContextManager[Simulation]] | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    refused: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, repr=False)
    web_phone: Callable[[], AbstractAsyncContextManager[Simulation]] | None = attrs.field(default=None, kw_only=True)
    by_web_phone: bool = attrs.field(default=False, kw_only=True)
    known_failures: Mapping[str, str] = attrs.field(default=_NOTHING, kw_only=True)
    patience_seconds: float = attrs.field(default=5.0, kw_only=True, validator=_positive)
    settle_seconds: float = attrs.field(default=0.05, kw_only=True, validator=_positive)
    limit_seconds: float = attrs.field(default=20.0, kw_only=True, validator=_positive)

    @property
    def provider_name(self) -> str:
        """By what its settings are named."""
        if self.name is not None:
            return self.name
        return re.sub(r"(Cti)?Provider$", "", self.provider_class.__name__).lower() or self.provider_class.__name__.lower()

    @property
    def packages(self) -> frozenset[str]:
        """The packages that the provider is written in: its own, and those of the classes that it is a subclass of."""
        found = {base.__module__.partition(".")[0] for base in self.provider_class.__mro__[:-1]}
        return frozenset(found - {"abc", "cti_framework", "typing"})

    def simulation(self) -> AbstractAsyncContextManager[Simulation]:
        """Make the PBX in a box.

        Returns:
            An asynchronous context manager that gives it, running.

        Raises:
            NotSupportedError: The provider brings none, and none was given.
        """
        return self.provider_class.simulator() if self.simulate is None else self.simulate()
