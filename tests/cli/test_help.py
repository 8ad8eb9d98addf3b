"""Help wherever it is asked for, and what was probably meant where a command line is wrong."""

from __future__ import annotations

import pytest
import typer

from lazarus_probe.cli import circuit, lazarus
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
        assert "Commands:" in shown.err


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
