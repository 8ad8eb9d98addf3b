"""Chat templates that strangers might hand over."""

from __future__ import annotations

from collections.abc import Iterator

from hostile import Hostile
from hostile_folders import changed, generate_input, text

LOOP, END = "{% for i in range(99999) %}", "{% endfor %}"


def again(operation: str) -> str:
    """Does something to itself sixty times over."""
    return "{% for i in range(60) %}{% set n.s = n.s " + operation + " n.s %}{% endfor %}{{ n.s }}"


TEMPLATES = {
    "endless": f"{LOOP * 3}{END * 3}x",
    "endless output": f"{LOOP * 2}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{END * 2}",
    "12 GB": "{{ 'x' * 12000000000 }}",
    "12 GB of a list": "{{ [1] * 3000000000 }}",
    "1 GB": "{{ 'x' * 1000000000 }}",
    "center": "{{ 'x' | center(12000000000) }}",
    "ljust": "{{ 'x'.ljust(12000000000) }}",
    "format": "{{ '%12000000000d' % 1 }}",
    "format method": "{{ '{:>12000000000}'.format(1) }}",
    "power": "{{ 7 ** 99999999999 }}",
    "powers": "{{ 9 ** 9 ** 9 ** 9 }}",
    "power of a variable": "{% set x = 99999999 %}{{ (7 ** x) ** x }}",
    "zfill": "{{ '1'.zfill(9000000000) }}",
    "doubling": "{% set n = namespace(s='xxxxxxxx') %}" + again("~"),
    "doubling list": "{% set n = namespace(s=[1]) %}" + again("+"),
    "replace": "{% set a = 'x' * 99999 %}{{ a.replace('x', a) }}",
    "indent": "{{ ('\\n' * 999999) | indent(99999) }}",
    "squaring": "{% set n = namespace(s=99999999) %}" + again("*"),
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "syntax": "{% for %}",
    "unclosed": "{{ messages",
    "undefined": "{{ a.b.c }}",
    "divide": "{{ 1 // 0 }}",
    "type": "{{ 'a' + 1 }}",
    "index": "{{ messages[99]['role'] }}",
    "filter": "{{ 'a' | nofilter }}",
    "test": "{{ 'a' is notest }}",
    "raise": "{{ raise_exception('no\\nsystem \\u001b[31m') }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os }}",
    "extends": "{% extends 'x' %}",
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "deep lists": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "wide": "{{ 1" + " + 1" * 5000 + " }}",
    "nested if": "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "lipsum": "{{ lipsum(n=99999, min=9999, max=99999) }}",
    "lone surrogate": "a\ud800b{{ messages }}",
    "surrogate made": "{{ '%c' % 55296 }}{{ messages[0].content }}",
    "assignment": "{% set messages.x = 1 %}",
    "list append": "{{ messages.append(1) }}",
    "huge join": "{{ (range(99999) | list * 9999) | join('xxxxxxxxxxxxxxxx') }}",
    "batch": "{{ [1] | batch(9999999999, 'x') | list }}",
    "slice": "{{ [1] | slice(9999999999) | list }}",
    "strftime": "{{ strftime_now('%' * 100000) }}",
    "wordwrap": "{{ ('x' * 9999999) | wordwrap(1) | wordwrap(1) }}",
    "empty": "{{ '' }}",
}
# They break nothing, or only where one looks: an attribute that is hidden is an undefined one.
QUIET = (
    "undefined",
    "globals",
    "mro",
    "lone surrogate",
    "surrogate made",
    "wide",
    "nested if",
    "deep",
    "list append",
    "strftime",
    "wordwrap",
)


def _large() -> bytes:
    return b"{# " + b"x" * (70 << 20) + b" #}{{ messages[0].content }}"


# They go on until a limit stops them; "endless" stands for all of them where time is short.
SLOW = ("endless output", "indent", "squaring", "lipsum", "slice", "wordwrap")


def templates() -> Iterator[Hostile]:
    """Templates that never end, grow, break or reach out."""
    for name, template in TEMPLATES.items():
        yield generate_input(
            "chat templates",
            name,
            changed("tokenizer_config.json", chat_template=template),
            name in QUIET,
            name in SLOW,
        )
    for name in ("endless", "12 GB", "syntax", "doubling", "raise", "power"):
        yield generate_input(
            "chat templates", f"{name}, a file", text("chat_template.jinja", TEMPLATES[name])
        )
    yield generate_input("chat templates", "70 MB, a file", text("chat_template.jinja", _large))
    for value in (
        5,
        [5],
        {},
        [{"name": "default"}],
        [{"name": 5, "template": 5}],
        True,
        {"default": 5},
        [],
        ["x"],
        "",
    ):
        yield generate_input(
            "chat templates", f"{value!r}", changed("tokenizer_config.json", chat_template=value), True
        )
