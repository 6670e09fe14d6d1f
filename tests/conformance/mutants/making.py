"""How a mutant is made: the dummy, but for one thing that it reports, shows in a snapshot, or does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from cti_dummy import DummyCtiProvider
from cti_framework.provider import BaseCtiProvider, ProviderContext
from cti_framework.reports import CallSnapshot, Report, Snapshot
from cti_framework.testing.conformance import ProviderBench

__all__ = ["Misquoting", "Misreporting", "Mutant", "bench_of"]


@attrs.frozen
class Mutant:
    """A provider with one fault.

    Attributes:
        provider: It.
        fails: The tests of the kit that have to fail on it.
        changes: What its bench has to be told beside the usual.
        backend: The event loop that its fault shows on; ``None``: either.
        raises: What comes out of the provider, where the finding is an error and not that something is otherwise than it should.
    """

    provider: type[BaseCtiProvider]
    fails: tuple[str, ...]
    changes: dict[str, Any] = attrs.field(factory=dict, kw_only=True)
    backend: str | None = attrs.field(default=None, kw_only=True)
    raises: tuple[type[Exception], ...] = attrs.field(default=(), kw_only=True)


def bench_of(provider_class: type[BaseCtiProvider], **changes: Any) -> ProviderBench:
    """Make a bench on which what does not come is not waited for long."""
    told = {"name": "dummy", "refused": {"dummy.number": "999"}, "patience_seconds": 0.3, "limit_seconds": 5.0, **changes}
    return ProviderBench(provider_class, **told)


class Misreporting(DummyCtiProvider):
    """Reports something else instead of each report."""

    def __init__(self, context: ProviderContext) -> None:
        self.report = context.report

        def otherwise(*reports: Report) -> None:
            for one in reports:
                self.report(*self.said(one))

        context.report = otherwise
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        """Give what is reported in place of a report."""
        return [report]


class Misquoting(DummyCtiProvider):
    """Shows something else in a snapshot."""

    async def snapshot(self) -> Snapshot:
        truth = await super().snapshot()
        return attrs.evolve(truth, calls=tuple(item for call in truth.calls for item in self.shown(call)))

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        """Give what a snapshot has in place of a call."""
        return [call]
