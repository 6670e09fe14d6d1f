from __future__ import annotations

import attrs
import pytest

from cti_framework.back_off import BackOff, ReconnectPolicy
from cti_framework.errors import (
    AddressError,
    ConnectionFailedError,
    CredentialsRefusedError,
    NetworkError,
    OutageKind,
    PluginError,
    ProtocolError,
)


def longest(policy: ReconnectPolicy, kind: OutageKind, count: int = 5) -> list[float]:
    """The pauses before jitter."""
    return [policy.delay_seconds(failures, lambda: 1.0, kind) for failures in range(1, count + 1)]


def test_every_kind_has_pauses_of_its_own() -> None:
    policy = ReconnectPolicy()
    back_offs = {kind: policy.back_off(kind) for kind in OutageKind}
    retried = {kind: back_off for kind, back_off in back_offs.items() if kind not in (OutageKind.CREDENTIALS, OutageKind.ADDRESS)}
    retried.pop(OutageKind.TLS_NOT_TRUSTED)
    assert len(set(retried.values())) == len(retried)
    assert all(back_off.initial_seconds <= back_off.maximum_seconds for back_off in back_offs.values())
    assert back_offs[OutageKind.TLS_NOT_TRUSTED].initial_seconds >= 30


@pytest.mark.parametrize(
    ("kind", "pauses"),
    [
        (OutageKind.LOST, [0.5, 1, 2, 4, 8]),
        (OutageKind.HALF_OPEN, [0.25, 0.5, 1, 2, 4]),
        (OutageKind.REFUSED, [1, 2, 4, 8, 16]),
        (OutageKind.NAME_UNKNOWN, [3, 6, 12, 24, 48]),
        (OutageKind.RESTARTING, [2, 4, 8, 15, 15]),
        (OutageKind.TLS_NOT_TRUSTED, [30, 60, 120, 240, 480]),
    ],
)
def test_pauses_of_a_kind(kind: OutageKind, pauses: list[float]) -> None:
    assert longest(ReconnectPolicy(), kind) == pauses


def test_two_delays_make_all_pauses_longer() -> None:
    policy = ReconnectPolicy(initial_delay_seconds=1.0, maximum_delay_seconds=10.0)
    assert longest(policy, OutageKind.REFUSED) == [2, 4, 8, 10, 10]
    assert longest(attrs.evolve(policy, initial_delay_seconds=2.0), OutageKind.REFUSED) == [4, 8, 10, 10, 10]


def test_a_kind_that_is_given_replaces_only_itself() -> None:
    policy = ReconnectPolicy(by_kind={OutageKind.REFUSED: BackOff(7.0, 9.0)})
    assert longest(policy, OutageKind.REFUSED, 3) == [7, 9, 9]
    assert policy.back_off(OutageKind.LOST) == BackOff(0.5, 30.0)


def test_half_of_a_pause_is_drawn() -> None:
    assert BackOff(4.0, 4.0).delay_seconds(1, lambda: 0.0) == 2.0
    assert {BackOff(4.0, 4.0).delay_seconds(1) for _ in range(20)} != {4.0}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionFailedError("x"), OutageKind.LOST),
        (NetworkError("x"), OutageKind.LOST),
        (NetworkError("x", kind=OutageKind.BUSY), OutageKind.BUSY),
        (AddressError("x"), OutageKind.ADDRESS),
        (CredentialsRefusedError("x"), OutageKind.CREDENTIALS),
        (ProtocolError("x"), OutageKind.PROTOCOL),
        (PluginError("x"), OutageKind.PLUGIN),
        (ValueError("x"), OutageKind.PLUGIN),
    ],
)
def test_kinds_of_errors(error: Exception, kind: OutageKind) -> None:
    assert OutageKind.of(error) is kind
    if isinstance(error, ConnectionFailedError):
        assert error.describe()["kind"] == kind.value


def test_the_class_keeps_its_kind() -> None:
    NetworkError("x", kind=OutageKind.BUSY)
    assert NetworkError.kind is OutageKind.LOST
