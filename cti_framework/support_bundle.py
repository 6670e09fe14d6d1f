"""The support bundle: one file that tells somebody far away what happened to a session.

A zip with the frames of the wire, the events that a host was told, settings, versions and a diagnosis. ``cti replay`` plays the
frames again through the same plugin. Secrets are taken out of everything, by the rules of ``redaction`` and by their values;
numbers, names and tones are not, for without them nothing can be followed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import ssl
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from cti_framework.errors import CtiError
from cti_framework.events import Event
from cti_framework.plain import as_plain, error_as_plain, event_as_plain, json_line
from cti_framework.private_file import PrivateFile
from cti_framework.recorder import FrameDirection
from cti_framework.redaction import SecretRedactor

if TYPE_CHECKING:
    from cti_framework.hooks import HookRecord
    from cti_framework.model import CtiModel
    from cti_framework.plugins import PluginRecord
    from cti_framework.settings import SettingValue

__all__ = ["DIAGNOSIS", "FRAMES", "BundleFacts", "SupportBundle", "bundle_of_session", "write_bundle"]

FRAMES: Final = "frames.jsonl"
"""The name of the capture in a bundle."""
DIAGNOSIS: Final = "diagnosis.json"
"""The name of the diagnosis in a bundle; its ``provider`` names the plugin."""

_LIBRARIES: Final = (
    "anyio",
    "attrs",
    "cattrs",
    "orjson",
    "pluggy",
    "structlog",
    "trio",
    "typed-settings",
    "websockets",
)
_OWN: Final = "cti-framework"
_SHORTEST_KNOWN: Final = 6
_ERRORS: Final = frozenset({"error", "last_error"})


@attrs.frozen
class BundleFacts:
    """What is known beside the session itself.

    Attributes:
        settings: What each setting holds and who said so.
        plugins: What is installed, and what is wrong with it.
        secrets: Values that are known to be secret, and belong to no provider.
    """

    settings: tuple[SettingValue, ...] = ()
    plugins: tuple[PluginRecord, ...] = ()
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)


@attrs.frozen
class SupportBundle:
    """What a support bundle holds.

    Attributes:
        provider: The plugin's name; ``None``: none was chosen.
        facts: What is known beside the session.
        frames: The lines of a capture.
        events: What the host was told.
        diagnosis: How the session fares, as plain data.
        secrets: Values that are known to be secret.
        error: Why there is no session, or what it ended with.
    """

    provider: str | None
    facts: BundleFacts = BundleFacts()
    frames: Iterable[str] = ()
    events: tuple[Event, ...] = ()
    diagnosis: Mapping[str, Any] = attrs.field(factory=dict)
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    error: CtiError | None = None


def bundle_of_session(
    model: CtiModel,
    *,
    events: tuple[Event, ...],
    facts: BundleFacts,
    hooks: Iterable[HookRecord],
    secrets: tuple[str, ...],
    error: CtiError | None = None,
) -> SupportBundle:
    """Collect what a session knows of itself.

    Args:
        model: The session, open or closed.
        events: What it keeps of what the host was told.
        facts: What is known beside it.
        hooks: What its hooks' plugins implement and how they fare.
        secrets: Values that are known to be secret.
        error: What the session ended with, where that is known.

    Returns:
        The bundle's contents: nothing of them changes any more.
    """
    state = model.provider_state_event
    diagnosis = {
        "user": model.user.id,
        "session": {
            "epoch": model.cursor.epoch,
            "events_told": model.cursor.seq,
            "events_kept": len(events),
            "frames_lost": model.recorder.lost,
            "now": model.now(),
        },
        "connection": None if state is None else event_as_plain(state),
        "provider_state": model.provider_state,
        "calls": model.calls,
        "agent": model.agent,
        "features": model.features,
        "commands": model.commands,
        "refused_reports": model.refused_reports,
        "event_losses": model.event_losses,
        "loop_stalls": model.stalls,
        "hooks": [_without_own_words(record) for record in hooks],
    }
    return SupportBundle(
        provider=model.provider_name,
        facts=facts,
        frames=model.recorder.lines(),
        events=events,
        diagnosis=diagnosis,
        secrets=(*secrets, *facts.secrets),
        error=error or (None if state is None else state.error),
    )


def _without_own_words(record: HookRecord) -> dict[str, Any]:
    """Tell how a plugin fares: of its latest error only the hook and the kind, for its words can hold what nobody else knows."""
    told = record.as_dict()
    if record.last_error is not None:
        told["last_error"] = ": ".join(record.last_error.split(": ", 2)[:2])
    return told


def write_bundle(path: Path, bundle: SupportBundle, *, log: Iterable[str] = (), force: bool = False) -> Path:
    """Write a support bundle. Only its owner may read the file.

    Args:
        path: The file.
        bundle: What it is to hold.
        log: Lines of a log, where there is one.
        force: Whether to replace a file that is there. A device or a pipe is written to as it is.

    Returns:
        The file.

    Raises:
        FileExistsError: There is such a file, and it is not to be replaced.
        OSError: It cannot be written.
    """
    made = PrivateFile(path, force=force)
    try:
        with os.fdopen(made.descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in _files(bundle, log):
                with archive.open(_entry(name), "w") as entry:
                    for part in text:
                        entry.write(part.encode("utf-8", "backslashreplace"))
        made.put_in_place()
    except BaseException:
        # Half a bundle looks like a whole one.
        made.discard()
        raise
    return path


def _files(bundle: SupportBundle, log: Iterable[str]) -> Iterator[tuple[str, Iterable[str]]]:
    # A value that is short, or a number, stands in other texts by chance, and by its name it is recognised anyway. In what we
    # say ourselves, in errors and in a log, a number that stands alone is taken for the secret that it is.
    known = [secret for secret in bundle.secrets if len(secret) >= _SHORTEST_KNOWN]
    words = [secret for secret in known if not secret.isdecimal()]
    redactor = _make_redactor(words)
    strict = _make_redactor(words, [secret for secret in known if secret.isdecimal()])

    def shown(value: Any) -> Any:
        return redactor.redact(_with_errors(as_plain(value), strict.redact))

    def line(value: Any) -> str:
        return json_line(shown(value)) + "\n"

    def pretty(value: Any) -> str:
        # Not orjson: it knows neither half a character nor a large number, and a bundle is written of whatever was told.
        return json.dumps(shown(value), indent=2, ensure_ascii=False) + "\n"

    def frame(text: str) -> str:
        # As objects: in a line of JSON the end of a secret would be guessed, and what is behind it could not be read any more.
        value = json.loads(text)
        is_ours = isinstance(value, dict) and value.get("dir") == FrameDirection.TO_PBX
        return _frame((strict if is_ours else redactor).redact(value))

    diagnosis = _diagnosis(bundle)
    frames = iter(bundle.frames)
    first = tuple(itertools.islice(frames, 1))
    yield "README.txt", (_README.format(frames=_WITH_FRAMES if first else _WITHOUT_FRAMES),)
    yield "diagnosis.txt", (text + "\n" for text in _in_words(shown(diagnosis)))
    yield DIAGNOSIS, (pretty(diagnosis),)
    yield "settings.json", (pretty(bundle.facts.settings),)
    yield "versions.json", (pretty(_versions(bundle.facts.plugins)),)
    yield FRAMES, (frame(text) for text in itertools.chain(first, frames))
    yield "events.jsonl", (line(event_as_plain(event)) for event in bundle.events)
    tail = tuple(log)
    if tail:
        yield "log.txt", (str(strict.redact(text)) + "\n" for text in tail)


def _make_redactor(secrets: Iterable[str], numbers: Iterable[str] = ()) -> SecretRedactor:
    return SecretRedactor(secrets, numbers=numbers, max_depth=32, max_values=1_000_000, max_characters=16_777_216)


def _with_errors(value: Any, redact: Callable[[Any], Any]) -> Any:
    """Take secrets out of the errors in plain data: their words are a plugin's own."""
    if isinstance(value, dict):
        return {name: redact(held) if name in _ERRORS else _with_errors(held, redact) for name, held in value.items()}
    return [_with_errors(held, redact) for held in value] if isinstance(value, list) else value


