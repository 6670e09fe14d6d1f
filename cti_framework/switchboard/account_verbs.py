"""What the Switchboard lets one do with its accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from cti_framework.switchboard.accounts import NO_STATUS, Account, Device
from cti_framework.switchboard.directory import Directory

__all__ = ["AccountVerbs"]


class AccountVerbs:
    """The part of the Switchboard that is about its users.

    Args:
        directory: The accounts.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All accounts, in the order in which they were added."""
        return self._directory.accounts

    def add_account(
        self,
        number: str,
        domain: str = "demo.local",
        *,
        password: str = "",
        name: str = "",
        role: str = "user",
        devices: Iterable[Device] = (Device(),),
    ) -> Account:
        """Add a user.

        Args:
            number: The internal number.
            domain: The domain.
            password: What the user logs in with.
            name: For people; without one, ``User`` and the number.
            role: ``user`` or ``admin``.
            devices: The phones.

        Returns:
            The account.
        """
        account = Account(
            number=number, domain=domain, password=password, name=name or f"User {number}", role=role, devices=tuple(devices)
        )
        self._directory.add(account)
        return account

    def account(self, presence: str) -> Account:
        """Find an account.

        Args:
            presence: ``number@domain``.

        Returns:
            It, as it is now.

        Raises:
            SwitchError: There is none.
        """
        return self._directory.get(presence)

    def set_account(self, presence: str, **changes: Any) -> Account:
        """Replace fields of an account: status, phones, agent status… Calls that are up stay up.

        Args:
            presence: Whose.
            **changes: As :class:`Account` names them.

        Returns:
            The account as it is now.

        Raises:
            SwitchError: There is no such account.
        """
        return self._directory.change(presence, **changes)

    def amend_account(self, presence: str, **changes: Any) -> Account:
        """Replace fields of an account that nobody is told of: the password, the name, the role.

        Args:
            presence: Whose.
            **changes: As :class:`Account` names them.

        Returns:
            The account as it is now.

        Raises:
            SwitchError: There is no such account.
        """
        return self._directory.amend(presence, **changes)

    def set_status(self, presence: str, status: str = NO_STATUS, description: str = "") -> Account:
        """Say that a user is away, or back.

        Args:
            presence: Who.
            status: ``NONE``, ``ONBREAK``, ``DND``…
            description: The user's note.

        Returns:
            The account.

        Raises:
            SwitchError: There is no such account.
        """
        return self.set_account(presence, status=status, description=description)

    def set_registered(self, presence: str, registered: bool) -> Account:
        """Register or unregister all phones of a user.

        Args:
            presence: Who.
            registered: Whether they can be reached.

        Returns:
            The account.

        Raises:
            SwitchError: There is no such account.
        """
        devices = self.account(presence).devices
        return self.set_account(presence, devices=tuple(attrs.evolve(device, registered=registered) for device in devices))

    def remove_account(self, presence: str) -> Account:
        """Forget a user. Calls that are up stay up.

        Args:
            presence: Who.

        Returns:
            The account, as it was.

        Raises:
            SwitchError: There is no such account.
        """
        return self._directory.remove(presence)
