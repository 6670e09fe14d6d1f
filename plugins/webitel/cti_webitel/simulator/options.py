"""How the simulated Webitel behaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cti_framework.switchboard import SwitchOptions

__all__ = ["SimulatorOptions", "changed", "told"]

_OF_SWITCH = attrs.fields(SwitchOptions)
_FAR_ANSWER_SECONDS: float | None = 1.5
_HUNDRED_DAYS_SECONDS = 100.0 * 86_400


def _count(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} is {value!r}, it takes a whole number from 1")


def _count_from_zero(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} is {value!r}, it takes a whole number from 0")


def _seconds_by_command(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping) or not all(_is_seconds(seconds) for seconds in value.values()):
        raise ValueError(f"{attribute.name} is {value!r}, it takes an object: command to seconds")


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{attribute.name} takes a text")


def _commands(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{attribute.name} is {value!r}, it takes a list of commands")


@attrs.frozen(kw_only=True)
class SimulatorOptions(SwitchOptions):
    """The switch's options and the engine's; they can be changed while it runs.

    Attributes:
        far_answer_seconds: As in :class:`~cti_framework.switchboard.SwitchOptions`. The far end answers by itself, late
            enough for a script to answer, hold or hang up first.
        unauthenticated_seconds: How long a socket may stay without ``auth`` (facts: webitel-protocol 1).
        sockets_per_account: The next one is refused (facts: webitel-protocol 1).
        accounts_online: How many accounts may have sockets at once, root aside; 0: any number (facts: webitel-protocol 1).
        root_password: What the account ``root`` logs in with.
        agent_logout_seconds: How long after an account's last socket closed the engine logs it out of the call centre.
        agent_rest_seconds: How long an agent who did not take a queue's call is left alone.
        recordings_published: Whether the switch tells when a recording begins and stops; known sites do not have it.
        switch_seconds: How long the switch takes to carry a command out. Other commands are answered meanwhile.
        reply_delay_seconds: How long every reply takes.
        reply_delay_seconds_by_command: The same for single commands, before the general one: ``{"hold": 2.5}``.
        lost_replies: The commands whose replies never come. They are carried out all the same.
        silent: Whether the engine takes sockets, reads and carries out what comes, and says nothing at all.
        half_open: Whether every socket, of now and of later, neither reads nor writes nor ends: a network that lost both
            sides without a word. What is on its way arrives when that is over.
        table_lag_seconds: How far the rows of ``show_channel`` are behind the events (facts: esl-control, show channels).
        token_seconds: How long a new token is good; a link to a recording has one.
        early_media: Whether a web phone that calls hears the other side's phone ring; otherwise it is told nothing before the
            answer (facts: verto, Calls).
        detach_seconds: How long a web phone's calls wait for it when its socket is lost (facts: verto, Sessions).
        verto_queue_seconds: How late the web phone's server sends its own requests (facts: verto, Framing).
        verto_ping_seconds: After how long without a word it pings a web phone.
        recording_cut_after_bytes: After how many bytes of a recording every answer breaks off; ``None``: none does.
        recording_pause_seconds: How long each 16 KiB of a recording take.
    """

    far_answer_seconds: float | None = attrs.field(default=_FAR_ANSWER_SECONDS, validator=_OF_SWITCH.far_answer_seconds.validator)
    unauthenticated_seconds: float = attrs.field(default=5.0, validator=_OF_SWITCH.media_seconds.validator)
    sockets_per_account: int = attrs.field(default=10, validator=_count)
    accounts_online: int = attrs.field(default=0, validator=_count_from_zero)
    root_password: str = attrs.field(default="rootpass", repr=False, validator=_text)
    agent_logout_seconds: float = attrs.field(default=60.0, validator=_OF_SWITCH.media_seconds.validator)
    agent_rest_seconds: float = attrs.field(default=10.0, validator=_OF_SWITCH.media_seconds.validator)
    recordings_published: bool = attrs.field(default=False, validator=_OF_SWITCH.proxy_hold.validator)
    switch_seconds: float = attrs.field(default=0.0, validator=_OF_SWITCH.media_seconds.validator)
    reply_delay_seconds: float = attrs.field(default=0.0, validator=_OF_SWITCH.media_seconds.validator)
    reply_delay_seconds_by_command: Mapping[str, float] = attrs.field(factory=dict, validator=_seconds_by_command)
    lost_replies: Sequence[str] = attrs.field(factory=tuple, validator=_commands)
    silent: bool = attrs.field(default=False, validator=_OF_SWITCH.proxy_hold.validator)
    half_open: bool = attrs.field(default=False, validator=_OF_SWITCH.proxy_hold.validator)
    table_lag_seconds: float = attrs.field(default=0.0, validator=_OF_SWITCH.media_seconds.validator)
    token_seconds: float = attrs.field(default=_HUNDRED_DAYS_SECONDS, validator=_OF_SWITCH.media_seconds.validator)
    early_media: bool = attrs.field(default=True, validator=_OF_SWITCH.proxy_hold.validator)
    detach_seconds: float = attrs.field(default=20.0, validator=_OF_SWITCH.media_seconds.validator)
    verto_queue_seconds: float = attrs.field(default=0.02, validator=_OF_SWITCH.media_seconds.validator)
    verto_ping_seconds: float = attrs.field(default=30.0, validator=_OF_SWITCH.media_seconds.validator)
    recording_cut_after_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(_count))
    recording_pause_seconds: float = attrs.field(default=0.0, validator=_OF_SWITCH.media_seconds.validator)


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


def told(options: SimulatorOptions) -> dict[str, Any]:
    """Tell the options to whoever asks; the secret ones are left out.

    Args:
        options: The present ones.

    Returns:
        By name.
    """
    return attrs.asdict(options, filter=lambda field, _: bool(field.repr))
