"""How the simulated Webitel behaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cti_framework.switchboard import SwitchOptions

__all__ = ["SimulatorOptions", "changed"]

_OF_SWITCH = attrs.fields(SwitchOptions)
_FAR_ANSWER_SECONDS: float | None = 1.5


def _count(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} is {value!r}, it takes a whole number from 1")


@attrs.frozen(kw_only=True)
class SimulatorOptions(SwitchOptions):
    """The switch's options and the engine's; they can be changed while it runs.

    Attributes:
        far_answer_seconds: As in :class:`~cti_framework.switchboard.SwitchOptions`. The far end answers by itself, late
            enough for a script to answer, hold or hang up first.
        unauthenticated_seconds: How long a socket may stay without ``auth`` (facts: webitel-protocol 1).
        sockets_per_account: The next one is refused (facts: webitel-protocol 1).
        reply_delay_seconds: How long every reply takes.
        table_lag_seconds: How far the rows of ``show_channel`` are behind the events (facts: esl-control, show channels).
    """

    far_answer_seconds: float | None = attrs.field(default=_FAR_ANSWER_SECONDS, validator=_OF_SWITCH.far_answer_seconds.validator)
    unauthenticated_seconds: float = attrs.field(default=5.0, validator=_OF_SWITCH.media_seconds.validator)
    sockets_per_account: int = attrs.field(default=10, validator=_count)
    reply_delay_seconds: float = attrs.field(default=0.0, validator=_OF_SWITCH.media_seconds.validator)
    table_lag_seconds: float = attrs.field(default=0.0, validator=_OF_SWITCH.media_seconds.validator)


def changed(options: SimulatorOptions, changes: Mapping[str, Any]) -> SimulatorOptions:
    """Replace some options.

    Args:
        options: The present ones.
        changes: By name; ``proxy-hold``, ``proxyHold`` and ``proxy_hold`` are one name.

    Returns:
        The new ones.

    Raises:
        ValueError: There is no such option, or it may not hold that.
    """
    names = {_plain(field.name): field.name for field in attrs.fields(SimulatorOptions)}
    wanted: dict[str, Any] = {}
    for name, value in changes.items():
        known = names.get(_plain(name))
        if known is None:
            raise ValueError(f"there is no option {name!r}, only {', '.join(sorted(names.values()))}")
        wanted[known] = value
    return attrs.evolve(options, **wanted)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
