"""Steps of a diagnosis: what each may come to, and that none stops the next."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from cti_framework.diagnosis import Checks, DiagnosisStep, Endpoint, Finding, StepState
from cti_framework.errors import AddressError, NetworkError, SettingsError
from cti_framework.session_checks import clock_finding

pytestmark = pytest.mark.anyio

FAILED, OK, SKIPPED, WARNING = StepState.FAILED, StepState.OK, StepState.SKIPPED, StepState.WARNING


async def good() -> str:
    return "All is well."


def raises(error: BaseException) -> Any:
    async def act() -> str:
        raise error

    return act


async def test_a_step_says_what_it_found() -> None:
    told: list[DiagnosisStep] = []
    checks = Checks(on_step=told.append)
    assert await checks.check("good", good)
    assert await checks.check("so so", raises_nothing(Finding("Late.", WARNING, remedy="Hurry.")))
    assert not await checks.check("nothing", raises_nothing(Finding("None there.", SKIPPED)))
    assert [(step.step, step.state, step.detail, step.remedy) for step in checks.steps] == [
        ("good", OK, "All is well.", None),
        ("so so", WARNING, "Late.", "Hurry."),
        ("nothing", SKIPPED, "None there.", None),
    ]
    assert told == checks.steps
    assert all(0 <= step.seconds < 5 for step in told)


def raises_nothing(finding: Finding) -> Any:
    async def act() -> Finding:
        return finding

    return act


ANY_REMEDY = "Try again; if it stays so, look at the log (`cti -v …`)."


@pytest.mark.parametrize(
    ("error", "detail", "remedy"),
    [
        (NetworkError("Nobody is there.", remedy="Ring."), "Nobody is there.", "Ring."),
        (SettingsError("Bad.", problems=("a: x", "b: y"), remedy="Mend."), "Bad. a: x; b: y.", "Mend."),
        (ExceptionGroup("g", [ExceptionGroup("h", [NetworkError("Deep.")])]), "Deep.", ANY_REMEDY),
        (SettingsError("Bad.", problems=("a: did you mean b?",), remedy="Mend."), "Bad. a: did you mean b?", "Mend."),
        (
            ValueError("the password is hunter2"),
            "Unexpected ValueError: a fault of the program or of a plugin.",
            "Tell the plugin's author.",
        ),
        (
            ExceptionGroup("g", [KeyError("hunter2")]),
            "Unexpected KeyError: a fault of the program or of a plugin.",
            "Tell the plugin's author.",
        ),
    ],
)
async def test_whatever_a_step_raises_is_told_and_goes_no_further(error: Exception, detail: str, remedy: str) -> None:
    checks = Checks()
    assert not await checks.check("bad", raises(error))
    (step,) = checks.steps
    assert (step.state, step.detail, step.remedy) == (FAILED, detail, remedy)
    assert await checks.check("next", good)


async def test_a_step_has_a_time() -> None:
    checks = Checks(timeout_seconds=0.01)
    with anyio.fail_after(5):
        assert not await checks.check("slow", anyio.sleep_forever)  # type: ignore[arg-type]  # what never returns fits any type
        assert not await checks.check("slower", anyio.sleep_forever, timeout_seconds=0.02)  # type: ignore[arg-type]  # as above
    assert [step.detail for step in checks.steps] == ["It did not end within 0.01 s.", "It did not end within 0.02 s."]
    assert all(step.state is FAILED and step.remedy for step in checks.steps)
    assert checks.steps[1].seconds >= 0.02


async def test_who_is_cancelled_is_no_step_that_took_too_long() -> None:
    checks = Checks()
    with anyio.move_on_after(0.01) as scope:
        await checks.check("slow", anyio.sleep_forever)  # type: ignore[arg-type]  # what never returns fits any type
    assert scope.cancelled_caught
    assert checks.steps == []


async def test_what_a_step_needs() -> None:
    checks = Checks()
    await checks.check("good", good)
    await checks.check("bad", raises(NetworkError("No.")))
    assert await checks.check("a", good, needs=["good"])
    assert not await checks.check("b", good, needs=["good", "bad", "never taken"])
    assert checks.steps[-1].state is SKIPPED
    assert checks.steps[-1].detail == "Not looked at: it needs bad and never taken."
    # What was skipped is no ground to stand on.
    assert not await checks.check("c", good, needs=["b"])


async def test_secrets_are_taken_out_of_detail_and_remedy() -> None:
    checks = Checks(redact=lambda text: text.replace("hunter2", "***"))
    await checks.check("bad", raises(NetworkError("hunter2 is wrong.", remedy="Try not hunter2.")))
    assert (checks.steps[0].detail, checks.steps[0].remedy) == ("*** is wrong.", "Try not ***.")


def test_a_step_as_plain_data() -> None:
    assert DiagnosisStep("a", WARNING, "b", "c", 0.12345).as_dict() == {
        "step": "a",
        "state": "warning",
        "detail": "b",
        "remedy": "c",
        "seconds": 0.123,
    }


@pytest.mark.parametrize(
    ("url", "place", "encrypted"),
    [
        ("wss://pbx.example:871/engine", ("pbx.example", 871), True),
        ("ws://pbx.example", ("pbx.example", 80), False),
        ("https://ann:hunter2@pbx.example/x?y", ("pbx.example", 443), True),
        (" tcp://[::1]:8021 ", ("::1", 8021), False),
        ("tls://10.0.0.1:8021", ("10.0.0.1", 8021), True),
    ],
)
def test_where_an_endpoint_is(url: str, place: tuple[str, int], encrypted: bool) -> None:
    endpoint = Endpoint("engine", url)
    assert endpoint.place() == place
    assert endpoint.is_encrypted is encrypted
    assert "hunter2" not in repr(endpoint)


@pytest.mark.parametrize("url", ["", "pbx.example:871", "tcp://pbx.example", "wss://:871", "wss://a:99999", "ann:hunter2@pbx"])
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        Endpoint("engine", url).place()
    assert "engine" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("ahead_seconds", "state", "told"),
    [
        (0.0, OK, "0.0 s ahead of ours"),
        (2.0, OK, "2.0 s ahead of ours"),
        (2.1, WARNING, "2.1 s ahead of ours"),
        (-2.1, WARNING, "2.1 s behind ours"),
        (-1.9, OK, "1.9 s behind ours"),
    ],
)
def test_clocks(ahead_seconds: float, state: StepState, told: str) -> None:
    finding = clock_finding(ahead_seconds)
    assert finding.state is state
    assert told in finding.detail
    assert (finding.remedy is not None) == (state is WARNING)
