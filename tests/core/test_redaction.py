"""Secrets do not come out of logs: whatever the entry, wherever they stand, whichever renderer writes it."""

from __future__ import annotations

import copy
import dataclasses
import html
import json
import logging
import re
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from typed_settings.types import Secret, SecretStr

from cti_framework.redaction import MASK, SecretRedactor, redact_secrets
from tests.core.test_import import HEAVY, modules_after

MARK = "S3CRET-MARK"
"""Every secret of these tests has it in it; it is not to come out, not even in part of a secret."""

NAMES = (
    "password",
    "Pass-Word",
    "userPassword",
    "passwd",
    "secret",
    "client_secret",
    "TOKEN",
    "access_token",
    "x_key",
    "X-Key",
    "x-access-token",
    "Authorization",
    "proxy-authorization",
    "Cookie",
    "set-cookie",
    "csrf",
    "csrfmiddlewaretoken",
    "api_key",
    "apiKey",
    "private-key",
    "credentials",
    "pwd",
    "jwt",
)


@attrs.frozen
class Account:
    login: str
    password: Any
    beside: Any = None
    quiet: str = attrs.field(default="not shown", repr=False)


@dataclasses.dataclass
class Recording:
    link: Any
    size: int = 3


class Opaque:
    """An object that shows what it has."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __repr__(self) -> str:
        return f"<Opaque {self.inside}>"


Pair = namedtuple("Pair", ["first", "second"])


def entry_of(value: Any) -> dict[str, Any]:
    return {"event": "something happened", "level": "info", "value": value}


RENDERERS: tuple[Callable[..., Any], ...] = (
    structlog.processors.JSONRenderer(),
    structlog.processors.KeyValueRenderer(),
    structlog.processors.LogfmtRenderer(bool_as_flag=False),
    structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    lambda logger, name, entry: str(entry),
)


def rendered(entry: Any) -> Iterator[str]:
    for render in RENDERERS:
        try:
            yield str(render(None, "info", dict(entry)))
        except (ValueError, TypeError):
            # Logfmt has no blanks in names, JSON no bytes as names.
            continue


# --- whatever the structure, wherever the secret

any_text = st.text(max_size=8)
secrets = st.builds(lambda before, after: f"{before}{MARK}{after}", any_text, any_text)
url_parts = st.builds(lambda one: quote(one, safe=""), secrets)
names = st.sampled_from(NAMES)
harmless = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=9)


def in_text(secret: str, name: str, how: int) -> Any:
    """Write a secret into a text, as programs do."""
    frame = {"exec-func": "auth", "exec-args": {"account": "100@demo.local", name: secret, "n": 1}}
    compact = json.dumps(frame, separators=(",", ":"))
    header = "".join(character for character in secret if character.isprintable() and character != "\\")
    return [
        compact,
        json.dumps(frame, ensure_ascii=False, indent=2),
        compact.encode(),
        json.dumps({"raw": compact}),
        json.dumps({"raw": json.dumps({"raw": compact})}),
        json.dumps({name: [secret, {"a": secret}], "b": 1}),
        f"frame: {frame!r}",
        f"cut off: {compact[: compact.rindex(MARK) + len(MARK)]}",
        f"Account({name.replace('-', '_')}={secret!r}, other=1)",
        f"https://pbx.example/files/1?a=b&{urlencode({name: secret})}&z=1 was asked for",
        f"{name}={quote(secret)}",
        f"back=https%3A%2F%2Fx%2F%3F{name}%3D{quote(quote(secret, safe=''))}%26z",
        f"wss://{quote(secret, safe='')}@pbx.example/engine",
        f"wss://user:{quote(secret, safe='')}@pbx.example:871",
        f"wss://user:pa/{quote(secret, safe='')}@pbx.example",
        f"GET / HTTP/1.1\r\nAuthorization: Basic {header}\r\nHost: pbx",
        f'Set-Cookie: a="{header}"; Path=/',
        f"sent Bearer {quote(secret, safe='')}",
        f"key={quote(secret, safe='')}&token=x",
    ][how % 19]


leaves = st.one_of(
    st.builds(lambda name, secret, more: {"a": 1, name: secret, **more}, names, secrets, st.just({}) | st.just({"z": 2})),
    st.builds(lambda name, secret: {name: {"deep": [secret]}}, names, secrets),
    st.builds(lambda name, secret: {name.encode(): secret.encode("utf-8", "replace")}, names, secrets),
    st.builds(lambda secret: {"key": secret, "refresh_token": "x"}, secrets),
    st.builds(lambda name, secret: [(name, secret)], names, secrets),
    st.builds(lambda name, secret: [[name.encode(), secret]], names, secrets),
    st.builds(Secret, secrets),
    st.builds(SecretStr, secrets),
    st.builds(lambda secret: Account("100", secret), secrets),
    st.builds(lambda secret: Account("100", "", Secret(secret)), secrets),
    st.builds(in_text, secrets, names, st.integers(0, 18)),
)


def inside(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Put a value somewhere into another one."""
    return st.one_of(
        st.builds(lambda value, more: [*more, value], children, st.lists(harmless, max_size=3)),
        st.builds(lambda value, more: (value, *more, 1, 2), children, st.lists(harmless, max_size=3)),
        st.builds(
            lambda value, key, more: {**more, key: value}, children, any_text, st.dictionaries(any_text, harmless, max_size=3)
        ),
        st.builds(lambda value: MappingProxyType({"a": 1, "b": value}), children),
        st.builds(lambda value: OrderedDict(a=value), children),
        st.builds(lambda value: deque([1, value, 3]), children),
        st.builds(lambda value: Account("100", None, value), children),
        st.builds(lambda value: Recording(value), children),
        st.builds(lambda value: Pair(1, value), children),
    )


