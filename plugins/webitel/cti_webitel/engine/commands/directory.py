"""The accounts of the domain (facts: webitel-protocol 3.3, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typed_settings.types import Secret

from cti_webitel.engine.answers import read_account_rows, read_object
from cti_webitel.engine.arguments import check_account, check_parameter, check_password, check_word
from cti_webitel.engine.commands.execute import Commands

__all__ = ["DirectoryCommands"]


class DirectoryCommands(Commands):
    """Reading the directory, and for supervisors changing it."""

    async def account_list(self) -> Mapping[str, Any]:
        """List the accounts of the domain that this account may see: with the permission account: ``ro`` only its own.

        Returns:
            One row an account, by its number.

        Raises:
            CommandRefusedError: The role lacks the permission account: ``r`` or ``ro``.
            CommandError: As `execute`, or the answer cannot be read.
        """
        return read_account_rows(await self.execute("api account list", {"domain": self.domain}))

    async def list_users(self) -> Mapping[str, Any]:
        """List all that has a number in the domain, accounts and devices.

        Returns:
            One row each, by its number.

        Raises:
            CommandRefusedError: The role lacks the permission account: ``r``.
            CommandError: As `execute`, or the answer cannot be read.
        """
        return read_object("api list_users", await self.execute("api list_users", {"domain": self.domain}))

    async def account(self, user: str) -> Mapping[str, Any]:
        """Read one account's parameters.

        Args:
            user: ``number@domain``.

        Returns:
            The parameters by name.

        Raises:
            InvalidArgumentError: It is no account; nothing was sent.
            CommandRefusedError: There is none of that name, or the role lacks the permission account: ``r``.
            CommandError: As `execute`, or the answer cannot be read.
        """
        return read_object("api account", await self.execute("api account", {"user": check_account(user)}))

    async def create_account(
        self,
        number: str,
        *,
        password: Secret[str] | None = None,
        role: str = "user",
        parameters: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Any:
        """Make an account in the own domain.

        Args:
            number: Its number.
            password: Its password; the directory's own rule for none.
            role: Its role: ``user``, ``admin`` or one of the site's own.
            parameters: Parameters of the directory, by name.
            variables: Variables of the directory, by name.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: Something could inject into the directory's command; nothing was sent.
            CommandRefusedError: There is one of that number, or the role lacks the permission account: ``c``.
            CommandError: As `execute`.
        """
        account = check_account(f"{number}@{self.domain}")
        args: dict[str, Any] = {"role": check_word("role", role), "param": account}
        if password is not None:
            args["param"] = Secret(f"{number}:{check_password(password.get_secret_value())}@{self.domain}")
        attribute = _settings(parameters, variables)
        if attribute:
            args["attribute"] = attribute
        return await self.execute("api account create", args)

    async def change_account(
        self,
        user: str,
        *,
        password: Secret[str] | None = None,
        parameters: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Any:
        """Change an account. A new password or role ends the tokens that were given for it.

        Args:
            user: ``number@domain``.
            password: Its new password.
            parameters: New parameters of the directory, by name, such as ``role``. The own role cannot be changed.
            variables: New variables of the directory, by name.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: Something could inject into the directory's command; nothing was sent.
            CommandRefusedError: There is no such account, or the role lacks the permission account: ``u`` (``uo`` for the own
                one).
            CommandError: As `execute`.
        """
        changes: dict[str, list[str | Secret[str]]] = {"parameters": [], "variables": [], **_settings(parameters, variables)}
        if password is not None:
            changes["parameters"].append(Secret(f"password={check_password(password.get_secret_value())}"))
        return await self.execute("api account change", {"user": check_account(user), "param": changes})

    async def remove_account(self, user: str) -> Any:
        """Remove an account; the engine cuts all its connections.

        Args:
            user: ``number@domain``.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: It is no account; nothing was sent.
            CommandRefusedError: It is the own one (``Easy! it's YOU !!!``), there is none of that name, or the role lacks the
                permission account: ``d``.
            CommandError: As `execute`.
        """
        return await self.execute("api account remove", {"user": check_account(user)})


def _settings(parameters: Mapping[str, str] | None, variables: Mapping[str, str] | None) -> dict[str, list[str | Secret[str]]]:
    """Write settings as the directory reads them, ``name=value`` each."""
    kinds = (("parameters", parameters), ("variables", variables))
    return {
        kind: [check_parameter(f"{name}={value}") for name, value in settings.items()] for kind, settings in kinds if settings
    }
