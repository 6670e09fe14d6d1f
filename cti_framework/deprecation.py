"""Saying that something will go, before it goes: for one minor version it works and warns.

What is deprecated says since when, in which version it is gone, and what to use instead; ``docs/reference/compatibility.md``
lists all of it. The warning is a ``DeprecationWarning``: Python shows it to whoever runs tests, and to nobody who only uses a
finished program. A test run that turns warnings into errors stops at it.
"""

from __future__ import annotations

import warnings

import attrs

__all__ = ["CtiDeprecationWarning", "Deprecation"]


class CtiDeprecationWarning(DeprecationWarning):
    """Something of this framework that is used here will be gone.

    Args:
        what: What it is.
        deprecation: When and what instead.

    Attributes:
        what: As given.
        deprecation: As given.
    """

    def __init__(self, what: str, deprecation: Deprecation) -> None:
        super().__init__(what, deprecation)
        self.what = what
        self.deprecation = deprecation

    def __str__(self) -> str:
        told = self.deprecation
        return f"{self.what} is deprecated since cti-framework {told.since} and gone in {told.gone_in}: {told.instead}"


@attrs.frozen
class Deprecation:
    """How long something still works.

    Attributes:
        since: The version of cti-framework that began to warn.
        gone_in: The version in which it does not work any more.
        instead: What to do, in a sentence.
    """

    since: str
    gone_in: str
    instead: str

    def warn(self, what: str, *, stacklevel: int = 1) -> CtiDeprecationWarning:
        """Warn whoever uses it.

        Args:
            what: What is used.
            stacklevel: Whose line is shown: 1 is the caller's of this method, 2 is that one's caller.

        Returns:
            The warning.
        """
        warning = CtiDeprecationWarning(what, self)
        warnings.warn(warning, stacklevel=stacklevel + 1)
        return warning
