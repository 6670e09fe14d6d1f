"""Faults with a secret: a dummy that has a password, and shows it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
from typed_settings.types import Secret

from cti_dummy import DummyCtiProvider, DummyUserSettings
from cti_framework.errors import CredentialsRefusedError, NetworkError
from cti_framework.provider import Simulation
from cti_framework.reports import Raw
from cti_framework.settings import setting
from tests.conformance.mutants.making import Mutant

__all__ = ["MUTANTS", "Guarded"]

_RIGHT = "guarded-by-this-4100"
_SESSION = ("test_a_session_shows_no_secret",)
_REFUSAL = ("test_a_refusal_shows_no_secret",)


@attrs.frozen(kw_only=True)
class _GuardedSettings(DummyUserSettings):
    password: Secret[str] = setting(default=Secret(""), help="The user's password.")


class Guarded(DummyCtiProvider):
    """Asks for a password. Nothing else is wrong with it."""

    user_settings_type = _GuardedSettings

    @property
    def password(self) -> str:
        """What the user has to know."""
        secret: Secret[str] = self.context.user_settings.password
        return secret.get_secret_value()

    async def run(self) -> None:
        if self.password != _RIGHT:
            self.refuse()
        self.log_in()
        await super().run()

    def refuse(self) -> None:
        """Refuse the user."""
        raise CredentialsRefusedError("The PBX in memory refuses the user.")

    def log_in(self) -> None:
        """Do what is done with the password that is right."""

    @classmethod
    @asynccontextmanager
    async def simulator(cls) -> AsyncIterator[Simulation]:
        async with DummyCtiProvider.simulator() as simulation:
            parameters = {**simulation.user.parameters, "dummy.password": _RIGHT}
            yield attrs.evolve(simulation, user=attrs.evolve(simulation.user, parameters=parameters))


class SecretInTheLog(Guarded):
    """Logs the frame by which it logs in."""

    def log_in(self) -> None:
        self.context.log.debug("acme.sent", frame=f"auth {self.password}")


class SecretInALibrarysLog(Guarded):
    """Logs the same by the standard library."""

    def log_in(self) -> None:
        logging.getLogger(__name__).debug("> auth %s", self.password)


class SecretPrinted(Guarded):
    """Prints what its author wanted to know once."""

    def log_in(self) -> None:
        print("auth", self.password)  # noqa: T201 - that is its fault


class SecretInTheTrace(Guarded):
    """Tells whoever watches the messages."""

    def log_in(self) -> None:
        if self.context.trace is not None:
            self.context.trace("to_pbx", "auth", self.password)


class SecretInAnObject(Guarded):
    """Keeps it where the text of an object shows it."""

    def log_in(self) -> None:
        self.connection_options = {"url": f"wss://100:{self.password}@pbx.example"}


class SecretInItsText(Guarded):
    """Shows it in its own text."""

    def __repr__(self) -> str:
        return f"<SecretInItsText {self.password}>"


class SecretInARawReport(Guarded):
    """Hands it on with what the PBX said."""

    def log_in(self) -> None:
        super().log_in()
        self._after_start = self.context.report
        report = self.context.report

        def with_frame(*reports: object) -> None:
            report(*reports)  # type: ignore[arg-type]  # what it was given
            self.context.report = report
            report(Raw(at=self.context.clock.now(), raw={"command": f"auth {self.password}"}))

        self.context.report = with_frame


class SecretInALostNetwork(Guarded):
    """Shows it where it says which connection was lost."""

    async def run(self) -> None:
        try:
            await super().run()
        except NetworkError as error:
            raise NetworkError(f"wss://100:{self.password}@pbx.example was cut.") from error


class SecretInARefusal(Guarded):
    """Shows it where it says that it was refused."""

    def refuse(self) -> None:
        raise CredentialsRefusedError(f"The PBX in memory refuses {self.password!r}.")


class SecretInTheCause(Guarded):
    """Shows it in what the error was raised from."""

    def refuse(self) -> None:
        try:
            raise ValueError(f"-ERR auth {self.password}")
        except ValueError as error:
            raise CredentialsRefusedError("The PBX in memory refuses the user.") from error


class SecretRefusedIsLogged(Guarded):
    """Logs the secret that was refused."""

    def refuse(self) -> None:
        self.context.log.warning("acme.refused", password=self.password)
        super().refuse()


MUTANTS = (
    Mutant(SecretInTheLog, _SESSION),
    Mutant(SecretInALibrarysLog, _SESSION),
    Mutant(SecretPrinted, _SESSION),
    Mutant(SecretInTheTrace, _SESSION),
    Mutant(SecretInAnObject, _SESSION),
    Mutant(SecretInItsText, _SESSION),
    Mutant(SecretInARawReport, _SESSION),
    Mutant(SecretInALostNetwork, _SESSION),
    Mutant(SecretInARefusal, _REFUSAL),
    Mutant(SecretInTheCause, _REFUSAL),
    Mutant(SecretRefusedIsLogged, _REFUSAL),
)
