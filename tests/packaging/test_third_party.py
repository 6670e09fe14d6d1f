"""A provider from outside this repository: built as a wheel, installed, found, chosen by the settings key and used."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.packaging.conftest import Built, Environment, build

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}-cti"
version = "1.2.3"
dependencies = ["cti-framework", "anyio", "attrs"]

[project.entry-points."cti_framework.providers"]
{name} = "{name}_cti:{value}"

[tool.hatch.build.targets.wheel]
packages = ["{name}_cti"]
"""

ACME = '''
"""A PBX that connects every call at once."""

import anyio
import attrs
from cti_framework.calls import CallFeature, Party
from cti_framework.provider import BaseCtiProvider, Capabilities
from cti_framework.reports import Connected, Ended, Originated, Snapshot, Started


@attrs.frozen
class AcmeSettings:
    prefix: str = ""


class AcmeCtiProvider(BaseCtiProvider):
    capabilities = Capabilities(calls=CallFeature.DIAL | CallFeature.DROP)
    settings_type = AcmeSettings

    async def run(self):
        self._wire, wire_end = anyio.create_memory_object_stream(8)
        with self._wire, wire_end:
            self.context.report(Started(at=self.context.clock.now(), own_numbers=("100",)))
            async for report, told in wire_end:
                self.context.report(report)
                told.set()

    async def _tell(self, report):
        told = anyio.Event()
        await self._wire.send((report, told))
        await told.wait()

    async def snapshot(self):
        return Snapshot(at=self.context.clock.now())

    async def make_call(self, destination):
        number = self.context.settings.prefix + destination
        await self._tell(Originated(at=self.context.clock.now(), call_id="acme-1", other=Party(number)))
        call = self.context.call("acme-1")
        await self._tell(Connected(at=self.context.clock.now(), call_id="acme-1"))
        return call

    async def drop_call(self, call):
        await self._tell(Ended(at=self.context.clock.now(), call_id=call.id))
'''

BROKEN = {
    "import raises": ('raise RuntimeError("out of order")', "BrokenCtiProvider"),
    "import exits": ("raise SystemExit(3)", "BrokenCtiProvider"),
    "nothing of that name": ("", "NoSuchProvider"),
    "another contract": (
        """
        from cti_framework.provider import BaseCtiProvider

        class BrokenCtiProvider(BaseCtiProvider):
            provider_api = 9999
        """,
        "BrokenCtiProvider",
    ),
}

USE = """
import json
import sys

import anyio
from cti_framework import CallFinished, CtiProviderInitializer, CtiUser


async def main():
    initializer = CtiProviderInitializer({"cti.provider": "acme", "acme.prefix": "9"})
    told = []
    async with initializer.open(CtiUser(id="100")) as model:
        events = model.events()
        call = await model.make_call("0501234567")
        await model.drop_call(call)
        async for event in events:
            call = getattr(event, "call", None)
            told.append([type(event).__name__, call and call.other.number])
            if isinstance(event, CallFinished):
                break
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"acme_cti", "broken_cti", "cti_webitel", "cti_dummy"})
    print(json.dumps({"told": told, "loaded": loaded}))


anyio.run(main, backend="BACKEND")
"""

LIST = """
import json
from cti_framework.plugins import Plugins

records = Plugins().records()
print(json.dumps({r.name: [r.distribution, r.version, r.value, r.status.value] for r in records}))
"""


def write_plugin(folder: Path, name: str, source: str, value: str) -> Path:
    """A project folder as a third party would have it."""
    package = folder / f"{name}_cti"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(dedent(source), encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name, value=value), encoding="utf-8")
    return folder


def wheel_of(tmp_path: Path, name: str, source: str, value: str) -> Path:
    """The wheel of such a project, built outside this repository."""
    (wheel,) = build(write_plugin(tmp_path / name, name, source, value), tmp_path / f"{name}-dist", "wheel")
    return wheel


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The third party's wheel."""
    return wheel_of(tmp_path_factory.mktemp("third-party"), "acme", ACME, "AcmeCtiProvider")


@pytest.fixture
def with_acme(built: dict[str, Built], acme: Path, environment: Environment) -> Environment:
    """An environment with the core, the project's own plugins and a third party's."""
    environment.install(*(archives.wheel for archives in built.values()), acme)
    return environment


def used(environment: Environment, backend: str = "asyncio") -> dict[str, Any]:
    """What a host was told that used it; the last line, because structlog's defaults log to the same place."""
    said: dict[str, Any] = json.loads(environment.python_says(USE.replace("BACKEND", backend)).splitlines()[-1])
    return said


def listed(environment: Environment) -> dict[str, list[str]]:
    """What is installed, by name."""
    records: dict[str, list[str]] = json.loads(environment.python_says(LIST))
    return records


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_is_found_chosen_by_the_settings_key_and_used(with_acme: Environment, backend: str) -> None:
    said = used(with_acme, backend)
    calls = [(name, number) for name, number in said["told"] if name in {"CallStarted", "CallConnected", "CallFinished"}]
    assert calls == [(name, "90501234567") for name in ("CallStarted", "CallConnected", "CallFinished")]
    assert said["loaded"] == ["acme_cti"]


def test_it_is_listed_beside_ours(with_acme: Environment) -> None:
    records = listed(with_acme)
    assert records["acme"] == ["acme-cti", "1.2.3", "acme_cti:AcmeCtiProvider", "available"]
    assert set(records) == {"acme", "dummy", "webitel"}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_changes_nothing_for_it(with_acme: Environment, tmp_path: Path, fault: str) -> None:
    listed_alone, used_alone = listed(with_acme), used(with_acme)
    source, value = BROKEN[fault]
    with_acme.install(wheel_of(tmp_path, "broken", source, value))

    listed_beside_it = listed(with_acme)
    assert listed_beside_it.pop("broken")[0] == "broken-cti"
    assert listed_beside_it == listed_alone
    assert used(with_acme) == used_alone
