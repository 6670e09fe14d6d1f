"""A plugin built against an older contract, on a framework of tomorrow: what it does, what users are told, and when it ends."""

from __future__ import annotations

import json
import re
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import Built, Environment
from tests.packaging.test_third_party import ACME, wheel_of

USE = """
import json
import warnings

import anyio
from cti_framework import CtiProviderInitializer, CtiUser
from cti_framework.deprecation import CtiDeprecationWarning
from cti_framework.errors import CtiError


async def main():
    told = {"calls": [], "error": None, "remedy": None}
    try:
        async with CtiProviderInitializer({"cti.provider": "acme"}).open(CtiUser(id="100")) as model:
            call = await model.make_call("0501234567")
            told["calls"].append(call.other.number)
    except CtiError as error:
        told["error"], told["remedy"] = error.message, error.remedy
    return told


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", CtiDeprecationWarning)
    told = anyio.run(main)
told["warnings"] = [str(one.message) for one in caught if issubclass(one.category, DeprecationWarning)]
print(json.dumps(told))
"""

DOCTOR = """
import sys
from cti_framework.cli import main

sys.exit(0 if main(["--set", "cti.provider=acme", "doctor", "--user", "100", "--json"]) in (0, 1) else 2)
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third party's wheel, which says that it is written for contract 1."""
    source = ACME.replace("    settings_type = AcmeSettings\n", "    provider_api = 1\n    settings_type = AcmeSettings\n")
    assert "provider_api = 1" in source
    return wheel_of(tmp_path_factory.mktemp("older"), "acme", source, "AcmeCtiProvider")


def framework_of_tomorrow(environment: Environment, *, newest: int, oldest: int) -> None:
    """Let the installed framework be one whose contract has grown; all but its newest are about to go."""
    base = str(environment.folder)
    provider = Path(sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base}), "cti_framework", "provider.py")
    text = provider.read_text(encoding="utf-8")
    deprecated = ", ".join(
        f'{api}: Deprecation("0.2", "0.3", "see docs/reference/compatibility.md.")' for api in range(oldest, newest)
    )
    for name, value in (
        ("PROVIDER_API: Final", str(newest)),
        ("PROVIDER_API_SUPPORTED: Final", f"range({oldest}, {newest + 1})"),
        ("PROVIDER_API_DEPRECATED: Final[Mapping[int, Deprecation]]", f"MappingProxyType({{{deprecated}}})"),
    ):
        text, count = re.subn(rf"^{re.escape(name)} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    provider.write_text(text, encoding="utf-8")
    # Python takes what it compiled for the same where size and second are the same.
    Path(cache_from_source(str(provider))).unlink(missing_ok=True)


def used(environment: Environment) -> dict[str, Any]:
    """What a host of it sees; the last line, because structlog's defaults log to the same place."""
    said: dict[str, Any] = json.loads(environment.python_says(USE).splitlines()[-1])
    return said


def compatible_step(environment: Environment) -> tuple[str, str]:
    steps = [json.loads(line) for line in environment.python_says(DOCTOR).splitlines() if line.startswith("{")]
    (step,) = [step for step in steps if step["step"] == "provider_compatible"]
    return step["state"], step["detail"]


def test_an_older_plugin_works_warns_and_ends(built: dict[str, Built], acme: Path, environment: Environment) -> None:
    environment.install(built["cti_framework"].wheel, acme)
    assert used(environment) == {"calls": ["0501234567"], "error": None, "remedy": None, "warnings": []}

    # One minor version: it works, and says that it will not for long.
    framework_of_tomorrow(environment, newest=2, oldest=1)
    said = used(environment)
    (warning,) = said["warnings"]
    assert said["calls"] == ["0501234567"]
    assert "Provider API 1, for which the provider 'acme' of acme-cti 1.2.3" in warning
    assert "deprecated since cti-framework 0.2 and gone in 0.3" in warning

    # The next one: it is refused, and nothing of it runs.
    framework_of_tomorrow(environment, newest=3, oldest=2)
    said = used(environment)
    assert said["calls"] == said["warnings"] == []
    assert "is written for provider API 1; this cti-framework supports 2 to 3." in said["error"]
    assert said["remedy"] == "Upgrade the plugin: pip install --upgrade acme-cti."
    state, detail = compatible_step(environment)
    assert state == "failed"
    assert "provider API 1" in detail
