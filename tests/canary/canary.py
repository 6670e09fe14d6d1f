"""Marked secrets, and all the places where one of them may have come out."""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import json
import logging
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import structlog

from cti_framework.errors import CtiError
from cti_framework.redaction import SecretRedactor

__all__ = ["MARK", "Canary"]

MARK: Final = "cAnArYsInG"
"""Every marked secret has it in it."""

_OWN: Final = ("cti_framework", "cti_webitel", "cti_dummy")
_SHOWN_CHARACTERS: Final = 300


class Canary:
    """What is secret, and what was seen.

    Attributes:
        seen: What was written where: place by place, each text once.
    """

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, None]] = {}
        self._secrets: dict[str, str] = {}

    def secret(self, name: str, value: str | None = None) -> str:
        """Make a marked secret, or have one marked that somebody else made."""
        return self._secrets.setdefault(name, value or f"{name.replace(' ', '-')}-{MARK}")

    @property
    def secrets(self) -> dict[str, str]:
        """Each secret by its name."""
        return dict(self._secrets)

    # ------------------------------------------------------------------ where it may come out

    def see(self, place: str, *texts: object) -> None:
        """Remember what stood in a place."""
        # Most of it is seen many times.
        self.seen.setdefault(place, {}).update(dict.fromkeys(text if isinstance(text, str) else repr(text) for text in texts))

    def see_error(self, error: BaseException) -> None:
        """Look at an error in all the ways that a host may show it, short of the values of local variables."""
        self.see("tracebacks", "".join(traceback.format_exception(error)))
        for each in _chain(error):
            # What a plugin raised says what the plugin wrote into it.
            place = "errors" if isinstance(each, CtiError) else "tracebacks"
            self.see(place, str(each), repr(each), repr(vars(each)), *map(repr, each.args))
            if isinstance(each, CtiError):
                self.see(place, json.dumps(each.describe()))

    def see_objects(self) -> None:
        """Look at all objects of ours that live, as ``repr`` and ``str`` show them."""
        for one in gc.get_objects():
            module = getattr(type(one), "__module__", None)
            if isinstance(module, str) and module.partition(".")[0] in _OWN:
                with contextlib.suppress(ReferenceError):
                    self.see("objects", f"{type(one).__qualname__}: {one!r}", str(one))

    def see_file(self, path: Path) -> None:
        """Look at a file; into each of the files in it, if it is a zip."""
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    self.see(f"{path.suffix}: {name}", name, archive.read(name).decode("utf-8", "replace"))
        else:
            self.see(f"file {path.name}", path.read_text(encoding="utf-8", errors="replace"))

    @contextlib.contextmanager
    def logged(self, redactor: SecretRedactor | None) -> Iterator[None]:
        """Write logs as hosts do, in each of structlog's ways, and those of all libraries at their most talkative."""
        before = structlog.get_config()
        written = io.StringIO()
        structlog.configure(
            processors=[_Renderers(self, redactor)],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=False,
        )
        handler = logging.StreamHandler(written)
        handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            structlog.configure(**before)
            self.see("logs of libraries", written.getvalue())

    # ------------------------------------------------------------------ what came out

    def found(self) -> dict[str, set[str]]:
        """Tell which secrets stand in which place, by their names; half of one is one."""
        found: dict[str, set[str]] = {}
        for place, texts in self.seen.items():
            whole = "\n".join(texts)
            names = {name for name, value in self._secrets.items() if _stands_in(value, whole)}
            if names:
                found[place] = names
        return found

    def explain(self) -> str:
        """Quote each text in which a secret stands, for who has to mend it."""
        lines: list[str] = []
        for place, texts in self.seen.items():
            for text in texts:
                for name, value in self._secrets.items():
                    if _stands_in(value, text):
                        middle = max(0, text.find(value))
                        excerpt = text[max(0, middle - _SHOWN_CHARACTERS) : middle + _SHOWN_CHARACTERS]
                        lines.append(f"{place}: {name}: …{excerpt}…")
        return "\n".join(dict.fromkeys(lines))


class _Renderers:
    """The last processor: renders one entry in all the ways that hosts do."""

    def __init__(self, canary: Canary, redactor: SecretRedactor | None) -> None:
        self._canary = canary
        plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        as_json = structlog.processors.JSONRenderer(default=repr)
        redact = [] if redactor is None else [redactor]
        # The second of them shows local variables, so it comes before the redaction.
        self._chains: tuple[list[Any], ...] = (
            [structlog.processors.format_exc_info, *redact, as_json],
            [structlog.processors.dict_tracebacks, *redact, as_json],
            [*redact, plain],
        )

    def __call__(self, logger: Any, method_name: str, event_dict: Any) -> str:
        for chain in self._chains:
            entry: Any = dict(event_dict)
            for processor in chain:
                entry = processor(logger, method_name, entry)
            self._canary.see("log", entry)
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _stands_in(secret: str, text: str) -> bool:
    if secret in text or (MARK in secret and MARK in text and secret in unquote(text)):
        return True
    # User and password of a URL travel in base64, which looks three ways, by what stands before.
    raw = secret.encode()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + raw)[(8 * before + 5) // 6 : (8 * (before + len(raw))) // 6]
        if encoded.decode() in text:
            return True
    return False
