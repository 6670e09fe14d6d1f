"""The switch's list of accounts; what changes in it is an event."""

from __future__ import annotations

from typing import Any

import attrs

from cti_framework.switchboard.accounts import Account
from cti_framework.switchboard.clock import Clock
from cti_framework.switchboard.delivery import Delivery
from cti_framework.switchboard.events import SwitchError, SwitchEvent, SwitchEventName

__all__ = ["Directory"]


class Directory:
    """All accounts, by ``number@domain``.

    Args:
        clock: The switch's.
        delivery: Where the events go.
    """

    def __init__(self, clock: Clock, delivery: Delivery) -> None:
        self._clock = clock
        self._delivery = delivery
        self._accounts: dict[str, Account] = {}

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All of them, in the order in which they were added."""
        return tuple(self._accounts.values())

    def add(self, account: Account) -> None:
        """Add an account, or replace the one of that name, without an event.

        Args:
            account: Which.
        """
        self._accounts[account.presence] = account

    def find(self, presence: str) -> Account | None:
        """Look for an account.

        Args:
            presence: ``number@domain``.

        Returns:
            It, as it is now; ``None``: there is none.
        """
        return self._accounts.get(presence)

    def get(self, presence: str) -> Account:
        """Find an account.

        Args:
            presence: ``number@domain``.

        Returns:
            It, as it is now.

        Raises:
            SwitchError: There is none.
        """
        account = self._accounts.get(presence)
        if account is None:
            raise SwitchError("-ERR user not found!")
        return account

    def remove(self, presence: str) -> Account:
        """Forget an account, without an event.

        Args:
            presence: Which.

        Returns:
            It, as it was.

        Raises:
            SwitchError: There is none.
        """
        account = self.get(presence)
        del self._accounts[presence]
        return account

    def amend(self, presence: str, **changes: Any) -> Account:
        """Replace fields of an account without an event: those that nobody is told of.

        Args:
            presence: Which.
            **changes: As :class:`Account` names them.

        Returns:
            The account as it is now.

        Raises:
            SwitchError: There is none.
        """
        account = attrs.evolve(self.get(presence), **changes)
        self._accounts[presence] = account
        return account

    def change(self, presence: str, **changes: Any) -> Account:
        """Replace fields of an account and say so, even where nothing is different: the switch does not compare.

        Args:
            presence: Which.
            **changes: As :class:`Account` names them.

        Returns:
            The account as it is now.

        Raises:
            SwitchError: There is none.
        """
        with self._delivery.operation():
            account = self.amend(presence, **changes)
            self._delivery.publish(SwitchEvent(name=SwitchEventName.ACCOUNT_STATUS, at=self._clock.now, account=account))
        return account
