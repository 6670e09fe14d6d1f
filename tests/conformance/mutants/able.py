"""A dummy that can do what neither the dummy nor Webitel can, so that the kit's tests of that are tested; and its faults."""

from __future__ import annotations

import attrs

from cti_dummy import DummyCtiProvider
from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallFeature
from cti_framework.errors import CommandRefusedError
from cti_framework.reports import Conferenced, InfoChanged, Muted, RecordingReport
from tests.conformance.mutants.making import Mutant

__all__ = ["MUTANTS", "Able"]


class Able(DummyCtiProvider):
    """Has a microphone, a camera, a recorder, after-call work, and conferences. Nothing is wrong with it."""

    capabilities = attrs.evolve(
        DummyCtiProvider.capabilities,
        calls=DummyCtiProvider.capabilities.calls
        | CallFeature.MUTE
        | CallFeature.VIDEO
        | CallFeature.RECORDING
        | CallFeature.CONSULT
        | CallFeature.CONFERENCE,
        agent=DummyCtiProvider.capabilities.agent | AgentFeature.WRAP_UP,
    )

    async def set_mute(self, call: Call, on: bool) -> None:
        self.context.command_sent()
        self.context.report(Muted(at=self.context.clock.now(), call_id=call.id, on=on))

    async def set_video(self, call: Call, on: bool) -> None:
        self.context.command_sent()

    async def start_recording(self, call: Call) -> None:
        self._record(call, on=True)

    async def stop_recording(self, call: Call) -> None:
        self._record(call, on=False)

    async def pause_recording(self, call: Call, on: bool) -> None:
        self._record(call, on=not on)

    def _record(self, call: Call, *, on: bool) -> None:
        self.context.command_sent()
        self.context.report(RecordingReport(at=self.context.clock.now(), call_id=call.id, on=on))

    async def set_wrap_up(self, on: bool) -> None:
        self.context.command_sent()

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        await self.hold_call(call)
        enquiry = await self.make_call(destination)
        self.context.report(InfoChanged(at=self.context.clock.now(), call_id=enquiry.id, parent_id=call.id))
        return self.context.call(enquiry.id) or enquiry

    async def conference(self, call: Call, consult_call: Call) -> None:
        self.context.command_sent()
        for one in (call, consult_call):
            self.context.report(Conferenced(at=self.context.clock.now(), call_id=one.id))


class StaysMuted(Able):
    """Does not tell that the microphone is on again."""

    async def set_mute(self, call: Call, on: bool) -> None:
        if on:
            await super().set_mute(call, on)


class MutedTurnedRound(Able):
    """Takes on for off."""

    async def set_mute(self, call: Call, on: bool) -> None:
        await super().set_mute(call, not on)


class NoCamera(Able):
    """Declares a camera and refuses to switch it."""

    async def set_video(self, call: Call, on: bool) -> None:
        raise CommandRefusedError("There is no camera.", command="set_video")


class RecordsForEver(Able):
    """Does not tell that a recording was stopped."""

    async def stop_recording(self, call: Call) -> None:
        self.context.command_sent()


class CannotPause(Able):
    """Says that it pauses a recording, and does nothing."""

    async def pause_recording(self, call: Call, on: bool) -> None:
        self.context.command_sent()


class NoAfterCallWork(Able):
    """Declares after-call work and refuses it."""

    async def set_wrap_up(self, on: bool) -> None:
        raise CommandRefusedError("There is no after-call work.", command="set_wrap_up")


class EnquiryBesideTheCall(Able):
    """Calls somebody else and does not hold the first call."""

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        enquiry = await self.make_call(destination)
        self.context.report(InfoChanged(at=self.context.clock.now(), call_id=enquiry.id, parent_id=call.id))
        return self.context.call(enquiry.id) or enquiry


class NoConference(Able):
    """Says that it brings all three together, and does nothing."""

    async def conference(self, call: Call, consult_call: Call) -> None:
        self.context.command_sent()


class NoWayOut(Able):
    """Cannot leave a conference."""

    joined = False

    async def conference(self, call: Call, consult_call: Call) -> None:
        self.joined = True
        await super().conference(call, consult_call)

    async def drop_call(self, call: Call) -> None:
        self.context.command_sent()
        if not self.joined:
            await super().drop_call(call)


MUTANTS = (
    Mutant(StaysMuted, ("test_the_microphone",)),
    Mutant(MutedTurnedRound, ("test_the_microphone",)),
    Mutant(NoCamera, ("test_the_camera",), raises=(CommandRefusedError,)),
    Mutant(RecordsForEver, ("test_a_call_is_recorded",)),
    Mutant(CannotPause, ("test_a_call_is_recorded",)),
    Mutant(NoAfterCallWork, ("test_after_call_work",), raises=(CommandRefusedError,)),
    Mutant(EnquiryBesideTheCall, ("test_an_enquiry",)),
    Mutant(NoConference, ("test_three_are_brought_together",)),
    Mutant(NoWayOut, ("test_the_operator_leaves",)),
)