structures = st.recursive(leaves, inside, max_leaves=4)


@given(structures)
def test_a_marked_secret_comes_out_of_no_structure(value: Any) -> None:
    entry = redact_secrets(None, "info", entry_of(value))
    for line in rendered(entry):
        assert MARK not in line
        assert "something happened" in line


@given(structures)
def test_without_redaction_it_does_unless_its_own_repr_keeps_it(value: Any) -> None:
    shown = str(value)
    if "*******" not in shown and "b'" not in shown:
        assert any(MARK in line for line in rendered(entry_of(value)))


@given(secrets, st.integers(0, 12), st.recursive(st.just("LEAF"), inside, max_leaves=2))
def test_a_registered_value_comes_out_of_no_text(secret: str, how: int, structure: Any) -> None:
    told: Any = [
        secret,
        f"it is {secret}, is it not",
        json.dumps([secret]),
        json.dumps([secret], ensure_ascii=False).encode("utf-8", "surrogateescape"),
        repr(secret),
        f"<i>{html.escape(secret)}</i>",
        f"<{quote(secret)}|{quote(secret, safe='')}|{lower_codes(quote(secret, safe=''))}>",
        ValueError(secret),
        Opaque(secret),
        {secret: 1},
        {secret.encode("utf-8", "replace"): 1},
        Account(secret, ""),
        Secret(secret),
    ][how]
    value = replaced(structure, told)
    redactor = SecretRedactor([Secret(secret)])
    for line in rendered(redactor(None, "info", entry_of(value))):
        assert MARK not in line
    redactor.forget(secret)
    assert redactor.redact(f"now {secret} is harmless") == f"now {secret} is harmless"


def lower_codes(encoded: str) -> str:
    return re.sub(r"%..", lambda code: code[0].lower(), encoded)


