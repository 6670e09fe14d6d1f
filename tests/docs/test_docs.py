"""What the documentation says is there: every name of the public surface, every example runs, every link leads somewhere."""

from __future__ import annotations

import ast
import doctest
import html
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cti_dummy
import cti_framework
from cti_framework import errors
from cti_framework.events import EVENT_TYPES, ResyncRequired
from cti_framework.hooks import HookSpecs, hook_name
from cti_framework.line import CONSULTING, FEATURES, TRANSITIONS
from cti_framework.media import MediaOptions
from cti_framework.model import CtiModel
from cti_framework.provider import PROVIDER_API_DEPRECATED, PROVIDER_API_SUPPORTED, BaseCtiProvider
from cti_framework.settings import CoreSettings, SettingDescription, describe_settings
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator.control import VERBS
from tests.benchmarks.__main__ import BARS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# An example that is a distribution has pages of its own, which are no part of these.
PAGES = sorted(page for page in DOCS.rglob("*.md") if not {"_build", "examples"} & set(page.relative_to(DOCS).parts))
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
SETTINGS = (
    ("cti", CoreSettings),
    ("webitel", WebitelSettings),
    ("webitel", WebitelUserSettings),
    ("media", MediaOptions),
    ("dummy", cti_dummy.DummySettings),
    ("dummy", cti_dummy.DummyUserSettings),
)

# The pages are built once, by whichever test asks first: that takes most of a minute on a computer that does nothing else.
pytestmark = pytest.mark.timeout(300)