def _frame(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, datetime.now().timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    # Unpacked, too, it is its owner's alone.
    entry.external_attr = 0o600 << 16
    return entry


def _diagnosis(bundle: SupportBundle) -> dict[str, Any]:
    return {
        "provider": bundle.provider,
        "made_at": datetime.now(UTC),
        "error": None if bundle.error is None else error_as_plain(bundle.error),
        **bundle.diagnosis,
        "plugins": [record.as_dict() for record in bundle.facts.plugins],
    }


def _versions(plugins: Iterable[PluginRecord]) -> dict[str, Any]:
    distributions = {_OWN, *(record.distribution for record in plugins if record.distribution)}
    return {
        "python": sys.version,
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "distributions": {name: _version_of(name) for name in sorted(distributions)},
        "openssl": ssl.OPENSSL_VERSION,
        "libraries": {name: _version_of(name) for name in _LIBRARIES},
    }


def _version_of(name: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(name)
    return None


def _in_words(value: Any, indent: str = "") -> Iterator[str]:
    """Tell plain data for people: one line a value."""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
    for name, held in entries:
        label = f"{indent}{str(name).replace('_', ' ')}:"
        if isinstance(held, list) and not any(isinstance(one, Mapping | list) for one in held):
            held = ", ".join(map(str, held))
        if isinstance(held, Mapping | list) and held:
            yield label
            yield from _in_words(held, indent + "  ")
        else:
            yield f"{label} {'none' if held in (None, '', {}) else held}"


_README: Final = """\
A support bundle of cti-framework: what one session saw, for whoever looks for a fault.

diagnosis.txt   for people: the connection, the latest error, calls, refused reports, hooks, installed plugins
diagnosis.json  the same for programs
frames.jsonl    {frames}
events.jsonl    the events that the host was told, as many as the session kept
settings.json   each setting, and where it comes from
versions.json   Python, OpenSSL, the framework, the plugins, the libraries
log.txt         the end of the log, where there was one

Passwords, tokens and keys are masked (***). Telephone numbers, names and tones that were pressed in a call are not: treat the
file as you treat those.
"""
_WITH_FRAMES: Final = """\
the frames of the wire, oldest first, as many as the flight recorder kept; where the plugin of the provider is
                installed and brings a replay, this plays them again: cti replay THIS.zip"""
_WITHOUT_FRAMES: Final = """\
empty: nothing was connected, or the provider has no wire and hands no frames over. There is nothing to replay"""