def replaced(structure: Any, leaf: Any) -> Any:
    """Put the leaf to where the structure has its placeholder; what cannot hold it is left out."""
    match structure:
        case "LEAF":
            return leaf
        case list() | deque():
            return [replaced(one, leaf) for one in structure]
        case Pair(first, second):
            return Pair(first, replaced(second, leaf))
        case tuple():
            return tuple(replaced(one, leaf) for one in structure)
        case Account():
            return attrs.evolve(structure, beside=replaced(structure.beside, leaf))
        case Recording():
            return Recording(replaced(structure.link, leaf))
        case dict() | MappingProxyType():
            return {key: replaced(one, leaf) for key, one in structure.items()}
        case _:
            return structure


@given(structures)
def test_the_caller_s_objects_stay_as_they_are(value: Any) -> None:
    try:
        before = copy.deepcopy(value)
    except TypeError:
        # A mapping proxy.
        return
    entry = entry_of(value)
    redact_secrets(None, "info", entry)
    assert entry == entry_of(value)
    assert str(value) == str(before)
    assert entry["value"] is value


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc défg.,:/", max_size=20),
    lambda children: (
        st.lists(children, max_size=3)
        | st.tuples(children, children)
        | st.dictionaries(st.text("abcdefg_", max_size=6), children, max_size=3)
        | st.builds(Opaque, children)
        | st.builds(lambda value: Account("100", None, value), children)
    ),
    max_leaves=8,
)


@given(plain)
def test_what_has_no_secret_is_the_very_same(value: Any) -> None:
    entry = entry_of(value)
    assert redact_secrets(None, "info", entry) is entry
    assert SecretRedactor(["nowhere in it"])(None, "info", entry) is entry
    assert entry["value"] is value


@given(st.text(max_size=60) | st.binary(max_size=60), st.text(max_size=3))
def test_any_text_is_looked_at_without_an_error_and_twice_is_once(text: Any, known: str) -> None:
    redactor = SecretRedactor([known])
    once = redactor.redact(text)
    assert isinstance(once, type(text))
    assert redact_secrets(None, "info", {"event": text}).keys() == {"event"}
    if known not in ("*", "**", "***"):
        assert redactor.redact(redactor.redact(once)) == redactor.redact(once)


def test_it_needs_neither_structlog_nor_typed_settings() -> None:
    assert modules_after("import cti_framework.redaction") & {*HEAVY, "anyio", "structlog"} == set()


