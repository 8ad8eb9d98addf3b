"""Help wherever it is asked for, and what was probably meant where a command line is wrong."""

from __future__ import annotations

import shlex

import pytest
import typer

from lazarus_probe.cli import circuit, introspect, lazarus
from lazarus_probe.cli.commands import EXAMPLES, examples_of
from lazarus_probe.cli.options import OTHER_LETTERS
from lazarus_probe.organisms import bundled


def groups_and_commands(program):
    """The words of every group and of every command of a program, each with whether it is a group."""

    def below(command, words):
        context = command.context_class(command, info_name=words[-1] if words else "")
        names = command.list_commands(context) if hasattr(command, "list_commands") else []
        yield words, bool(names)
        for name in names:
            yield from below(command.get_command(context, name), [*words, name])

    return list(below(typer.main.get_command(program.app), []))


PROGRAMS = {"lazarus": lazarus, "circuit": circuit}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_has_both_names_of_help(name, capsys):
    """`-h` prints what `--help` prints, of the programs, of every group and of every command."""
    for words, _ in groups_and_commands(PROGRAMS[name]):
        shown = []
        for option in ("-h", "--help"):
            assert PROGRAMS[name].main([*words, option]) == 0
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
        assert shown[0].startswith(f"Usage: {' '.join([name, *words])}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_bare_group_shows_its_help_and_fails(name, capsys):
    """Without a command there is nothing to do: the help goes to standard error, and the exit code is an error's."""
    groups = [words for words, is_group in groups_and_commands(PROGRAMS[name]) if is_group]
    groups = [words for words in groups if words != ["models"]]  # lists the models
    assert [] in groups
    for words in groups:
        assert PROGRAMS[name].main(words) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"Usage: {' '.join([name, *words])}")
        assert shown.err.count(":\n") >= 2


def commands_in(name):
    """Every command of a program with the words that call it, groups left out."""

    def below(command, context):
        if not hasattr(command, "list_commands"):
            yield context.command_path, command, context
            return
        for inner in command.list_commands(context):
            member = command.get_command(context, inner)
            yield from below(member, member.context_class(member, info_name=inner, parent=context))

    program = typer.main.get_command(PROGRAMS[name].app)
    return list(below(program, program.context_class(program, info_name=name)))


def test_a_letter_means_the_same_in_every_command():
    """All options that one letter is of share a name, directly or by way of others: no letter has two meanings."""
    names_by_letter = {}
    for name in PROGRAMS:
        for _, command, context in commands_in(name):
            for option in command.get_params(context):
                letters = {each for each in option.opts if not each.startswith("--") and each.startswith("-")}
                for letter in letters:
                    names_by_letter.setdefault(letter, []).append(frozenset(option.opts) - letters)
    assert {"-a", "-c", "-l", "-n", "-s", "-t"} <= set(names_by_letter)
    assert {
        letter: parts for letter, names in names_by_letter.items() if len(parts := connected(names)) > 1
    } == {}


def connected(sets):
    """Sets of names, those that share one put together."""
    parts = []
    for names in set(sets):
        touching = [part for part in parts if part & names]
        parts = [part for part in parts if part not in touching] + [names.union(*touching)]
    return parts


def test_letters_that_documents_spell_otherwise_are_taken_and_not_shown(capsys):
    """Each is read as the option that it was of, and the help of its command does not list it."""
    taken = {
        ("introspect", "layer"): ["-m", "organism", "-p", "a|b", "-l", "x"],
        ("introspect", "patch"): ["-m", "organism", "-s", "a", "-t", "b", "--layers", "99"],
    }
    said = {"layer": "1 labels for 2 prompts", "patch": "99"}
    for words, arguments in taken.items():
        assert lazarus.main([*words, *arguments]) == 2
        error = capsys.readouterr().err
        assert "No such option" not in error
        assert said[words[-1]] in error
    modules = {module.partition(".")[2]: module for module in OTHER_LETTERS}
    assert lazarus.main(["introspect", "layer", "-h"]) == 0
    assert modules
    assert "-l, --labels" not in capsys.readouterr().out


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_shows_an_example_of_itself(name, capsys):
    """The help of each ends with a command line of it that fits a terminal, whose options and values are right."""
    examples = EXAMPLES.read_text(encoding="utf-8").splitlines()
    commands = commands_in(name)
    shown = 0
    for path, command, context in commands:
        lines = examples_of(path)
        shown += len(lines)
        assert lines, path
        text = command.get_help(context)
        for line in lines:
            assert text.endswith(f"  {line}") or f"  {line}\n" in text
            assert len(line) <= 110
            words = shlex.split(line)[len(path.split()) :]
            command.make_context(path, words).close()
    assert shown == sum(line.split()[0] == name for line in examples)


@pytest.mark.parametrize("group", [lazarus, introspect])
def test_every_command_stands_in_one_section(group):
    """A group with many commands shows each of them under one heading."""
    names = [command for commands in group.SECTIONS.values() for command in commands]
    assert sorted(names) == sorted(group.COMMANDS)


MEANT = {
    "introspect analyse": "No such command 'analyse'; did you mean `lazarus introspect analyze`? see `lazarus intr",
    "intrspect patch": "No such command 'intrspect'; did you mean `lazarus introspect`?",
    "patch": "No such command 'patch'; did you mean `lazarus introspect patch`?",
    "train spt": "No such command 'spt'; did you mean `lazarus train sft`?",
    "xyzzy": "No such command 'xyzzy'; see `lazarus --help`",
    "introspect generate --modl x": "No such option: --modl; did you mean --model?",
    "introspect patch --sources a": "No such option: --sources; did you mean --source?",
    "introspect generate --zzzzz": "No such option: --zzzzz; see `lazarus introspect generate --help`",
    "introspect ablate -m organism -p a --component mpl": "did you mean mlp?",
    "introspect attribution-patch -m organism --source a --target b --site mpl_out": "did you mean mlp_out? give one",
    "experiment classifier-emergence baseline -m organism --task aritmetic": "did you mean arithmetic? give one of",
    "introspect generate -m organsm -p a": "no model named 'organsm': did you mean organism? bundled are",
    "introspect generate -m organism-untraind -p a": "did you mean organism-untrained?",
}  # fmt: skip


@pytest.mark.parametrize("line", MEANT)
def test_what_was_meant_is_said_in_one_line(line, capsys):
    """Commands, options, values and models that are nearly there are named; what is like nothing is not guessed at."""
    assert lazarus.main(line.split()) == 2
    error = capsys.readouterr().err
    assert MEANT[line] in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_all_bundled_models_are_listed(capsys):
    """The list in the message is of the folders that are there, each of them."""
    assert lazarus.main(["anatomy", "-m", "zzzzz"]) == 2
    error = capsys.readouterr().err
    folders = {path.parent.name for path in bundled.FOLDER.glob("*/config.json")}
    assert folders
    listed = error.partition("bundled are ")[2].partition(" (each also as NAME-untrained)")[0]
    assert set(listed.split(", ")) == folders
