"""Using the phone: its settings, its sound, and one of the three ways to use it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import click

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation
from cti_framework.cli.phone.ends import SinkMaker, SourceMaker, read_sink, read_source
from cti_framework.cli.phone.files import CallFiles
from cti_framework.cli.phone.lines import use_lines
from cti_framework.cli.phone.robot import Robot
from cti_framework.cli.phone.screen import use_screen
from cti_framework.cli.phone.softphone import Softphone
from cti_framework.cli.phone.sound import PhonePeers, PhoneSound
from cti_framework.cli.phone.state import PhoneState
from cti_framework.cli.phone.terminal import has_keys
from cti_framework.cli.phone.wanted import Wanted
from cti_framework.cli.running import Stopping, run
from cti_framework.cli.session import open_session
from cti_framework.errors import NotSupportedError
from cti_framework.media import MediaOptions, Microphone, Silence, SoundDevice, Speaker, sound_devices
from cti_framework.media.options import MEDIA_PREFIX
from cti_framework.plain import as_plain
from cti_framework.provider import CtiUser
from cti_framework.settings import CORE_PREFIX, CoreSettings, SystemSettings

__all__ = ["list_devices", "use_phone"]

_SWITCH: Final = "use_web_phone"
"""What a provider's user setting is called that has the sound go through the session."""
_ON: Final = ("true", "1", "yes", "on")


def list_devices(output: Output) -> int:
    """List the sound devices of this computer.

    Args:
        output: Where to.

    Returns:
        The exit code.

    Raises:
        MediaError: They cannot be listed.
    """

    async def ask(stopping: Stopping) -> tuple[SoundDevice, ...]:
        return await sound_devices()

    devices = run(ask)
    if output.as_json:
        for device in devices:
            output.json(as_plain(device))
    elif devices:
        output.table(("name", "microphone", "speaker"), ((device.name, *_uses(device)) for device in devices))
    else:
        output.note("This computer has no sound device.")
    return 0


def _uses(device: SoundDevice) -> tuple[str, str]:
    return _use(device.inputs, device.is_default_input), _use(device.outputs, device.is_default_output)


def _use(channels: int, is_default: bool) -> str:
    if not channels:
        return ""
    return "default" if is_default else "yes"


def use_phone(invocation: Invocation, user: CtiUser, wanted: Wanted) -> int:
    """Be a phone until it is put away, or did what it was asked.

    Args:
        invocation: The call of the command.
        user: Whose phone it is.
        wanted: What it was asked for.

    Returns:
        The exit code.

    Raises:
        click.UsageError: Something in ``wanted`` means nothing.
        CtiError: There is no phone, or no call where one was asked for.
    """
    output = invocation.output
    source, sink, saved = _ends(wanted)
    line = _line(invocation, names_sound=wanted.names_sound)
    files = None if saved is None else CallFiles(saved, force=wanted.force)
    sound = _sound(source, sink, files, line.options, is_robot=wanted.is_robot)

    async def use(stopping: Stopping) -> int:
        state = PhoneState(output.redact)
        missing = () if line.options is None else await sound.try_out()
        if missing and wanted.is_robot:
            raise missing[0]
        media = None
        if line.options is not None:
            media = PhonePeers(line.options, sound, rings=not wanted.is_robot and sink is None)
        has_screen = not (wanted.is_robot or output.as_json) and output.has_screen and has_keys(sys.stdin)
        if has_screen:
            output.note("Connecting…")
        async with open_session(invocation, user, settings=line.settings, media=media) as (model, events):
            phone = Softphone(model, state, sound, remedy=line.remedy)
            if wanted.is_robot:
                robot = Robot(
                    output,
                    phone,
                    events,
                    number=wanted.number,
                    talk_seconds=wanted.seconds,
                    patience_seconds=wanted.within,
                )
                return 0 if await robot.run(stopping) else 1
            for error in missing:
                state.tell_error(model.now(), error)
                if not has_screen:
                    output.error(error)
            await (use_screen if has_screen else use_lines)(output, phone, events, stopping)
        return 0

    try:
        return run(use)
    finally:
        for path in () if files is None else files.drop_empty():
            if not output.as_json:
                output.note(f"Saved {path}.")


def _ends(wanted: Wanted) -> tuple[SourceMaker | None, SinkMaker | None, Path | None]:
    """Read what speaks, what listens, and where to save."""
    source: SourceMaker | None = None
    sink: SinkMaker | Path | None = None
    option = "--source"
    try:
        if wanted.play is not None:
            source = read_source(f"file:{wanted.play}")
        elif wanted.source is not None:
            source = read_source(wanted.source)
        option = "--sink"
        if wanted.sink is not None:
            sink = read_sink(wanted.sink)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint=option) from error
    if not isinstance(sink, Path):
        return source, sink, wanted.save
    if wanted.save is not None:
        raise click.UsageError("--save and a file as --sink: only one of them.")
    return source, None, sink


@attrs.frozen
class _PhoneLine:
    """What the settings say of the phone."""

    settings: SystemSettings
    options: MediaOptions | None
    """How its media is made; ``None``: the provider has none in this process."""
    remedy: str
    """What to do where the session is no phone after all."""


def _line(invocation: Invocation, *, names_sound: bool) -> _PhoneLine:
    settings = invocation.settings()
    name = settings.read(CORE_PREFIX, CoreSettings).provider
    if not name:
        # Whoever opens the session says it, and what to do.
        return _PhoneLine(settings, None, "")
    provider_class = invocation.plugins().load_provider(name)
    switch = f"{name}.{_SWITCH}"
    remedy = ""
    if _SWITCH in attrs.fields_dict(provider_class.user_settings_type):
        said = next(value for value in settings.values(name, provider_class.user_settings_type) if value.key == switch)
        if said.origin == "default":
            # Weaker than variables and the users directory, which may still say otherwise.
            settings = settings.with_values({switch: True}, "cti phone")
        elif str(said.value).lower() not in _ON:
            remedy = f"Set {switch} to true: {said.origin} says {said.value}."
    if provider_class.uses_media:
        return _PhoneLine(settings, settings.read(MEDIA_PREFIX, MediaOptions), remedy)
    if names_sound:
        raise NotSupportedError(
            f"The provider '{name}' ({provider_class.__name__}) has no sound here: there is nothing to play or to save.",
            command="phone",
            remedy="Leave --play, --save, --source and --sink out, or choose a provider with a web phone.",
        )
    return _PhoneLine(settings, None, remedy)


def _sound(
    source: SourceMaker | None,
    sink: SinkMaker | None,
    files: CallFiles | None,
    options: MediaOptions | None,
    *,
    is_robot: bool,
) -> PhoneSound:
    alone = is_robot and any(given is not None for given in (source, sink, files))
    if source is None:
        microphone = None if options is None else options.microphone
        source = SourceMaker(Silence if alone else partial(Microphone, microphone))
    if sink is None and not alone:
        sink = partial(Speaker, None if options is None else options.speaker)
    return PhoneSound(source, sink, files=files)