# --- what is shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "x", "user": "anna"}, {"password": MASK, "user": "anna"}),
        (
            {"password": None, "token": "", "secret": True, "pwd": 100},
            {"password": None, "token": "", "secret": True, "pwd": MASK},
        ),
        ({"key": "x", "token": "y"}, {"key": MASK, "token": MASK}),
        ({"key": "x", "keys": "y"}, {"key": "x", "keys": "y"}),
        ([("Authorization", "Basic x"), ("Host", "y")], [("Authorization", MASK), ("Host", "y")]),
        ({"compass": "north", "passed": 3, "max_key": 7}, {"compass": "north", "passed": 3, "max_key": 7}),
        ("wss://user:pw@pbx.example:871/engine", "wss://***@pbx.example:871/engine"),
        ("ws://pbx.example:80/?account=100@demo.local", "ws://pbx.example:80/?account=100@demo.local"),
        ("ws://[::1]:80/x@y, 100@demo.local", "ws://[::1]:80/x@y, 100@demo.local"),
        (
            "http://cdr/api/v2/files/u?x_key=a-1&access_token=b.c&y=1#z",
            "http://cdr/api/v2/files/u?x_key=***&access_token=***&y=1#z",
        ),
        ('{"account":"100","secret":"p\\"w","n":1}', '{"account":"100","secret":"***","n":1}'),
        ('{"token": null, "tokens": [1, "]"], "secret": 12}', '{"token": null, "tokens": "***", "secret": "***"}'),
        ("{'password': b'x', 'n': 1}", "{'password': b'***', 'n': 1}"),
        (b'{"secret":"x"}', b'{"secret":"***"}'),
        ("key=a&token=b", "key=***&token=***"),
        ("key=a", "key=a"),
        ("key=a password=b", "key=a password=***"),
        ("access_key=a", "access_key=***"),
        ("Pass-Word=x, y", "Pass-Word=*** y"),
        ("back=%3Fx%5Fkey%3Da%26b", "back=%3Fx%5Fkey%3D***%26b"),
        ("back=%3Fx_key%3Da%26b", "back=%3Fx_key%3D***%26b"),
        ('{"tokens": [[1], {"a": "]"}], "z": 1}', '{"tokens": "***", "z": 1}'),
        (r'{"secret":"a\\","b":"c"}', '{"secret":"***","b":"c"}'),
        (r'{"raw":"{\"secret\":\"a\\\"b\",\"c\":1}"}', r'{"raw":"{\"secret\":\"***\",\"c\":1}"}'),
        ("secret incorrect", "secret incorrect"),
        ("webitel.password: not known; did you mean webitel.login?", "webitel.password: not known; did you mean webitel.login?"),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: ***\nHost: x"),
        (r"b'Cookie: a=\"b\"; c=d\r\nHost: x'", r"b'Cookie: ***\r\nHost: x'"),
        ("[(b'Authorization', b'Basic x'), (b'Host', b'y')]", "[(b'Authorization', b'***'), (b'Host', b'y')]"),
        ('{"headers": [["cookie", "a=\\"b"], ["host", "y"]]}', '{"headers": [["cookie", "***"], ["host", "y"]]}'),
        (r'{"sent":"[[\"password\", \"a b\"]]"}', r'{"sent":"[[\"password\", \"***\"]]"}'),
        ("('password', 'x',)", "('password', '***',)"),
        ("('password', 'login', 'host'), ['host', 'password']", "('password', 'login', 'host'), ['host', 'password']"),
        ("wss://bob:it's@pbx.example/x", "wss://***@pbx.example/x"),
        ("cannot reach 'ws://bob:a\"b<c@pbx' (it's 1@2)", "cannot reach 'ws://***@pbx' (it's 1@2)"),
        (
            '{"a":"ws://pbx:80","b":"100@demo"} {"a":"ws://pbx","b":"c@d"}',
            '{"a":"ws://pbx:80","b":"100@demo"} {"a":"ws://pbx","b":"c@d"}',
        ),
        ("<a href='ws://pbx:80'>c@d</a>", "<a href='ws://pbx:80'>c@d</a>"),
        ({"x": {"password=y": 1, "z": 2}}, {"x": {"password=***": MASK, "z": 2}}),
        ({"a?token=y&b=c": 1}, {"a?token=***&b=c": MASK}),
        ({"wss://u:p@h": 1}, {"wss://***@h": 1}),
        ({"Bearer abc": [1]}, {"Bearer ***": [1]}),
        ("Bearer abc, again", "Bearer ***, again"),
        ("it is eyJhbGciOi.eyJzdWIi.SflKx- there", "it is *** there"),
        (Secret("x"), MASK),
        (SecretStr("x"), MASK),
        (SecretStr(""), ""),
    ],
    ids=str,
)
def test_what_is_shown_in_its_place(value: Any, shown: Any) -> None:
    assert SecretRedactor().redact(value) == shown


def test_objects_are_shown_as_they_show_themselves() -> None:
    redact = SecretRedactor(["hunter2"]).redact
    account = Account("100", "x", beside=Account("101", None))
    assert (
        repr(redact(account)) == "Account(login='100', password='***', beside=Account(login='101', password=None, beside=None))"
    )
    assert repr(redact(Recording("http://u:p@cdr/"))) == "Recording(link='http://***@cdr/', size=3)"
    assert (repr(redact(Opaque("hunter2"))), str(redact(ValueError("it was hunter2")))) == ("<Opaque ***>", "it was ***")
    assert redact(Pair(1, "hunter2")) == (1, MASK)
    assert redact({"hunter2": {"a", "hunter2"}}).keys() == {MASK}

    @attrs.frozen(repr=False)
    class Discreet:
        password: str = "x"

        def __repr__(self) -> str:
            return "Discreet()"

    discreet = Discreet()
    assert redact(discreet) is discreet


