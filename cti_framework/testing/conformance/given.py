"""The secrets that a PBX in a box gives to its user, and settings with others in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from typed_settings.types import Secret

from cti_framework.provider import Simulation
from cti_framework.settings import describe_settings
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.running import NotMeasured

__all__ = ["parted", "planted", "refused", "secrets"]


def secrets(bench: ProviderBench, simulation: Simulation) -> Mapping[str, str]:
    """Tell the secret settings of the PBX in a box and of its user.

    Args:
        bench: The provider under test.
        simulation: The PBX in a box.

    Returns:
        The secrets by dotted key.
    """
    provider_class, name = bench.provider_class, bench.provider_name
    types = (provider_class.settings_type, provider_class.user_settings_type)
    given = {_plain(key): value for key, value in (*simulation.settings.items(), *simulation.user.parameters.items())}
    found: dict[str, str] = {}
    for described in (one for settings_type in types for one in describe_settings(name, settings_type)):
        # A user's parameters may go without the prefix.
        value = given.get(_plain(described.key), given.get(_plain(described.key.partition(".")[2])))
        if described.secret and value is not None:
            found[described.key] = str(value.get_secret_value() if isinstance(value, Secret) else value)
    return found


def planted(bench: ProviderBench, simulation: Simulation, secret: str) -> Mapping[str, Any]:
    """Give settings with one text in place of each secret.

    Args:
        bench: The provider under test.
        simulation: The PBX in a box.
        secret: The text.

    Returns:
        By dotted key; empty where there is no secret.
    """
    return dict.fromkeys(secrets(bench, simulation), secret)


def refused(bench: ProviderBench, simulation: Simulation, secret: str) -> Mapping[str, Any]:
    """Give settings with which the PBX refuses the user.

    Args:
        bench: The provider under test.
        simulation: The PBX in a box.
        secret: What secret settings are set to.

    Returns:
        What the bench says, or else the secret settings, set wrong.

    Raises:
        NotMeasured: There is neither.
    """
    wrong = planted(bench, simulation, secret) if bench.refused is None else bench.refused
    if not wrong:
        raise NotMeasured("there is nothing to refuse: no secret setting is given, and bench.refused says nothing")
    return wrong


def parted(
    bench: ProviderBench, simulation: Simulation, settings: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Part settings into those of the system and those of the user.

    Args:
        bench: The provider under test.
        simulation: The PBX in a box.
        settings: By dotted key.

    Returns:
        The system's, and the user's: what a user setting is called, and what the box gives its user already.
    """
    described = describe_settings(bench.provider_name, bench.provider_class.user_settings_type)
    of_user = {_plain(one.key) for one in described} | {_plain(key) for key in simulation.user.parameters}
    users = {key: value for key, value in settings.items() if of_user & {_plain(key), _plain(key.partition(".")[2])}}
    return {key: value for key, value in settings.items() if key not in users}, users


def _plain(key: str) -> str:
    return re.sub(r"[-_]", "", key).lower()
