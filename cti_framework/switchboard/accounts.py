"""The switch's own users and their devices."""

from __future__ import annotations

import attrs

__all__ = ["NO_STATUS", "Account", "Device"]

NO_STATUS = "NONE"
"""The status of an account that is not away for any reason."""


@attrs.frozen(kw_only=True)
class Device:
    """A phone of an account.

    Attributes:
        number: From 1, within the account.
        registered: Whether the switch can reach it.
        answer_seconds: How long after it begins to ring for a caller it picks up by itself; ``None``: never.
        by_hand: Whether only its own user picks it up, as a web phone that is there: nothing that happens by itself concerns it.
    """

    number: int = 1
    registered: bool = True
    answer_seconds: float | None = None
    by_hand: bool = False


@attrs.frozen(kw_only=True)
class Account:
    """A user of the switch.

    Attributes:
        number: The internal number, for example ``100``.
        domain: For example ``demo.local``.
        password: What the user logs in with.
        name: For people.
        role: ``user`` or ``admin``.
        devices: The phones.
        status: ``NONE``, or why the user is away: ``ONBREAK``, ``DND``…
        description: The user's note to that.
        agent_status: The call centre's, for example ``Logged Out``.
        agent_state: The call centre's, for example ``Waiting``.
        in_call: Whether the account has a leg.
    """

    number: str
    domain: str
    password: str = attrs.field(default="", repr=False)
    name: str = ""
    role: str = "user"
    devices: tuple[Device, ...] = (Device(),)
    status: str = NO_STATUS
    description: str = ""
    agent_status: str = "Logged Out"
    agent_state: str = "Waiting"
    in_call: bool = False

    @property
    def presence(self) -> str:
        """The full name, ``number@domain``."""
        return f"{self.number}@{self.domain}"

    @property
    def registered_devices(self) -> tuple[Device, ...]:
        """The phones that can be reached now."""
        return tuple(device for device in self.devices if device.registered)

    @property
    def state(self) -> str:
        """``NONREG``, ``ISBUSY`` or ``ONHOOK`` (facts: webitel-protocol 3.3)."""
        if not self.registered_devices:
            return "NONREG"
        return "ISBUSY" if self.in_call or self.status != NO_STATUS else "ONHOOK"