def source(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


def row_of(page: str, first_cell: str) -> str:
    """Give the row of a table by how its first cell begins."""
    beginnings = (f"| `{first_cell}", f"| [`{first_cell}")
    row = next((line for line in source(page).splitlines() if line.startswith(beginnings)), None)
    assert row is not None, f"docs/{page} has no row for `{first_cell}`"
    # What leads on to the example is no part of what the row says.
    return re.sub(r"\[(`[^`]*`)\]\(#\w+\)", r"\1", row)


def fenced(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Give the code blocks of a language, each with the line on which it begins."""
    block: list[str] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if block is None:
            if line.strip() == f"```{language}":
                block, began = [], number
        elif line.strip() == "```":
            yield began, "\n".join(block) + "\n"
            block = None
        else:
            block.append(line)


def blocks_of(language: str) -> list[Any]:
    return [
        pytest.param(page, number, code, id=f"{name_of(page)}:{number}")
        for page in PAGES
        for number, code in fenced(page, language)
    ]


# --- as it is built


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Build everything, warnings being errors; give what a reader of a page sees."""
    pytest.importorskip("sphinx", reason="the documentation's tools are not installed")
    pytest.importorskip("furo", reason="the documentation's tools are not installed")
    pytest.importorskip("myst_parser", reason="the documentation's tools are not installed")
    target = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(target / "trees"), str(DOCS), str(target / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def read(page: str) -> str:
        text = (target / "html" / page).with_suffix(".html").read_text(encoding="utf-8")
        article = text[text.index("<article") : text.rindex("</article>")]
        return html.unescape(re.sub(r"<[^>]+>", "", article))

    return read


@pytest.mark.parametrize(("prefix", "settings_type"), SETTINGS)
def test_every_setting(prefix: str, settings_type: type, built: Callable[[str], str]) -> None:
    page = built("reference/settings.md")
    described: tuple[SettingDescription, ...] = describe_settings(prefix, settings_type)
    assert described
    for setting in described:
        assert setting.help, setting.key
        for told in (setting.key, setting.variable, *setting.codes, setting.allowed):
            assert told in page, f"{setting.key}: {told}"


def test_settings_of_every_provider_here_are_listed() -> None:
    listed = {attribute for _, attribute in SETTINGS}
    for provider in (cti_dummy.DummyCtiProvider, importlib.import_module("cti_webitel").WebitelCtiProvider):
        assert {provider.settings_type, provider.user_settings_type} <= listed


def test_every_line_of_help(built: Callable[[str], str]) -> None:
    application = pytest.importorskip("cti_framework.cli.application", reason="the extra cli is not installed")
    page = built("reference/cli.md")
    for command in application.cti.commands.values():
        assert f"Usage: cti {command.name} " in page
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in page, f"cti {command.name} {option}"


def test_every_public_name_is_in_the_api_reference(built: Callable[[str], str]) -> None:
    pages = "".join(built(name_of(page)) for page in PAGES if "api" in page.parts)
    for name in cti_framework.__all__:
        if name != "__version__":
            assert f".{name}" in pages, f"docs/reference/api does not tell {name}"


def test_the_tables_of_the_line(built: Callable[[str], str]) -> None:
    page = built("reference/states.md")
    for state, row in TRANSITIONS.items():
        assert f"in {state.name}" in page
        for report in row:
            assert report.__name__ in page
    for situation in FEATURES:
        assert situation.detail in page
    for enquiry in CONSULTING:
        assert enquiry in page


def test_what_each_provider_can_do(built: Callable[[str], str]) -> None:
    page = " ".join(built("reference/verbs.md").partition("Who can do what")[2].split())
    assert "feature DummyCtiProvider WebitelCtiProvider DIAL yes yes ANSWER yes yes DROP yes yes" in page
    assert "CONSULT - yes" in page
    assert "SET_STATE yes yes" in page


# --- every name


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda event_type: event_type.__name__)
def test_every_event(event_type: type) -> None:
    assert re.search(rf"^\| [^|]*`{event_type.__name__}`", source("reference/events.md"), re.MULTILINE)
    assert f"`{event_type.__name__}`" in source("reference/vocabulary.md")


@pytest.mark.parametrize("hook", [name for name in dir(HookSpecs) if name.startswith("cti_")])
def test_every_hook(hook: str) -> None:
    row = row_of("reference/hooks.md", hook)
    arguments = list(inspect.signature(getattr(HookSpecs, hook)).parameters)[1:]
    if arguments != ["model", "event"]:
        assert f"`{hook}({', '.join(arguments)})`" in row
    elif hook != "cti_event":
        (told,) = [told.__name__ for told in (*EVENT_TYPES, ResyncRequired) if hook_name(told) == hook]
        assert f"| `{told}`" in row


def verbs() -> list[str]:
    """Give what a host can ask: the coroutines of a model that are its own affair or have their like in a provider."""
    members = inspect.getmembers_static(CtiModel, inspect.iscoroutinefunction)
    return [name for name, _ in members if not name.startswith("_")]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb(verb: str) -> None:
    row = row_of("reference/verbs.md", f"{verb}(")
    parameters = list(inspect.signature(getattr(CtiModel, verb)).parameters)[1:]
    # Every verb that has its like in a provider takes one: that is told once for all of them.
    assert ("command_id" in parameters) is (verb in vars(BaseCtiProvider))
    parameters = [name for name in parameters if name != "command_id"]
    assert f"`{verb}({', '.join(parameters)})`" in row
    needs = re.search(r"``(?:Call|Agent)Feature\.(\w+)``", inspect.getdoc(getattr(BaseCtiProvider, verb, None)) or "")
    if needs:
        assert f"| `{needs[1]}` |" in row


def test_every_verb_of_a_provider_can_be_asked_for() -> None:
    no_verbs = {"run", "snapshot", "probe", "diagnose"}
    of_providers = {name for name, value in vars(BaseCtiProvider).items() if inspect.iscoroutinefunction(value)} - no_verbs
    assert of_providers <= set(verbs())
    vocabulary = source("reference/vocabulary.md")
    for verb in of_providers:
        assert verb in vocabulary, verb


@pytest.mark.parametrize(
    "error",
    [name for name in errors.__all__ if name.endswith("Error") and name != "CtiError"],
)
def test_every_error(error: str) -> None:
    cells = [cell.strip() for cell in row_of("reference/errors.md", f"{error}`").strip("|").split("|")]
    assert len(cells) == 3
    assert all(cells)


def test_every_contract_that_is_supported_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| [\d.]+ \| (.+) \|$", source("reference/compatibility.md"), re.MULTILINE)
    until = {int(number): told for number, told in rows}
    assert set(until) >= set(PROVIDER_API_SUPPORTED)
    # The newest is good now; an old one says when it goes, or went.
    assert {number for number, told in until.items() if told == "now"} == {max(PROVIDER_API_SUPPORTED)}
    assert all(deprecated.gone_in in until[number] for number, deprecated in PROVIDER_API_DEPRECATED.items())


def test_the_error_tree_is_the_one_in_the_code() -> None:
    _, _, drawn = inspect.cleandoc(errors.__doc__ or "").partition("::\n")
    tree = "\n".join(line[4:] for line in drawn.strip("\n").splitlines()).replace("``", "")
    assert tree in source("reference/errors.md")


def test_every_stage() -> None:
    for stage in errors.CommandStage:
        assert row_of("reference/errors.md", f"{stage.value}`")


def test_every_command() -> None:
    application = pytest.importorskip("cti_framework.cli.application", reason="the extra cli is not installed")
    headings = set(re.findall(r"^## `cti ([\w-]+)`$", source("reference/cli.md"), re.MULTILINE))
    assert headings == set(application.cti.commands)


def test_every_room() -> None:
    table = source("explanation/architecture.md").partition("## The house")[2].partition("## ")[0]
    rooms = {module.name for module in pkgutil.iter_modules(cti_framework.__path__)}
    assert rooms == {room for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for room in re.findall(r"`(\w+)`", row)}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = source("explanation/decisions.md").partition("### What a dependency is for")[2].partition("###")[0]
    extras = project["optional-dependencies"]
    for requirement in (*project["dependencies"], *extras["cli"], *extras["media"]):
        assert re.split(r"[<>=\[]", requirement)[0] in table, requirement


@pytest.mark.parametrize("figure", BARS)
def test_every_figure_and_its_bar(figure: str) -> None:
    bar, _ = BARS[figure]
    assert f"| {bar} |" in row_of("explanation/performance.md", f"{figure}`")


def test_every_verb_of_the_control_port() -> None:
    table = source("how-to/capture-and-replay.md").partition("| `do` |")[2]
    for verb in VERBS:
        assert f"`{verb}`" in table, verb


# --- tests that pages name


def every_test_of(folder: str) -> set[str]:
    """Give the tests of a folder as pages name them."""
    modules = (ROOT / "tests" / folder).glob("test_*.py")
    return {
        f"{folder}/{module.name}::{name}"
        for module in modules
        for name in re.findall(r"def (test_\w+)\(", module.read_text(encoding="utf-8"))
    }


def named_tests(text: str) -> set[str]:
    return set(re.findall(r"`(\w+/test_\w+\.py::test_\w+)`", text))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    named = named_tests(page.read_text(encoding="utf-8"))
    there = {test for folder in {test.partition("/")[0] for test in named} for test in every_test_of(folder)}
    assert named <= there, sorted(named - there)


def test_every_deviation_is_pinned_and_every_pin_is_told() -> None:
    section = source("explanation/decisions.md").partition("(deviations)=\n\n### ")[2].partition("\n##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| the library |")]
    unpinned = [row for row in rows if not named_tests(row.rsplit("|", 2)[1])]
    assert rows
    assert not unpinned, unpinned
    pins = {test for test in every_test_of("webitel") if "::test_deviation_" in test}
    assert pins <= named_tests(section), sorted(pins - named_tests(section))


# --- examples


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def brings_an_event_loop(example: Path) -> bool:
    return "async def main()" in example.read_text(encoding="utf-8")


def check_what_is_printed(example: Path, printed: list[str]) -> None:
    for line in SAID[example.stem]:
        assert any(re.fullmatch(line, one) for one in printed), (line, printed)


@pytest.mark.anyio
@pytest.mark.parametrize("example", [one for one in EXAMPLES if brings_an_event_loop(one)], ids=lambda path: path.stem)
async def test_every_example_runs(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], anyio_backend: str
) -> None:
    for variable in ("CTI_PROVIDER", "CTI_DISABLED_PLUGINS", "CTI_AUTO_CONNECT", "CTI_DUMMY__NUMBER"):
        monkeypatch.delenv(variable, raising=False)
    await loaded(example).main()
    check_what_is_printed(example, capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("example", [one for one in EXAMPLES if not brings_an_event_loop(one)], ids=lambda path: path.stem)
def test_every_example_without_an_event_loop_of_its_own_runs(example: Path) -> None:
    # In a process of its own: a framework's settings are the process's, and its end belongs to what is shown.
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY" and not name.startswith("CTI_")}
    command = (sys.executable, "-W", "error", str(example))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    check_what_is_printed(example, done.stdout.splitlines())


SAID = {
    "first_call": ["talking to 0501234567", "over, NORMAL_CLEARING"],
    "far_side": [
        "0501112233 calls; answering allowed: True",
        r"held by the other party; may we take it back\? False",
        "during the outage: Disconnected, ProviderStateChanged, .*SnapshotTaken",
        "the same call goes on: True",
    ],
    "companion": ["calling from 101", "OUT 0501234567 normal"],
    "without_event_loop": ["talking to 0501234567", "over, NORMAL_CLEARING"],
    "django_host": ["a call, ALERTING", "409: make_call: a call is up already; .*", "CallConnected", "CallFinished"],
    "fastapi_host": ["a call, ALERTING", "409: make_call: a call is up already; .*", "CallConnected", "CallFinished"],
    "answering_machine": ["0671112233 was greeted", r"heard for \d s"],
    "line_check": ["connected", r"heard at -\d+ dB of full scale, MOS \d.\d"],
    "desktop_window": ["CallStarted: 0501234567", "CallConnected: 0501234567", "CallFinished: 0501234567"],
}
"""What each prints, beside the log."""


@pytest.mark.parametrize("example", ["first_call", "far_side"])
def test_the_tutorial_shows_what_an_example_prints(example: str) -> None:
    _, _, after = source("tutorial/first-call.md").partition(f"docs/examples/{example}.py\n")
    shown = after.partition("```")[0].strip().splitlines()
    assert len(shown) == len(SAID[example])
    for line, expected in zip(shown, SAID[example], strict=True):
        assert re.fullmatch(expected, line)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_shown(example: Path) -> None:
    assert any(f"examples/{example.name}" in page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize(("page", "number", "code"), blocks_of("pycon"))
def test_every_session_says_what_it_shows(page: Path, number: int, code: str) -> None:
    # One page's sessions go on from each other, as a reader types them.
    earlier = "".join(block for began, block in fenced(page, "pycon") if began < number)
    test = doctest.DocTestParser().get_doctest(earlier + code, {}, name_of(page), str(page), number)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@pytest.mark.parametrize(("page", "number", "code"), blocks_of("python"))
def test_every_piece_of_code_compiles_and_imports_what_there_is(page: Path, number: int, code: str) -> None:
    tree = compile(code, f"{page}:{number}", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"


# --- links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]*)\)", text):
        path, _, _ = target.partition("#")
        if path and "://" not in path:
            assert (page.parent / path).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_is_listed_in_a_contents(page: Path) -> None:
    if page == DOCS / "index.md":
        return
    listed = {
        (contents.parent / entry).resolve()
        for contents in PAGES
        for _, block in fenced(contents, "{toctree}")
        for entry in block.split()
        if not entry.startswith(":")
    }
    assert page.with_suffix("").resolve() in listed


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_of_this_project_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # A checkout, a home and a temporary folder are of the machine that the page was written on.
    for foreign in (f"{ROOT}/", f"{tempfile.gettempdir()}/", "/home/", "/root/", "TODO", "FIXME", "TBD", "../shared"):
        assert foreign not in text, foreign