def test_numbers_that_are_registered() -> None:
    redactor = SecretRedactor(["123456"])
    assert redactor.redact([123456, 1234567, True]) == [MASK, 1234567, True]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Secret: 48151623", f"Secret: {MASK}"),
        (
            'Action: Login\r\n  X-Pass-Word : a"b,c \r\nEvents: off\r\n',
            f"Action: Login\r\n  X-Pass-Word : {MASK} \r\nEvents: off\r\n",
        ),
        (r"sent 'Action: Login\r\nPwd: 1\r\n\r\n'", rf"sent 'Action: Login\r\nPwd: {MASK}\r\n\r\n'"),
        ("sip.token:abc\npassword: none", f"sip.token:{MASK}\npassword: none"),
        # Prose, and what is under a harmless name.
        ("password: it has to be set", "password: it has to be set"),
        ("the token: expired", "the token: expired"),
        ("Key: value", "Key: value"),
    ],
)
def test_a_line_that_is_a_name_and_a_word(text: str, shown: str) -> None:
    assert SecretRedactor().redact(text) == shown


HEADERS = [
    ("Authorization", "Basic {}"),
    ("authorization", 'Digest username="a", response="{}"'),
    ("Proxy-Authorization", "Basic {}"),
    ("Cookie", "a=1; sid={}"),
    ("Set-Cookie", "sid={}; Path=/"),
    ("X-Api-Key", "{}"),
    ("X-Auth-Token", "id {}"),
    ("X-Access-Token", "{}"),
]


@pytest.mark.parametrize(
    "write", [str, repr, lambda text: repr(text.encode()), json.dumps, lambda text: json.dumps(json.dumps(text))]
)
@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("line", [1, 2])
@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_header_however_its_line_is_written(name: str, value: str, line: int, end: str, write: Callable[[str], str]) -> None:
    header = f"{name}: {value.format('hunTer2pw')}"
    lines = [header, "Host: a"] if line == 1 else ["GET / HTTP/1.1", header, "Host: a"]
    shown = SecretRedactor().redact(write(end.join(lines) + end))
    assert "hunTer2pw" not in shown
    assert "Host: a" in shown
    shown = SecretRedactor().redact(write({"sent": end.join(lines)}) if write in (repr, json.dumps) else header)
    assert "hunTer2pw" not in shown


@pytest.mark.parametrize("write", [repr, json.dumps])
@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_headers_that_are_pairs_in_a_text(name: str, value: str, write: Callable[[object], str]) -> None:
    value = value.format("hunTer2pw")
    pairs: list[object] = [[("Host", "a"), (name, value)], [[name, value]], {"headers": [(name, value), ("Host", "a")]}]
    if write is repr:
        pairs.append([(name.encode(), value.encode())])
    for pair in pairs:
        assert "hunTer2pw" not in SecretRedactor().redact(write(pair))
        assert "hunTer2pw" not in SecretRedactor().redact(json.dumps({"sent": write(pair)}))


def test_a_number_where_it_stands_alone() -> None:
    redactor = SecretRedactor(numbers=["48151623", ""])
    assert redactor.redact("auth 100@pbx:48151623, (48151623)") == f"auth 100@pbx:{MASK}, ({MASK})"
    assert redactor.redact({"a": 48151623, "48151623": 1}) == {"a": MASK, MASK: 1}
    harmless = ["048151623", "481516230", "x48151623", "48151623x", 481516230, "4815", 4815]
    assert redactor.redact(harmless) is harmless


def test_further_names() -> None:
    redactor = SecretRedactor(names=["PIN", "extension code"])
    assert redactor.redact({"pin": 1, "Extension-Code": 2, "pinned": 3}) == {"pin": MASK, "Extension-Code": MASK, "pinned": 3}
    assert redactor.redact("pin=1 spin=2 extension_code=3") == "pin=*** spin=2 extension_code=***"


