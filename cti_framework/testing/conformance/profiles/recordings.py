"""Recordings of calls: finding them, fetching them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call
from cti_framework.errors import CtiError
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.running import NotMeasured
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["RecordingsProfile"]

_RECORDS = AgentFeature.CALL_RECORDS
_NO_CALL = "00000000-0000-4000-8000-000000000000"


class RecordingsProfile(Profile):
    """Recordings of calls that are over."""

    @rule(
        "recordings.found",
        "query_recordings gives a tuple of texts for a call that is over.",
        contract="BaseCtiProvider.query_recordings",
        proves=_RECORDS,
    )
    async def test_recordings_are_found(self, stand: Stand) -> None:
        finished = await _a_call(stand)
        links: object = await stand.within(stand.model.query_recordings(finished.id), "query_recordings")
        stand.expect(
            isinstance(links, tuple) and all(isinstance(link, str) and link for link in links),
            f"query_recordings gave {type(links).__name__}, not a tuple of texts.",
        )
        if not links:
            raise NotMeasured("the PBX in a box keeps no recordings")

    @rule(
        "recordings.fetched",
        "fetch_recording saves a complete file in the directory that it is given, and nothing else, and tells the progress.",
        contract="BaseCtiProvider.fetch_recording",
        proves=_RECORDS,
    )
    async def test_a_recording_is_fetched(self, stand: Stand) -> None:
        finished = await _a_call(stand)
        links = await stand.within(stand.model.query_recordings(finished.id), "query_recordings")
        if not links:
            raise NotMeasured("the PBX in a box keeps no recordings")
        with tempfile.TemporaryDirectory() as folder:
            received: list[int] = []
            path = await stand.within(
                stand.model.fetch_recording(links[0], Path(folder), progress=lambda state: received.append(state.received_bytes)),
                "fetch_recording",
            )
            there = _files_in(Path(folder))
            stand.expect(path in there, f"fetch_recording gave {path.name}, and there is {[one.name for one in there]}.")
            stand.expect(len(there) == 1, f"Beside the recording there is {[one.name for one in there if one != path]}.")
            size = path.stat().st_size
            stand.expect(size > 0, "The file is empty.")
            stand.expect(received and received[-1] == size, f"{size} bytes are there, and progress said {received[-1:]}.")

    @rule(
        "recordings.none",
        "Asking for the recordings of a call that there is none of ends: in an empty answer or an error.",
        contract="BaseCtiProvider.query_recordings",
        proves=_RECORDS,
    )
    async def test_recordings_of_no_call(self, stand: Stand) -> None:
        try:
            links = await stand.within(stand.model.query_recordings(_NO_CALL), "query_recordings")
        except CtiError:
            return
        stand.expect(links == (), f"A call that there is none of has {len(links)} recordings.")


async def _a_call(stand: Stand) -> Call:
    call = await stand.talking()
    await stand.settle()
    await stand.far.do("hang_up", stand.number_of(call))
    finished = await stand.finished(call)
    await stand.settle()
    return finished


def _files_in(folder: Path) -> list[Path]:
    return [one for one in folder.iterdir() if one.is_file()]
