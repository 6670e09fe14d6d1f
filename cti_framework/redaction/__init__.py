"""Keeping secrets out of logs: a processor for structlog, for hosts to put into their chain.

The library never configures structlog. What is replaced, and how it is recognised, `SecretRedactor` tells; `redact_secrets` is
one that knows no values.

Theory of operation: values are walked (``_walk``), and copied only where something in them is replaced, so that the caller's
objects stay as they are. A text is looked at closely (``_texts``) only if one quick look finds a suspicious word in it.
Everything has a bound, and what cannot be looked at is left out: a log line may lose something harmless, and must not show
something secret.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

from cti_framework.redaction._texts import MASK, HoldsSecret, Texts
from cti_framework.redaction._walk import Bounds, Walk

__all__ = ["MASK", "SecretRedactor", "redact_secrets"]


def redact_secrets(logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets in a log entry, recognised by names and by form; see `SecretRedactor`.

    Args:
        logger: As structlog gives it.
        method_name: As structlog gives it.
        event_dict: The entry.

    Returns:
        The entry without secrets; the same object if there are none.
    """
    return _BY_NAME(logger, method_name, event_dict)


class SecretRedactor:
    """A processor of structlog that replaces secrets by ``***``. It belongs right before the renderer.

    Secret is

    * what stands under a name with ``password``, ``secret``, ``token``, ``authorization``, ``cookie``, ``csrf``, ``api_key`` or
      the like in it, or under ``x_key``, ``pwd``, ``pass``, ``jwt``; under ``key`` beside a token. Capitals and separators
      make no difference. ``None``, truth values and empty texts stay;
    * a ``Secret`` of typed-settings, or whatever else has ``get_secret_value``;
    * the same in mappings, sequences, attrs values and dataclasses inside, in pairs of name and value, in texts of JSON or
      of Python (``"secret":"…"``, ``secret='…'``), in query parameters, in lines of headers, and in lines that are a name, a
      colon and one word (``Secret: …``);
    * user name and password of a URL, a bearer's token, a JSON web token;
    * each value that was registered, wherever it stands in a text, also as JSON, Python, HTML or a URL write it.

    The same holds for tracebacks that are texts already. One that the renderer would still make from ``exc_info`` becomes a text
    here if there is a secret in it. A renderer that shows local variables is not to be used.

    It never raises: what cannot be looked at is replaced.

    Args:
        secrets: Values that are known to be secret.
        numbers: Values that are so only where they stand alone, with neither letter nor digit beside them: a number is part of
            many others.
        names: Further names of secrets; they count as a whole.
        max_depth: How many values inside each other are looked at; what is deeper is left out.
        max_values: How many values of one entry are looked at; the rest is left out.
        max_characters: How many characters of one entry are looked at; the rest is left out.
    """

    def __init__(
        self,
        secrets: Iterable[str | HoldsSecret] = (),
        *,
        numbers: Iterable[str] = (),
        names: Iterable[str] = (),
        max_depth: int = 12,
        max_values: int = 10_000,
        max_characters: int = 262_144,
    ) -> None:
        self._texts = Texts(names)
        self._texts.register_numbers(numbers)
        self._bounds = Bounds(max_depth, max_values, max_characters)
        for secret in secrets:
            self.register(secret)

    def __repr__(self) -> str:
        return f"<SecretRedactor, {self._texts.registered} secrets>"

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Replace secrets in a log entry.

        Args:
            logger: As structlog gives it.
            method_name: As structlog gives it.
            event_dict: The entry.

        Returns:
            The entry without secrets; the same object if there are none.
        """
        try:
            entry = self._without_traceback(event_dict) if event_dict.get("exc_info") else event_dict
            return Walk(self._texts, self._bounds).entry(entry)
        except Exception:  # noqa: BLE001  # whatever the objects in it do: a log line is nobody's reason to fail
            return {"event": f"{MASK} (this entry could not be looked at)"}

    def register(self, secret: str | HoldsSecret) -> None:
        """Have a value replaced wherever it stands. Registrations are counted: two sessions may have the same password.

        A short one takes harmless text with it: of ``"100"`` every 100 disappears.

        Args:
            secret: The value. An empty one is ignored.
        """
        self._texts.register(_value_of(secret))

    def forget(self, secret: str | HoldsSecret) -> None:
        """Take one registration back. What is not registered is ignored.

        Args:
            secret: The value.
        """
        self._texts.forget(_value_of(secret))

    def redact(self, value: Any) -> Any:
        """Replace secrets in any value, as in a log entry.

        Args:
            value: The value.

        Returns:
            It without secrets; the same object if there are none.
        """
        return Walk(self._texts, self._bounds).value(value, 0)

    def _without_traceback(self, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Make a text of ``exc_info`` if a secret is in it: nobody looks at what the renderer makes."""
        raised = event_dict["exc_info"]
        if isinstance(raised, tuple):
            raised = raised[1]
        elif not isinstance(raised, BaseException):
            raised = sys.exc_info()[1]
        if not isinstance(raised, BaseException):
            return event_dict
        text = "".join(traceback.format_exception(raised)).rstrip("\n")
        shown = Walk(self._texts, self._bounds).text(text)
        if shown == text:
            return event_dict
        return {**{key: value for key, value in event_dict.items() if key != "exc_info"}, "exception": shown}


def _value_of(secret: str | HoldsSecret) -> str:
    return str(secret if isinstance(secret, str) else secret.get_secret_value())


_BY_NAME: Final = SecretRedactor()
