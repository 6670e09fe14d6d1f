"""The verbs that act on a call and the enquiry made on its behalf."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cti_framework.calls import Call, CallFeature
from cti_framework.errors import NotAllowedNowError
from cti_framework.verbs.checks import VerbChecks, command

__all__ = ["PairVerbs"]


class PairVerbs(VerbChecks):
    """The verbs that act on a call and the enquiry made on its behalf."""

    @command
    async def make_consult_call(self, destination: str, call: Call | str | None = None, *, command_id: str | None = None) -> Call:
        """Hold a call and call somebody else on its behalf.

        Args:
            destination: The number as the operator typed it.
            call: On whose behalf; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Returns:
            The enquiry call, as soon as the PBX shows it.

        Raises:
            CommandError: As for ``make_call``.
        """
        known = self._allowed("make_consult_call", CallFeature.CONSULT, call)
        self._check_text("make_consult_call", "destination", destination)
        act = self._provider.make_consult_call
        return await self._begin_call("make_consult_call", act, known, destination, number=destination, parent_id=known.id)

    @command
    async def complete_transfer(
        self, call: Call | str | None = None, consult_call: Call | str | None = None, *, command_id: str | None = None
    ) -> None:
        """Connect the two far ends and leave.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        act = self._provider.complete_transfer
        await self._on_pair("complete_transfer", CallFeature.COMPLETE_TRANSFER, call, consult_call, act)

    @command
    async def cancel_transfer(
        self, call: Call | str | None = None, consult_call: Call | str | None = None, *, command_id: str | None = None
    ) -> None:
        """End the enquiry and take the first call back.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        await self._on_pair("cancel_transfer", CallFeature.CANCEL_TRANSFER, call, consult_call, self._provider.cancel_transfer)

    @command
    async def alternate(
        self, call: Call | str | None = None, consult_call: Call | str | None = None, *, command_id: str | None = None
    ) -> None:
        """Talk to the other one of the two, and hold the one talked to.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        await self._on_pair("alternate", CallFeature.ALTERNATE, call, consult_call, self._provider.alternate)

    @command
    async def conference(
        self, call: Call | str | None = None, consult_call: Call | str | None = None, *, command_id: str | None = None
    ) -> None:
        """Bring all three together.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        await self._on_pair("conference", CallFeature.CONFERENCE, call, consult_call, self._provider.conference)

    async def _on_pair(
        self,
        verb: str,
        feature: CallFeature,
        call: Call | str | None,
        consult_call: Call | str | None,
        act: Callable[[Call, Call], Awaitable[None]],
    ) -> None:
        known = self._allowed(verb, feature, call)
        if consult_call is None:
            consult_call = next((other for other in self._line.calls if other.parent_id == known.id), None)
            if consult_call is None:
                raise NotAllowedNowError(verb, reason="there is no enquiry call", command=verb)
        enquiry = self._find(verb, consult_call)
        if enquiry.parent_id != known.id:
            raise NotAllowedNowError(
                f"{verb} for call {known.id!r}", reason=f"call {enquiry.id!r} is no enquiry on its behalf", command=verb
            )
        await self._command(verb, self._timeouts.command_seconds, act, known, enquiry)
