"""The verbs that make recordings, find them and fetch them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import anyio

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallFeature
from cti_framework.errors import InvalidArgumentError
from cti_framework.provider import FetchProgress
from cti_framework.verbs.checks import VerbChecks, command
from cti_framework.verbs.patience import OutOfTime

__all__ = ["RecordingVerbs"]


class RecordingVerbs(VerbChecks):
    """The verbs that make recordings, find them and fetch them."""

    @command
    async def start_recording(self, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Record a call.

        Args:
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("start_recording", CallFeature.RECORDING, call)
        await self._command("start_recording", self._timeouts.command_seconds, self._provider.start_recording, known)

    @command
    async def stop_recording(self, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Stop recording a call.

        Args:
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("stop_recording", CallFeature.RECORDING, call)
        await self._command("stop_recording", self._timeouts.command_seconds, self._provider.stop_recording, known)

    @command
    async def pause_recording(self, on: bool, call: Call | str | None = None, *, command_id: str | None = None) -> None:
        """Pause the recording of a call, or go on with it.

        Args:
            on: Whether to pause.
            call: Which; by default the current one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("pause_recording", CallFeature.RECORDING, call)
        await self._command("pause_recording", self._timeouts.command_seconds, self._provider.pause_recording, known, on)

    @command
    async def query_recordings(self, call_id: str, *, command_id: str | None = None) -> tuple[str, ...]:
        """Find the recordings of a call, open or over.

        Args:
            call_id: The PBX's identifier of the call.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Returns:
            Where they can be fetched; empty if there are none.

        Raises:
            CommandError: As for every verb. It always ends, in an answer or in an error.
        """
        self._check_agent("query_recordings", AgentFeature.CALL_RECORDS)
        self._check_text("query_recordings", "call_id", call_id)
        self._commands.current().call_id = call_id
        return await self._command(
            "query_recordings", self._timeouts.query_seconds, self._provider.query_recordings, call_id, acts=False
        )

    @command
    async def fetch_recording(
        self,
        link: str,
        directory: Path,
        *,
        progress: Callable[[FetchProgress], object] | None = None,
        command_id: str | None = None,
    ) -> Path:
        """Save a recording as a file. It may take as long as it takes, but not fall silent for longer than a query may last.

        Args:
            link: As ``query_recordings`` gave it. It may hold secrets: show and log it by ``safe_url`` of ``transport``.
            directory: Where to; it is there already.
            progress: Told whenever bytes came in. It must not raise.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Returns:
            The complete file.

        Raises:
            CommandError: As for every verb; a provider's own errors say more. Trying again is always safe, and goes on where
                the last attempt ended if the provider can.
        """
        self._check_agent("fetch_recording", AgentFeature.CALL_RECORDS)
        given: object = link
        if not isinstance(given, str) or not given.strip():
            # Whatever it is instead, it may hold what the link holds: it is not shown.
            raise InvalidArgumentError("fetch_recording: link must be a text that is not empty.", command="fetch_recording")
        seconds = self._timeouts.query_seconds
        command = self._commands.current()
        patience = anyio.CancelScope(deadline=anyio.current_time() + seconds)

        def told(state: FetchProgress) -> None:
            patience.deadline = anyio.current_time() + seconds
            if progress is not None:
                progress(state)

        async def fetch() -> Path:
            try:
                return await self._wait(
                    command, patience, lambda: self._provider.fetch_recording(link, Path(directory), progress=told)
                )
            except OutOfTime:
                raise command.unanswered(
                    f"fetch_recording: nothing came from provider {self.provider_name!r} within {seconds:g} s.",
                    sent="Try again: what has come so far may be kept.",
                ) from None

        return await self._command("fetch_recording", math.inf, fetch, acts=False)