def test_a_registered_value_as_json_writes_it_with_letters_of_all_languages() -> None:
    assert SecretRedactor(['é"x']).redact('["é\\"x"]') == '["***"]'


def test_registrations_are_counted() -> None:
    redactor = SecretRedactor(["one", "", "one", "one and two"])
    assert repr(redactor) == "<SecretRedactor, 2 secrets>"
    assert redactor.redact("one and two") == MASK
    redactor.forget("one")
    assert redactor.redact("one") == MASK
    redactor.forget("one")
    assert redactor.redact("one, one and two") == f"one, {MASK}"
    redactor.forget("nobody")
    redactor.register(Secret("nobody"))
    assert redactor.redact("nobody") == MASK


def test_what_was_harmless_before_it_was_registered() -> None:
    redactor = SecretRedactor()
    assert redactor.redact("hunter2") == "hunter2"
    redactor.register("hunter2")
    assert redactor.redact("hunter2") == MASK


# --- tracebacks


def raised(secret: str) -> Exception:
    try:
        try:
            raise KeyError(secret)
        except KeyError:
            raise ValueError(f"https://pbx/?token={secret}") from None
    except ValueError as error:
        return error


@pytest.mark.parametrize("how", ["true", "error", "tuple"])
def test_a_traceback_that_the_renderer_would_make(how: str) -> None:
    error = raised(MARK)
    given: Any = {"true": True, "error": error, "tuple": (type(error), error, error.__traceback__)}[how]
    entry = {"event": "failed", "exc_info": given}
    if how == "true":
        try:
            raise error
        except ValueError:
            entry = dict(redact_secrets(None, "error", entry))
    else:
        entry = dict(redact_secrets(None, "error", entry))
    assert "exc_info" not in entry
    assert "ValueError: https://pbx/?token=***" in entry["exception"]
    for line in rendered(entry):
        assert MARK not in line
        assert "in raised" in line


def test_a_traceback_without_a_secret_is_the_renderer_s() -> None:
    entry: dict[str, Any] = {"event": "failed", "exc_info": OSError("nobody answers")}
    assert redact_secrets(None, "error", entry) is entry
    for nothing in (True, (None, None, None), False, "what"):
        entry = {"event": "failed", "exc_info": nothing}
        assert redact_secrets(None, "error", entry) is entry


@pytest.mark.parametrize(
    "earlier",
    [structlog.processors.format_exc_info, structlog.processors.dict_tracebacks, structlog.processors.StackInfoRenderer()],
)
def test_texts_that_were_made_earlier_in_the_chain(earlier: Callable[..., Any]) -> None:
    password = MARK
    entry = earlier(None, "error", {"event": "failed", "exc_info": raised(MARK), "stack_info": True})
    redacted = SecretRedactor([password])(None, "error", entry)
    assert all(MARK not in line for line in rendered(redacted))
    if "stack" in entry:
        assert "test_texts_that_were_made_earlier" in redacted["stack"]


def test_in_a_chain_of_structlog() -> None:
    lines: list[dict[str, Any]] = []

    def keep(logger: Any, name: str, entry: Any) -> Any:
        lines.append(dict(entry))
        raise structlog.DropEvent

    redactor = SecretRedactor(["hunter2"])
    log = structlog.wrap_logger(None, processors=[structlog.processors.add_log_level, redactor, keep]).bind(password="x")
    log.info("hunter2 logs in", user="anna")
    assert lines == [{"event": "*** logs in", "level": "info", "password": MASK, "user": "anna"}]


def test_what_structlog_keeps_in_an_entry_for_itself_is_left_alone() -> None:
    record = logging.LogRecord(MARK, 20, "", 1, f"password={MARK}", (), None)
    entry = {"event": "x", "_record": record, "password": "y"}
    assert redact_secrets(None, "info", entry)["_record"] is record


