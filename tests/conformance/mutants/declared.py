"""Faults in what a provider says of itself: capabilities, settings."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from cti_dummy import DummyCtiProvider, DummySettings, DummyUserSettings
from cti_framework.calls import Call, CallFeature
from cti_framework.errors import NotSupportedError
from cti_framework.provider import Capabilities
from cti_framework.reports import Report, Started
from cti_framework.settings import setting
from cti_framework.testing.conformance.tap import VERBS
from tests.conformance.mutants.making import Misreporting, Mutant

__all__ = ["MUTANTS", "OverDeclaring", "UnderDeclaring"]


class OverDeclaring(DummyCtiProvider):
    """Declares what it cannot do."""

    capabilities = attrs.evolve(
        DummyCtiProvider.capabilities, calls=DummyCtiProvider.capabilities.calls | CallFeature.BLIND_TRANSFER
    )


class UnderDeclaring(DummyCtiProvider):
    """Does what it does not declare."""

    capabilities = attrs.evolve(
        DummyCtiProvider.capabilities, calls=DummyCtiProvider.capabilities.calls & ~CallFeature.HOLD & ~CallFeature.UNHOLD
    )


class DeclaresMoreLater(Misreporting):
    """Declares more in a session than the class does."""

    def said(self, report: Report) -> list[Report]:
        more = self.capabilities.calls | CallFeature.CONFERENCE
        return [attrs.evolve(report, features=more) if isinstance(report, Started) else report]


class DoesNothingInstead(DummyCtiProvider):
    """Does nothing where it should say that it cannot."""

    async def set_mute(self, call: Call, on: bool) -> None:
        return


async def _nothing(*arguments: Any) -> None:
    """Do nothing, whatever is asked."""


DoesNothingAtAll = type(
    "DoesNothingAtAll",
    (DummyCtiProvider,),
    {
        "capabilities": Capabilities(),
        "__doc__": "Declares nothing, and says of nothing that it cannot.",
        **dict.fromkeys(VERBS, _nothing),
    },
)


class NotImplementedInstead(DummyCtiProvider):
    """Raises Python's own error where it should say that it cannot."""

    async def blind_transfer(self, call: Call, destination: str) -> None:
        raise NotImplementedError


class OfAnotherContract(DummyCtiProvider):
    """Is written for a contract that there is not."""

    provider_api = 99


@attrs.frozen(kw_only=True)
class _WithoutHelp(DummyUserSettings):
    colour: str = setting(default="red", help=" ")


class WithoutHelp(DummyCtiProvider):
    """Does not say what a setting is for."""

    user_settings_type = _WithoutHelp


def _is_a_port(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if not 0 < value < 65_536:
        raise ValueError(f"{attribute.name} is no port")


@attrs.frozen(kw_only=True)
class _BadDefault(DummySettings):
    port: int = setting(default=0, help="The PBX's port.", validator=_is_a_port)


class BadDefault(DummyCtiProvider):
    """Has a default that its own validator refuses."""

    settings_type = _BadDefault


@attrs.frozen(kw_only=True)
class _ShownPassword(DummyUserSettings):
    password: str = setting(default="", help="The user's password.")


class ShownPassword(DummyCtiProvider):
    """Has a password that is no secret."""

    user_settings_type = _ShownPassword


@attrs.frozen(kw_only=True)
class _Same(DummySettings):
    number: str = setting(default="100", help="The number of everybody.")


class SameInBoth(DummyCtiProvider):
    """Has one name for a setting of the system and one of a user."""

    settings_type = _Same


class _Plain:
    number = "100"


class NoAttrs(DummyCtiProvider):
    """Has settings that the core cannot read."""

    user_settings_type: ClassVar[type] = _Plain  # type: ignore[assignment]  # that is its fault


MUTANTS = (
    Mutant(OverDeclaring, ("test_a_call_is_sent_on",), raises=(NotSupportedError,)),
    Mutant(UnderDeclaring, ("test_hold_call_undeclared", "test_unhold_call_undeclared")),
    Mutant(DeclaresMoreLater, ("test_a_session_declares_no_more",)),
    Mutant(DoesNothingInstead, ("test_set_mute_undeclared",)),
    Mutant(DoesNothingAtAll, tuple(f"test_{verb}_undeclared" for verb in VERBS)),
    Mutant(NotImplementedInstead, ("test_blind_transfer_undeclared",)),
    Mutant(OfAnotherContract, ("test_the_class_says_what_it_is",)),
    Mutant(WithoutHelp, ("test_each_is_described",)),
    Mutant(BadDefault, ("test_the_defaults_hold",)),
    Mutant(ShownPassword, ("test_secrets_are_secret",)),
    Mutant(SameInBoth, ("test_they_are_apart",)),
    Mutant(NoAttrs, ("test_the_types_can_be_read",)),
)
