"""What the command knows to be secret comes out of its log and its errors, wherever a plugin wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final

from cti_framework.redaction import SecretRedactor

__all__ = ["CommandSecrets"]

# A shorter one stands in other texts by chance: "100" is a password on many a desk, and a part of every time.
_SHORTEST_KNOWN: Final = 6


class CommandSecrets:
    """A processor of structlog, and more, that replaces the secrets of the command's settings.

    Args:
        find: Finds them. Called when something is written for the first time: most calls of the command write nothing.
    """

    def __init__(self, find: Callable[[], Iterable[str]]) -> None:
        self._find = find
        self._redactor: SecretRedactor | None = None

    def __repr__(self) -> str:
        return "<CommandSecrets>"

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Replace secrets in a log entry.

        Args:
            logger: As structlog gives it.
            method_name: As structlog gives it.
            event_dict: The entry.

        Returns:
            The entry without secrets.
        """
        return self._known()(logger, method_name, event_dict)

    def redact(self, value: Any) -> Any:
        """Replace secrets in anything else.

        Args:
            value: A text, or plain data.

        Returns:
            It without secrets.
        """
        return self._known().redact(value)

    def values(self) -> tuple[str, ...]:
        """Give the secrets, for whoever takes them out by rules of their own.

        Returns:
            Each that the settings hold, as far as these can be read.
        """
        return tuple(self._find())

    def _known(self) -> SecretRedactor:
        if self._redactor is None:
            # Before they are looked for: what is logged meanwhile must not look for them again.
            self._redactor = SecretRedactor()
            for secret in self._find():
                if len(secret) >= _SHORTEST_KNOWN:
                    self._redactor.register(secret)
        return self._redactor