# --- bounds, and objects that misbehave


def test_what_is_too_deep_too_many_or_too_long_is_left_out() -> None:
    deep: Any = MARK
    for _ in range(2000):
        deep = [deep]
    circle: list[Any] = [MARK]
    circle.append(circle)
    redactor = SecretRedactor([MARK], max_depth=5, max_values=50, max_characters=10_000)
    assert redactor.redact(deep) == [[[[[["…"]]]]]]
    assert str(redactor.redact(circle)).count(MASK) == 6
    assert redactor.redact(list(range(1000)))[-1] == "… of 1000"
    assert len(redactor.redact(dict.fromkeys(range(1000)))) == 51
    assert redactor.redact(dict.fromkeys(range(1000)))["…"] == "of 1000"
    wide: Any = ["x"] * 10
    for _ in range(10):
        wide = [wide] * 10
    assert str(redactor.redact(wide)).count("'x'") <= 50


@pytest.mark.parametrize(
    "text", ["x" * 30_000, "word " * 6000, f"{'y' * 9_990} ws://user:{MARK}@pbx", f'{"z" * 9_990}"secret":"{MARK}"']
)
def test_half_a_secret_at_the_cut_is_left_out_too(text: str) -> None:
    for place in range(len(text) - len(MARK), len(text)):
        whole = f"{text[:place]}{MARK}"
        shown = SecretRedactor([MARK], max_characters=10_000).redact(whole)
        assert MARK[:3] not in shown
        if len(whole) > 10_000:
            assert shown.endswith(f"… (of {len(whole)} characters)")
            assert len(shown) < 10_000
    many = SecretRedactor(max_characters=10_000).redact([text, text, "last"])
    assert len("".join(many)) < 10_100
    many = SecretRedactor(max_characters=10_000).redact(["y" * 4000] * 5)
    assert len("".join(many)) < 10_100


def test_what_is_remembered_is_bounded() -> None:
    redactor = SecretRedactor()
    for number in range(5000):
        assert redactor.redact({f"name {number}": f"text {number}"}) == {f"name {number}": f"text {number}"}
    assert len(redactor._texts._harmless) < 2500
    assert len(redactor._texts._kinds) < 2500


class Evil:
    """Everything that it is asked raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(MARK)

    def __repr__(self) -> str:
        raise RuntimeError(MARK)


class EvilMapping(dict[str, Any]):
    def items(self) -> Any:
        raise OSError(MARK)


def test_objects_that_misbehave_are_replaced_and_nothing_is_raised() -> None:
    entry = redact_secrets(None, "info", {"event": "x", "evil": Evil(), "list": [Evil(), 1], "mapping": EvilMapping(a=1)})
    assert entry == {"event": "x", "evil": MASK, "list": [MASK, 1], "mapping": MASK}
    assert redact_secrets(None, "info", EvilMapping(a=1)) == {"event": "*** (this entry could not be looked at)"}


@pytest.mark.parametrize(
    "text",
    [
        "://a:" * 40_000,
        "://" + "@" * 200_000,
        "://a:'" * 40_000,
        "://a:" + "'" * 200_000,
        "(" * 200_000 + "secret",
        '("secret","' * 20_000,
        '("secret","' + '\\"' * 100_000,
        '("secret"' + " " * 200_000 + ",",
        "secret" * 40_000,
        "secret=[" * 30_000,
        'secret="\\' * 30_000,
        "secret" + " " * 200_000,
        '"secret" ' * 20_000,
        "\\" * 200_000 + '"secret":1',
        "eyJ-" * 60_000,
        "x-" * 100_000,
        "password%5f" * 20_000,
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.timeout(20)
def test_no_text_takes_long(text: str) -> None:
    redactor = SecretRedactor()
    began = datetime.now(UTC)
    redactor.redact(text)
    # A pattern that looks again and again at the same characters takes minutes.
    assert (datetime.now(UTC) - began).total_seconds() < 10
