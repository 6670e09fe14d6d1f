"""``import cti_framework`` stays light: a host pays for what it uses, when it uses it."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "aioice",
    "aiortc",
    "av",
    "cattr",
    "cattrs",
    "click",
    "orjson",
    "rich",
    "sounddevice",
    "sqlalchemy",
    "starlette",
    "trio",
    "typed_settings",
    "websockets",
}
PLUGINS = {"cti_dummy", "cti_webitel"}


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after the statement."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return set(json.loads(done.stdout))


def test_the_import_loads_neither_heavy_libraries_nor_plugins() -> None:
    loaded = modules_after("import cti_framework")
    assert "cti_framework" in loaded
    assert loaded & (HEAVY | PLUGINS) == set()


def test_every_public_name_can_be_imported_and_none_is_listed_twice() -> None:
    import cti_framework

    assert len(set(cti_framework.__all__)) == len(cti_framework.__all__)
    for name in cti_framework.__all__:
        assert getattr(cti_framework, name) is not None


def test_the_probe_can_fail() -> None:
    assert "websockets" in modules_after("import websockets")
