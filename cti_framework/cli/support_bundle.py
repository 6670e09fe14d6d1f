"""``cti support-bundle``: one file that tells somebody far away what happens here."""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio
import attrs
import click

from cti_framework.chain import settings_types
from cti_framework.cli.capture import cannot_write
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.logs import LogTail, log_to_stderr
from cti_framework.cli.running import Stopped, Stopping, run
from cti_framework.errors import CtiError
from cti_framework.events import Cursor, ProviderState
from cti_framework.model import CtiModel
from cti_framework.plugins import Plugins
from cti_framework.private_file import PrivateFile
from cti_framework.provider import CtiUser
from cti_framework.settings import CORE_PREFIX, CoreSettings, SettingValue
from cti_framework.support_bundle import BundleFacts, SupportBundle, write_bundle
from cti_framework.threads import call_in_thread

__all__ = ["support_bundle"]

_EPILOG: Final = """\b
Examples:
  cti --settings pbx.toml support-bundle --for 60
  cti --settings pbx.toml support-bundle --user 100 --output fault.zip
  cti replay fault.zip
"""


def _no_riddle(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        # It is neither below nor above any bound.
        raise click.BadParameter("nan is no number of seconds.", context, option)
    return value


@click.command("support-bundle", short_help="Connect, record, and write a file for whoever looks for a fault.", epilog=_EPILOG)
@user_option
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    callback=_no_riddle,
    help="How long to record; by default until Ctrl-C.",
)
@click.option(
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.zip",
    help="The file to write; by default cti-support-DATE-TIME.zip here.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
@pass_invocation
def support_bundle(invocation: Invocation, user: CtiUser, seconds: float | None, path: Path | None, force: bool) -> int:
    """Connect as the settings say, record, and write what was seen into a zip.

    It holds the frames of the wire, the events, the settings and where each comes from, versions, and a diagnosis; passwords,
    tokens and keys are masked, telephone numbers, names and tones are not. It is written as well where nothing can be connected:
    that is when it is needed. `cti replay` plays its frames again. Ctrl-C or SIGTERM ends the recording, and the file is written.
    """
    path = path or Path(datetime.now().strftime("cti-support-%Y%m%d-%H%M%S.zip"))
    recording = _Recording(invocation, user, math.inf if seconds is None else seconds, path)
    with recording.reserved(force=force):
        try:
            run(recording.take)
        except Stopped:
            if not recording.is_written:
                raise
    if invocation.output.as_json:
        invocation.output.json({"file": str(path), "frames": recording.frames, "events": recording.events})
    else:
        invocation.output.line(f"{path}: {recording.frames} frames, {recording.events} events. Look into README.txt in it.")
    return 0


@attrs.define(eq=False)
class _Recording:
    """One recording.

    Attributes:
        is_written: Whether the bundle is there.
        frames: How many frames were recorded.
        events: How many events were told.
    """

    _invocation: Invocation
    _user: CtiUser
    _seconds: float
    _path: Path
    _tail: LogTail = attrs.field(factory=LogTail)
    _model: CtiModel | None = None
    _leave: Callable[[], None] = lambda: None
    is_written: bool = False
    frames: int = 0
    events: int = 0
    _not_written: CtiError | None = None

    async def take(self, stopping: Stopping) -> None:
        """Record, and write.

        Raises:
            CtiError: The file cannot be written.
        """
        stopping.is_own_affair = True
        invocation = self._invocation
        output = invocation.output
        with log_to_stderr(invocation.verbosity, colour=output.colour_on_stderr, tail=self._tail, redact=invocation.secrets):
            try:
                await self._record(stopping)
            except CtiError as error:
                if error is self._not_written:
                    raise
                invocation.output.error(error)
                if not self.is_written:
                    await self._write(error)

    async def _record(self, stopping: Stopping) -> None:
        model = await self._invocation.initializer().create(self._user, wait_for_service=False)
        self._model = model
        self._leave = model.recorder.follow(self._count)
        async with model:
            if not self._invocation.output.as_json:
                self._invocation.output.note(f"Recording {self._user.id} at {model.provider_name}. Ctrl-C ends it.")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_failed, model, tasks.cancel_scope)
                with anyio.move_on_after(self._seconds):
                    await stopping.requested.wait()
                tasks.cancel_scope.cancel()
            state = model.provider_state_event
            error = None if state is None else state.error
            # While it is open: closed, it would look closed.
            await self._write(error)
        if error is not None:
            self._invocation.output.error(error)

    async def _until_failed(self, model: CtiModel, recording: anyio.CancelScope) -> None:
        events = model.events(after=Cursor(model.cursor.epoch, 0))
        if model.provider_state is ProviderState.CLOSED:
            try:
                await model.connect()
            except CtiError as error:
                self._invocation.output.error(error)
        async for _ in events:
            if model.provider_state is ProviderState.FAILED:
                recording.cancel()

    def _count(self, line: str) -> None:
        self.frames += 1

    async def _write(self, error: CtiError | None) -> None:
        try:
            if self._model is not None:
                self._leave()
                self.events = self._model.cursor.seq
                await self._model.write_support_bundle(self._path, log=self._tail.lines, force=True)
            else:
                bundle = self._without_session(error)
                await call_in_thread("cti: support bundle", self._write_plain, bundle)
        except OSError as failure:
            self._not_written = cannot_write(self._path, failure)
            raise self._not_written from failure
        self.is_written = True

    @contextlib.contextmanager
    def reserved(self, *, force: bool) -> Iterator[None]:
        """Take the bundle's place before minutes of recording, not after. Where none was written, the place is given back.

        Args:
            force: Whether to replace a file that is there.

        Yields:
            Nothing.

        Raises:
            CtiError: The file cannot be made.
        """
        try:
            made = PrivateFile(self._path, force=force)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        with os.fdopen(made.descriptor, "wb", buffering=0) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.close()
            # A pipe stays open: its reader would take the end of this for the end of the bundle.
            try:
                yield
            finally:
                if not self.is_written:
                    made.discard()

    def _write_plain(self, bundle: SupportBundle) -> Path:
        # The place was taken when the recording began.
        return write_bundle(self._path, bundle, log=self._tail.lines, force=True)

    def _without_session(self, error: CtiError | None) -> SupportBundle:
        """Tell what is known where not even a session could be made. What of it fails is what went wrong."""
        name: str | None = None
        values: tuple[SettingValue, ...] = ()
        plugins = Plugins() if self._invocation.given_plugins is None else self._invocation.given_plugins
        with contextlib.suppress(CtiError):
            settings = self._invocation.settings()
            values = settings.values(CORE_PREFIX, CoreSettings)
            name = settings.read(CORE_PREFIX, CoreSettings).provider
            if name:
                provider_class = plugins.load_provider(name)
                for prefix, settings_type in settings_types(name, provider_class):
                    values += settings.values(prefix, settings_type)
        facts = BundleFacts(values, plugins.records())
        return SupportBundle(provider=name, facts=facts, secrets=self._invocation.secrets.values(), error=error)
