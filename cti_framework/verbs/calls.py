"""The verbs that act on one call, or begin one."""

from __future__ import annotations

from cti_framework.calls import Call, CallFeature, CallRole
from cti_framework.errors import InvalidArgumentError
from cti_framework.verbs.checks import VerbChecks, command

__all__ = ["CallVerbs"]

_DIGITS = frozenset("0123456789*#ABCD")
_MONITOR_MODES = ("listen", "whisper", "barge")


class CallVerbs(VerbChecks):
    """The verbs that act on one call, or begin one."""

    @command
    async def make_call(self, destination: str, *, command_id: str | None = None) -> Call:
        """Call somebody.

        Args:
            destination: The number as the operator typed it; ``+``, ``*`` and ``#`` can be dialled.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Returns:
            The call, as soon as the PBX shows it.

        Raises:
            InvalidArgumentError: The destination cannot be dialled.
            NotAllowedNowError: The line is not free.
            CommandRefusedError: The PBX refused before it showed a call.
            CommandUnconfirmedError: No answer, and no call was shown.
            NotConnectedError: There is no connection.
        """
        self._check_line(
            "make_call",
            CallFeature.DIAL,
            "a call is up already; consult, transfer or end it first"
            if self._line.calls
            else "which calls there are is not known yet; try again in a moment",
        )
        self._check_text("make_call", "destination", destination)
        return await self._begin_call("make_call", self._provider.make_call, destination, number=destination)

    @command
    async def answer_call(self, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Answer a call that rings here.

        Args:
            call: Which; by default the one that rings, the current one first.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            NotAllowedNowError: It does not ring, or cannot be answered from here.
            CommandError: As for every verb.
        """
        if call is None:
            ringing = [known for known in self._line.calls if CallFeature.ANSWER in known.features]
            call = next((known for known in ringing if known.role is CallRole.CURRENT), ringing[0] if ringing else None)
        known = self._allowed("answer_call", CallFeature.ANSWER, call)
        await self._command("answer_call", self._timeouts.command_seconds, self._provider.answer_call, known)

    @command
    async def drop_call(self, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Hang a call up, in whatever state it is.

        Args:
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("drop_call", CallFeature.DROP, call)
        await self._command("drop_call", self._timeouts.command_seconds, self._provider.drop_call, known)

    @command
    async def hold_call(self, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Put a call on hold.

        Args:
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("hold_call", CallFeature.HOLD, call)
        await self._command("hold_call", self._timeouts.command_seconds, self._provider.hold_call, known)

    @command
    async def unhold_call(self, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Take a call back that we hold.

        Args:
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("unhold_call", CallFeature.UNHOLD, call)
        await self._command("unhold_call", self._timeouts.command_seconds, self._provider.unhold_call, known)

    @command
    async def blind_transfer(self, destination: str, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Send a call on to somebody else without asking them first.

        Args:
            destination: The number as the operator typed it.
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("blind_transfer", CallFeature.BLIND_TRANSFER, call)
        self._check_text("blind_transfer", "destination", destination)
        await self._command("blind_transfer", self._timeouts.command_seconds, self._provider.blind_transfer, known, destination)

    @command
    async def send_dtmf(self, digits: str, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Send tones.

        Args:
            digits: One or more of ``0123456789*#ABCD``.
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            InvalidArgumentError: There is another character among the digits, or none at all.
            CommandError: As for every verb.
        """
        known = self._allowed("send_dtmf", CallFeature.DTMF, call)
        self._check_text("send_dtmf", "digits", digits)
        for place, digit in enumerate(digits, start=1):
            if digit not in _DIGITS:
                raise InvalidArgumentError(
                    # Without the others: they may be a PIN.
                    f"{digit!r} at place {place} of {len(digits)} is no tone.",
                    command="send_dtmf",
                    remedy="Tones are 0 to 9, *, # and A to D.",
                )
        await self._command("send_dtmf", self._timeouts.command_seconds, self._provider.send_dtmf, known, digits)

    @command
    async def set_mute(self, on: bool, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Switch the operator's microphone off or on.

        Args:
            on: Whether it is to be off ("muted").
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("set_mute", CallFeature.MUTE, call)
        await self._command("set_mute", self._timeouts.command_seconds, self._provider.set_mute, known, on)

    @command
    async def set_video(self, on: bool, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Switch the operator's camera on or off.

        Args:
            on: Whether it is to be on.
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("set_video", CallFeature.VIDEO, call)
        await self._command("set_video", self._timeouts.command_seconds, self._provider.set_video, known, on)

    @command
    async def monitor(self, call_id: str, mode: str = "listen", *, command_id: str | None = None) -> Call:
        """Listen in on somebody else's call.

        Args:
            call_id: The PBX's identifier of that call.
            mode: ``"listen"``, ``"whisper"`` or ``"barge"``.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Returns:
            The operator's own call that listens.

        Raises:
            CommandError: As for every verb.
        """
        self._check_line("monitor", CallFeature.MONITOR, "the line does not allow it")
        self._check_text("monitor", "call_id", call_id)
        if mode not in _MONITOR_MODES:
            raise InvalidArgumentError(
                f"monitor: {mode!r} is no mode.", command="monitor", remedy=f"Modes are {', '.join(_MONITOR_MODES)}."
            )
        return await self._begin_call("monitor", self._provider.monitor, call_id, mode)
