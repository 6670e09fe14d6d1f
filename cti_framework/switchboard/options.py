"""How the Switchboard's people and networks behave where nobody drives them by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["SwitchOptions"]


def _seconds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{attribute.name} is {value!r}, it takes seconds: a number from 0")


def _seconds_or_never(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _seconds(instance, attribute, value)


def _seconds_by_number(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{attribute.name} is {value!r}, it takes an object: number to seconds")
    for seconds in value.values():
        _seconds_or_never(instance, attribute, seconds)


def _text_by_number(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        of = "hangup cause" if attribute.name == "refusals" else "word"
        raise ValueError(f"{attribute.name} is {value!r}, it takes an object: number to {of}")


def _yes_or_no(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{attribute.name} is {value!r}, it takes true or false")


@attrs.frozen(kw_only=True)
class SwitchOptions:
    """The Switchboard's settings; they can be changed while it runs.

    Attributes:
        own_answer_seconds: How long the device of whoever clicks to call rings before it picks up by itself; ``None``: by hand.
        device_answer_seconds: The same for calls that come in, unless the device says otherwise; ``None``: by hand.
        far_answer_seconds: How long an outside number rings before somebody answers; ``None``: by hand.
        far_answer_seconds_by_number: The same for single numbers, before the general one.
        refusals: Numbers that do not answer but refuse, with the hangup cause: ``{"0501112233": "USER_BUSY"}``. An internal
            number refuses calls that come in, not its own clicks to call.
        applications: Numbers that the switch takes care of itself, at once, with a word for what it does: ``{"9196": "echo"}``.
        refusal_seconds: How long such a number takes to refuse.
        ring_timeout_seconds: How long anything rings in vain.
        media_seconds: How long after the end of a hold the first media packet makes a leg active again.
        transfer_seconds: How long after its answer the switch carries out a transfer or a bridge.
        proxy_hold: Whether a far end's hold is passed on: the bridged leg's call state then shows it (off on known sites).
    """

    own_answer_seconds: float | None = attrs.field(default=0.06, validator=_seconds_or_never)
    device_answer_seconds: float | None = attrs.field(default=None, validator=_seconds_or_never)
    far_answer_seconds: float | None = attrs.field(default=None, validator=_seconds_or_never)
    far_answer_seconds_by_number: Mapping[str, float | None] = attrs.field(factory=dict, validator=_seconds_by_number)
    refusals: Mapping[str, str] = attrs.field(factory=dict, validator=_text_by_number)
    applications: Mapping[str, str] = attrs.field(factory=dict, validator=_text_by_number)
    refusal_seconds: float = attrs.field(default=0.05, validator=_seconds)
    ring_timeout_seconds: float = attrs.field(default=60.0, validator=_seconds)
    media_seconds: float = attrs.field(default=0.02, validator=_seconds)
    transfer_seconds: float = attrs.field(default=0.02, validator=_seconds)
    proxy_hold: bool = attrs.field(default=False, validator=_yes_or_no)

    def far_answer_seconds_of(self, number: str) -> float | None:
        """Tell how long an outside number rings before it answers by itself.

        Args:
            number: The number.

        Returns:
            Seconds, or ``None`` if it waits for a hand.
        """
        return self.far_answer_seconds_by_number.get(number, self.far_answer_seconds)
