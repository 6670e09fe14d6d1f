"""The contract of import-linter that a plugin's check has: of the core, public names only."""

from __future__ import annotations

import pytest

pytest.importorskip("importlinter", reason="the extra walls is not installed")

from cti_framework.testing.walls import PrivateUse, private_uses

PUBLIC = """
import anyio
import cti_framework
import cti_framework.provider
import cti_framework.switchboard.faults as faults
from cti_framework import CtiModel, __version__, errors, transport
from cti_framework.provider import BaseCtiProvider, Capabilities as Able
from cti_framework.transport import memory
from .own import _private
from other._inside import Thing

errors.CtiError, transport.WebSocket, faults.SwitchFaults, memory
cti_framework.provider.BaseCtiProvider._not_supported
self._connection.cti_framework._own
"""


def found(source: str) -> list[str]:
    return [use.what for use in sorted(private_uses("acme", source, "cti_framework"))]


def test_what_is_offered_may_be_used() -> None:
    assert found(PUBLIC) == []


@pytest.mark.parametrize(
    ("source", "private"),
    [
        ("import cti_framework.transport._port", "cti_framework.transport._port"),
        ("import cti_framework.transport._port as port", "cti_framework.transport._port"),
        ("from cti_framework.transport import _port", "cti_framework.transport._port"),
        ("from cti_framework.transport._port import *", "cti_framework.transport._port.*"),
        ("from cti_framework.calls import attrs", "cti_framework.calls.attrs"),
        ("from cti_framework.calls import no_such_name", "cti_framework.calls.no_such_name"),
        ("from cti_framework.provider import _x", "cti_framework.provider._x"),
        ("if TYPE_CHECKING:\n    from cti_framework.provider import _x", "cti_framework.provider._x"),
        ("def f():\n    from cti_framework.provider import _x", "cti_framework.provider._x"),
        ("import cti_framework.provider\ncti_framework.provider._x", "cti_framework.provider._x"),
        ("import cti_framework.provider as p\np._x.y", "cti_framework.provider._x"),
        ("from cti_framework import transport as t\nt._port.y", "cti_framework.transport._port"),
    ],
)
def test_what_is_not_offered_may_not(source: str, private: str) -> None:
    assert found(source) == [private]


def test_it_says_where() -> None:
    (use,) = private_uses("acme.line", "\n\nfrom cti_framework.provider import (\n    Capabilities,\n    _x,\n)", "cti_framework")
    assert use == PrivateUse("acme.line", 3, "cti_framework.provider._x")


def test_another_package_is_none_of_it() -> None:
    assert list(private_uses("acme", "from cti_framework_x._y import z\nimport cti._z", "cti_framework")) == []
