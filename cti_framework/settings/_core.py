"""The core's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from cti_framework.settings._declared import setting

__all__ = ["CoreSettings"]

_POSITIVE: Final = attrs.validators.gt(0)


@attrs.frozen(kw_only=True)
class CoreSettings:
    """What the framework itself reads, under ``cti.``.

    What costs all users of a process something, its memory, its PBX, its hooks, a user's own parameters may not set.

    Attributes:
        provider: The name of the provider to use; ``None``: none is chosen.
        disabled_plugins: Names of providers and companions that are not to be used.
        auto_connect: Whether a session connects when it is opened, or waits for an explicit ``connect()``.
        load_timeout_seconds: The longest that loading the provider's package may take.
        log_in_timeout_seconds: The longest that the hook ``cti_log_in`` may take.
        user_connection_timeout_seconds: The longest that the hook ``cti_user_connection`` may take.
        connect_timeout_seconds: The longest that one attempt to connect may take.
        reconnect_initial_seconds: The pause before the first new attempt, before jitter.
        reconnect_max_seconds: The longest pause between two attempts, before jitter.
        give_up_after_attempts: How many attempts may fail in one outage before the session gives up; ``None``: any number.
        give_up_after_seconds: How long an outage may last before the session gives up; ``None``: for ever.
        silence_seconds: How long nothing may be heard of a PBX before it is asked whether it is there; 0: it is not asked.
        probe_timeout_seconds: How long its answer may take before the connection counts as dead.
        restore_agent_state: Whether an agent whom the PBX has forgotten in an outage is made again what he was.
        command_timeout_seconds: The longest that a verb may take that acts on a call or on the agent, whatever the provider does.
        make_call_timeout_seconds: The same for one that begins a call: until the PBX shows it.
        query_timeout_seconds: The same for one that only asks.
        resolve_seconds: How much longer a call is looked for whose beginning was not confirmed.
        event_log_capacity: How many events a session keeps for readers that come late.
        raw_messages: Whether events carry the PBX's own messages.
        hook_timeout_seconds: The longest that an ``async`` implementation of a hook that is told events may take.
        plugin_fault_limit: After how many faults in a row a plugin is told no event any more; 0: never.
        stall_seconds: The longest that the event loop may stand still before whoever keeps it is named; 0: nobody looks.
        trace_hooks: Whether the log says of each hook who was called with what, and what came of it.
        tls_ca_file: The authorities to trust, in PEM, instead of those of the system.
        tls_client_certificate_file: The certificate, in PEM, by which a PBX knows this host. It may hold its key as well.
        tls_client_key_file: The key of that certificate, where it is in a file of its own.
        tls_client_key_password: The password of that key, where it has one.
        allow_plain_text: Whether a PBX on another computer may be spoken to without encryption.
        flight_recorder_seconds: How long a session keeps the frames of the wire, for captures and support bundles; 0: not at all.
        flight_recorder_kilobytes: How much room they may take in a session; 0: none.
    """

    provider: str | None = setting(default=None, code="SysMsgLib", help="The provider to use.")
    disabled_plugins: tuple[str, ...] = setting(default=(), help="Plugins that are not to be used.")
    auto_connect: bool = setting(default=True, help="Connect when a session is opened.")
    load_timeout_seconds: float = setting(default=10.0, validator=_POSITIVE, system_only=True, help="Time to load the provider.")
    log_in_timeout_seconds: float = setting(
        default=10.0, validator=_POSITIVE, system_only=True, help="Time for the hook cti_log_in."
    )
    user_connection_timeout_seconds: float = setting(
        default=10.0, validator=_POSITIVE, system_only=True, help="Time for the hook cti_user_connection."
    )
    connect_timeout_seconds: float = setting(
        default=15.0, validator=_POSITIVE, system_only=True, help="Time for one attempt to connect."
    )
    reconnect_initial_seconds: float = setting(
        default=0.5, validator=_POSITIVE, system_only=True, help="The pause before the first new attempt to connect."
    )
    reconnect_max_seconds: float = setting(
        default=30.0, validator=_POSITIVE, system_only=True, help="The longest pause between two attempts to connect."
    )
    give_up_after_attempts: int | None = setting(
        default=None,
        validator=attrs.validators.optional(attrs.validators.ge(1)),
        help="How many attempts may fail in one outage before the session gives up.",
    )
    give_up_after_seconds: float | None = setting(
        default=None,
        validator=attrs.validators.optional(_POSITIVE),
        help="How long an outage may last before the session gives up.",
    )
    silence_seconds: float = setting(
        default=60.0,
        validator=attrs.validators.ge(0),
        system_only=True,
        help="How long nothing may be heard of a PBX before it is asked whether it is there.",
    )
    probe_timeout_seconds: float = setting(
        default=10.0,
        validator=_POSITIVE,
        system_only=True,
        help="How long the answer to that may take before the connection counts as dead.",
    )
    restore_agent_state: bool = setting(default=True, help="Make an agent whom the PBX has forgotten in an outage what he was.")
    command_timeout_seconds: float = setting(
        default=15.0, validator=_POSITIVE, help="Time for a verb that acts on a call or on the agent."
    )
    make_call_timeout_seconds: float = setting(
        default=30.0, validator=_POSITIVE, help="Time for a verb that begins a call, until the PBX shows it."
    )
    query_timeout_seconds: float = setting(default=30.0, validator=_POSITIVE, help="Time for a verb that only asks.")
    resolve_seconds: float = setting(
        default=10.0, validator=_POSITIVE, help="Time to look for a call whose beginning was not confirmed."
    )
    event_log_capacity: int = setting(
        default=1024, validator=attrs.validators.ge(1), system_only=True, help="How many events a session keeps for late readers."
    )
    raw_messages: bool = setting(default=False, help="Whether events carry the PBX's own messages.")
    hook_timeout_seconds: float = setting(
        default=30.0,
        validator=_POSITIVE,
        system_only=True,
        help="Time for an async implementation of a hook that is told events.",
    )
    plugin_fault_limit: int = setting(
        default=20,
        validator=attrs.validators.ge(0),
        system_only=True,
        help="After how many faults in a row a plugin is told no event any more; 0: never.",
    )
    stall_seconds: float = setting(
        default=0.5,
        validator=attrs.validators.ge(0),
        system_only=True,
        help="How long the event loop may stand still before whoever keeps it is named; 0: nobody looks.",
    )
    trace_hooks: bool = setting(
        default=False, system_only=True, help="Write each call of a hook, and what came of it, into the log."
    )
    tls_ca_file: Path | None = setting(
        default=None, system_only=True, help="The authorities to trust, in PEM, instead of those of the system."
    )
    tls_client_certificate_file: Path | None = setting(
        default=None, system_only=True, help="The certificate, in PEM, by which a PBX knows this host."
    )
    tls_client_key_file: Path | None = setting(
        default=None, system_only=True, help="The key of that certificate, where it is in a file of its own."
    )
    tls_client_key_password: str | None = setting(
        default=None, secret=True, system_only=True, help="The password of that key, where it has one."
    )
    allow_plain_text: bool = setting(
        default=False, system_only=True, help="Speak to a PBX on another computer without encryption."
    )
    flight_recorder_seconds: float = setting(
        default=300.0, validator=attrs.validators.ge(0), system_only=True, help="How long a session keeps the frames of the wire."
    )
    flight_recorder_kilobytes: float = setting(
        default=256.0, validator=attrs.validators.ge(0), system_only=True, help="How much room they may take in a session."
    )

    def __attrs_post_init__(self) -> None:
        if self.tls_client_key_file is not None and self.tls_client_certificate_file is None:
            raise ValueError("tls_client_key_file is the key of a certificate: set tls_client_certificate_file, too")
        if self.reconnect_max_seconds < self.reconnect_initial_seconds:
            raise ValueError(
                f"reconnect_max_seconds ({self.reconnect_max_seconds}) may not be below"
                f" reconnect_initial_seconds ({self.reconnect_initial_seconds})"
            )
