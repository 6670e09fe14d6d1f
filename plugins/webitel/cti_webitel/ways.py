"""By which of the two ways a leg is commanded: the engine's socket, or the web phone's signalling.

A leg that is a live dialog of the web phone is held, and keys are pressed in it, by the signalling, as the library does (facts:
webitel-protocol 5.3): the microphone is silent at once. Every other leg is the engine's affair, and so is a leg of the phone's
while its signalling is away. Each command goes one way, never both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cti_webitel.engine.client import Webitel

if TYPE_CHECKING:
    from cti_webitel.web_phone.phone import WebPhone

__all__ = ["Ways"]


class Ways:
    """Commands legs.

    Args:
        webitel: The engine's client.
        phone: The web phone, where the user has one.
    """

    __slots__ = ("_phone", "_webitel")

    def __init__(self, webitel: Webitel, phone: WebPhone | None = None) -> None:
        self._webitel = webitel
        self._phone = phone

    async def hold(self, leg: str) -> None:
        """Hold a leg. That it is held is told by the engine's events, and by the signalling's.

        Args:
            leg: Which.

        Raises:
            CommandError: It was refused, or not confirmed.
        """
        phone = self._phone_of(leg)
        await (self._webitel.hold(leg) if phone is None else phone.hold(leg))

    async def unhold(self, leg: str) -> None:
        """Take a leg back.

        Args:
            leg: Which.

        Raises:
            CommandError: It was refused, or not confirmed.
        """
        phone = self._phone_of(leg)
        await (self._webitel.unhold(leg) if phone is None else phone.unhold(leg))

    async def send_digits(self, leg: str, digits: str) -> None:
        """Press keys on a leg.

        Args:
            leg: Which.
            digits: The keys.

        Raises:
            CommandError: It was refused, or not confirmed.
        """
        phone = self._phone_of(leg)
        await (self._webitel.dtmf(leg, digits) if phone is None else phone.send_digits(leg, digits))

    def _phone_of(self, leg: str) -> WebPhone | None:
        phone = self._phone
        return phone if phone is not None and phone.is_talked_on(leg) else None
