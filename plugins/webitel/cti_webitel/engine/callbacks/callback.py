"""What every callback is."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Final

__all__ = ["NO_PAYLOAD", "Callback", "NoPayload"]


class NoPayload(Enum):
    """The type of `NO_PAYLOAD`: JSON has no word for "nothing at all"."""

    NO_PAYLOAD = "no payload"


NO_PAYLOAD: Final = NoPayload.NO_PAYLOAD
"""What `Callback.payload` gives where the library calls back without an argument."""


class Callback:
    """What the protocol tells its consumer.

    Attributes:
        name: The library's name of the callback.
        ours: The library has no callback of that name: nothing of it is in a capture of its callbacks.
    """

    __slots__ = ()
    name: ClassVar[str] = ""
    ours: ClassVar[bool] = False

    def payload(self) -> Any:
        """Tell what the library would call back with.

        Returns:
            A JSON value, or `NO_PAYLOAD`.
        """
        return NO_PAYLOAD
