"""What docs/ says of commands and names is what they say of themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lazarus_probe.cli import circuit, introspect, lazarus
from lazarus_probe.cli.commands import command_of

sys.path.insert(0, str(Path(__file__).parent))
import api_page
import command_pages
import command_tree
import seed_coverage

COMMANDS = command_tree.commands()
TABLES = {"lazarus": lazarus.COMMANDS, "introspect": introspect.COMMANDS, "circuit": circuit.COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_page_is_of_the_command_as_it_is(command: command_tree.Command):
    """Each command has a page with its present help and options, and with the output of its examples."""
    file = command_pages.PAGES / command.page
    assert file.exists(), "run `make docs`"
    text = file.read_text(encoding="utf-8")
    assert text.startswith(command_pages.head(command)), "run `make docs`"
    for line in command_pages.examples(command):
        assert f"\n$ {line}\n" in text, "run `make docs`"


def test_no_page_is_left_over():
    """There is no page of a command that is no more, and the index names them all."""
    pages = {path.name for path in command_pages.PAGES.glob("*.md")}
    assert pages == {*(command.page for command in COMMANDS), "README.md"}
    written = (command_pages.PAGES / "README.md").read_text(encoding="utf-8")
    assert written == command_pages.index(COMMANDS), "run `make docs`"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_what_it_does(command: command_tree.Command):
    """Help begins with one short sentence, and says something of every option."""
    first = command.help.splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 110
    assert [option.names for option in command.options if len(option.help) < 8] == []


@pytest.mark.parametrize("group", TABLES)
def test_a_group_says_of_a_command_what_the_command_says(group: str):
    """What a group's help shows without importing a command is the first line of the command's own."""
    for name, (module, line) in TABLES[group].items():
        assert (command_of(name, module).help or "").strip().splitlines()[0] == line


def test_everything_the_documents_name_has_a_test():
    """No command, option, saved key or name of the documents is without a test, and the page says which."""
    untested = [item for item in seed_coverage.items() if seed_coverage.test_of(item) is None]
    assert untested == []
    assert seed_coverage.DOCS.read_text(encoding="utf-8") == seed_coverage.render(), "run `make docs`"


def test_every_option_that_the_documents_name_is_there():
    """Each option of the documents is one of its command."""
    known = {command.name: {name for each in command.options for name in each.names} for command in COMMANDS}
    missing = [
        item
        for item in seed_coverage.items()
        if item.kind == "option" and item.name not in known.get(item.of, set())
    ]
    assert missing == []


def test_api_page_is_of_the_names_as_they_are():
    """The reference has every public name with its present signature and docstring."""
    assert api_page.DOCS.read_text(encoding="utf-8") == api_page.render(), "run `make docs`"


def test_an_option_is_one_option_of_its_command():
    """No name stands for two options of a command: the second would take what is meant for the first."""
    for command in COMMANDS:
        names = [name for option in command.options for name in option.names]
        assert len(names) == len(set(names)), command.name


@pytest.mark.parametrize(("one", "many"), [("--prompt", "--prompts"), ("--layer", "--layers")])
def test_one_and_many_are_one_option(one: str, many: str):
    """An option that takes several and has a letter is spelt either way."""
    for command in COMMANDS:
        names = {name for option in command.options for name in option.names}
        if any({many, many[1:3]} <= {*option.names} for option in command.options):
            assert one in names, f"{command.name} has {many} and not {one}"
