"""Faults in what the dummy cannot do: two calls that belong together, recordings, the call centre: Webitel, but for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from cti_framework.calls import Call, EndCause
from cti_framework.errors import CommandError
from cti_framework.provider import FetchProgress, ProviderContext
from cti_framework.reports import Ended, Offered, Originated, Report
from cti_webitel import WebitelCtiProvider
from tests.conformance.mutants.making import Mutant

__all__ = ["MUTANTS"]

_WEBITEL: dict[str, Any] = {"name": "webitel", "refused": None, "patience_seconds": 0.7}


class _Misreporting(WebitelCtiProvider):
    def __init__(self, context: ProviderContext) -> None:
        report = context.report
        context.report = lambda *reports: report(*(self.said(one) for one in reports))
        super().__init__(context)

    def said(self, report: Report) -> Report:
        return report


class TransferIsAnEnd(_Misreporting):
    """Takes a transfer for an ordinary end."""

    def said(self, report: Report) -> Report:
        return attrs.evolve(report, cause=EndCause.NORMAL) if isinstance(report, Ended) else report


class NoParent(_Misreporting):
    """Does not say on whose behalf an enquiry is made."""

    def said(self, report: Report) -> Report:
        return attrs.evolve(report, parent_id=None) if isinstance(report, Originated) else report


class _EndingBoth(WebitelCtiProvider):
    def __init__(self, context: ProviderContext) -> None:
        report = context.report
        parents: dict[str, str] = {}

        def otherwise(*reports: Report) -> None:
            for one in reports:
                report(one)
                if isinstance(one, Originated) and one.parent_id is not None:
                    parents[one.call_id] = one.parent_id
                elif isinstance(one, Ended) and (other := self.other_of(parents, one.call_id)) is not None:
                    report(attrs.evolve(one, call_id=other))

        context.report = otherwise
        super().__init__(context)

    def other_of(self, parents: dict[str, str], call_id: str) -> str | None:
        raise NotImplementedError


class EnquiryTakesAll(_EndingBoth):
    """Takes the end of an enquiry for that of the first call."""

    def other_of(self, parents: dict[str, str], call_id: str) -> str | None:
        return parents.get(call_id)


class FirstTakesAll(_EndingBoth):
    """Takes the end of the first call for that of the enquiry."""

    def other_of(self, parents: dict[str, str], call_id: str) -> str | None:
        return next((enquiry for enquiry, first in parents.items() if first == call_id), None)


class OnlyQueues(WebitelCtiProvider):
    """Has no calls of the operator's own any more in call-centre mode."""

    def __init__(self, context: ProviderContext) -> None:
        report = context.report
        self.takes_queues = False

        def otherwise(*reports: Report) -> None:
            report(*(one for one in reports if not (self.takes_queues and isinstance(one, Offered))))

        context.report = otherwise
        super().__init__(context)

    async def set_call_centre_mode(self, on: bool) -> None:
        self.takes_queues = on
        await super().set_call_centre_mode(on)


class EmptyLinks(WebitelCtiProvider):
    """Finds recordings and does not say where they are."""

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        return tuple("" for _ in await super().query_recordings(call_id))


class EnquiryWithoutHold(WebitelCtiProvider):
    """Gives the first call for the enquiry."""

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        await super().make_consult_call(call, destination)
        return call


class NoTransfer(WebitelCtiProvider):
    """Says that it connects the two, and does nothing."""

    async def complete_transfer(self, call: Call, consult_call: Call) -> None:
        return


class DropsTheWrongOne(WebitelCtiProvider):
    """Ends the first call and leaves the enquiry."""

    async def cancel_transfer(self, call: Call, consult_call: Call) -> None:
        await self.drop_call(call)


class NoAlternation(WebitelCtiProvider):
    """Says that it alternates, and does nothing."""

    async def alternate(self, call: Call, consult_call: Call) -> None:
        return


class DropsInsteadOfSendingOn(WebitelCtiProvider):
    """Ends a call that it should send on."""

    async def blind_transfer(self, call: Call, destination: str) -> None:
        await self.drop_call(call)


class SwallowingTransfer(WebitelCtiProvider):
    """Says nothing when the PBX does not send a call on."""

    async def blind_transfer(self, call: Call, destination: str) -> None:
        try:
            await super().blind_transfer(call, destination)
        except CommandError:
            return


class LeavesParts(WebitelCtiProvider):
    """Leaves beside a recording the file that it fetched it into."""

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        (directory / "fetched.part").touch()
        return await super().fetch_recording(link, directory, progress=progress)


class CutShort(WebitelCtiProvider):
    """Loses the end of a recording."""

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        path = await super().fetch_recording(link, directory, progress=progress)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path


class TellsNoProgress(WebitelCtiProvider):
    """Does not say how far it has come."""

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        return await super().fetch_recording(link, directory)


class AnybodysRecordings(WebitelCtiProvider):
    """Finds recordings of a call that there is none of."""

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        return ("https://pbx.example/1.wav",)


class ModeIsKept(WebitelCtiProvider):
    """Never leaves the queues."""

    async def set_call_centre_mode(self, on: bool) -> None:
        if on:
            await super().set_call_centre_mode(on)


class ListensToNobody(WebitelCtiProvider):
    """Gives the call that is listened to for the operator's own."""

    async def monitor(self, call_id: str, mode: str) -> Call:
        return attrs.evolve(await super().monitor(call_id, mode), id=call_id)


MUTANTS = tuple(
    Mutant(provider, (test,), changes=_WEBITEL)
    for provider, test in (
        (TransferIsAnEnd, "test_a_transfer_is_completed"),
        (NoParent, "test_an_enquiry"),
        (EnquiryTakesAll, "test_the_enquiry_is_hung_up"),
        (FirstTakesAll, "test_the_first_call_is_hung_up"),
        (OnlyQueues, "test_own_calls_go_on"),
        (EmptyLinks, "test_recordings_are_found"),
        (EnquiryWithoutHold, "test_an_enquiry"),
        (NoTransfer, "test_a_transfer_is_completed"),
        (DropsTheWrongOne, "test_a_transfer_is_cancelled"),
        (NoAlternation, "test_the_operator_alternates"),
        (DropsInsteadOfSendingOn, "test_a_call_is_sent_on"),
        (SwallowingTransfer, "test_a_refused_transfer_is_told"),
        (LeavesParts, "test_a_recording_is_fetched"),
        (CutShort, "test_a_recording_is_fetched"),
        (TellsNoProgress, "test_a_recording_is_fetched"),
        (AnybodysRecordings, "test_recordings_of_no_call"),
        (ModeIsKept, "test_the_mode_is_switched"),
        (ListensToNobody, "test_listening_in"),
    )
)
