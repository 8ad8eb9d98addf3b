from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def deep(make_model):
    """A model whose name has dashes and a dot, of 3 layers."""
    return make_model("tiny-deep-1.1", num_hidden_layers=3, num_key_value_heads=4)


def lines(project):
    """Model, parameters and test of each claim of the last run."""
    return [(claim["model"]["name"], claim["parameters"]) for claim in project.reports()[-1]["claims"]]


def test_layers_follow_each_model(project, deep):
    """A test that asks for `layer` runs on every layer of every model, each of its own depth."""
    project.write("""
        @claim("c")
        def test_c(subject, evidence, layer):
            assert 0 <= layer < subject.num_layers
            evidence.record(measured(0.95))
    """)
    project.run(models=(project.model, deep)).assert_outcomes(passed=5)
    deep_lines = [("tiny-deep-1.1", f"L{layer}") for layer in range(3)]
    assert sorted(lines(project)) == [("tiny", "L0"), ("tiny", "L1"), *deep_lines]


def test_parameters_do_not_name_the_model(project, deep):
    """A line is named alike on every model, whatever dashes stand in ids and names."""
    project.write("""
        @claim("plain")
        def test_plain(evidence):
            evidence.record(measured(0.95))

        @claim("c")
        @pytest.mark.parametrize("where", ["tiny", "tiny-deep", "-", "a-b"])
        @pytest.mark.parametrize("n", [1, 2])
        def test_c(evidence, n, where):
            evidence.record(measured(0.95))

        @claim("layered")
        @pytest.mark.parametrize("where", ["tiny", "tiny-deep"])
        def test_layered(evidence, where, layer):
            evidence.record(measured(0.95))
    """)
    project.run(models=(project.model, deep)).assert_outcomes(passed=2 + 2 * 8 + 2 * 5)
    by_model = {
        name: {parameters for model, parameters in lines(project) if model == name}
        for name in ("tiny", "tiny-deep-1.1")
    }
    assert by_model["tiny"] < by_model["tiny-deep-1.1"]
    assert {"", "1-tiny", "1-tiny-deep", "2--", "2-a-b", "L0-tiny", "L1-tiny-deep"} < by_model["tiny"]
    assert len(by_model["tiny"]) == 1 + 8 + 4


def test_parameters_do_not_name_a_model_that_pytest_spells_out(project, make_model):
    """Of a model whose name is no ASCII a line is named as of any other, so that its versions can be compared."""
    other = make_model("modèle-\u202e", num_hidden_layers=2, num_key_value_heads=4)
    project.write("""
        @claim("c")
        @pytest.mark.parametrize("where", ["a"])
        def test_c(evidence, where, layer):
            evidence.record(measured(0.95))
    """)
    project.run(models=(other,)).assert_outcomes(passed=2)
    assert [parameters for _, parameters in lines(project)] == ["L0-a", "L1-a"]


def test_folders_are_known_by_their_last_part(project):
    """No test id holds the place where a model lies."""
    project.write('@claim("c")\ndef test_c(evidence): evidence.record(measured(0.95))')
    result = project.run("-v")
    result.stdout.fnmatch_lines(["test_claims.py::test_c[[]tiny[]] PASSED*"])


def test_a_model_named_twice_runs_once(project):
    """Naming a model again adds nothing."""
    project.write("def test_s(subject): pass")
    project.run(models=(project.model, project.model)).assert_outcomes(passed=1)


def test_a_repository_may_alias_model(project):
    """`--model` of a conftest.py, with our option's destination, means `--probe-model`."""
    project.write("def test_s(subject): assert subject.name == 'tiny'")
    project.pytester.makeconftest(
        "def pytest_addoption(parser):\n    parser.addoption('--model', action='append', dest='probe_model')"
    )
    project.run(f"--model={project.model}", models=()).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "options", [["--model={}"], ["--model", "{}"], ["-q", "--model", "{}", "test_claims.py"]]
)
def test_model_is_taken_where_nobody_else_has_it(project, options):
    """In a repository without a conftest.py, `--model` means `--probe-model`, and `--adapter` its adapter."""
    project.write("""
        def test_s(subject, request):
            assert subject.name == "tiny" and request.config.getoption("probe_adapter") is None
    """)
    project.run(*(option.format(project.model) for option in options), models=()).assert_outcomes(passed=1)
    project.run(f"--model={project.model}", "--adapter=none-there", models=()).stderr.fnmatch_lines(
        ["*none-there*"]
    )


def test_other_plugins_model_is_not_ours(project):
    """A `--model` with a destination of its own belongs to somebody else."""
    project.write("def test_s(subject, request): assert subject.name == 'tiny'")
    project.pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--model')")
    project.run("--model=gpt").assert_outcomes(passed=1)


def test_own_subject_and_layer_are_left_alone(project):
    """A `subject` or `layer` that a project defines or parametrises itself is not replaced."""
    project.write("""
        @pytest.fixture(params=["x", "y"])
        def subject(request):
            return request.param

        def test_own(subject, layer_of):
            assert subject in "xy"

        @pytest.fixture
        def layer_of():
            return 7

        @pytest.mark.parametrize("layer", [5, 6])
        def test_both(subject, layer):
            assert layer in (5, 6)
    """)
    project.write(
        """
        @pytest.fixture
        def layer():
            return 7

        def test_fixture(subject, layer):
            assert layer == 7 and subject.name == "tiny"

        @pytest.mark.parametrize("layer", [0, 1])
        def test_marked(subject, layer):
            assert layer in (0, 1) and subject.name == "tiny"

        @pytest.mark.parametrize("subject", ["nobody's"])
        def test_given(subject):
            assert subject == "nobody's"
        """,
        name="test_ours",
    )
    project.run().assert_outcomes(passed=2 + 4 + 1 + 2 + 1)


def test_extended_subject_still_runs_per_model(project, deep):
    """A project's `subject` that builds on the plugin's runs on every model, and so do its claims."""
    project.write("""
        @pytest.fixture(scope="session")
        def subject(subject):
            assert subject.num_layers
            return subject

        @claim("c")
        def test_c(evidence, layer):
            evidence.record(measured(0.95))
    """)
    project.run(models=(project.model, deep)).assert_outcomes(passed=5)


def test_marks_on_classes_and_modules(project):
    """A claim may be marked on the module or the class; tests beside the one that decides it are plain tests."""
    project.write("""
        pytestmark = claim("of-module")

        def test_c(evidence):
            evidence.record(measured(0.95))

        def test_beside():
            pass

        @claim("of-class")
        class TestClaim:
            @pytest.mark.parametrize("where", ["a", "b"])
            def test_c(self, evidence, where):
                evidence.record(measured(0.95))

            def test_beside(self):
                pass
    """)
    project.run().assert_outcomes(passed=5)
    found = [(claim["claim"]["id"], claim["parameters"]) for claim in project.reports()[0]["claims"]]
    assert found == [("of-class", "a"), ("of-class", "b"), ("of-module", "")]


def test_untrained_names_are_told_apart(project):
    """An untrained model and its seeds are labelled as reports call them."""
    project.write("def test_s(subject, request): assert f'[{subject.name}]' in request.node.name")
    names = ("organism-untrained", "organism-untrained-0", "organism-untrained-3")
    result = project.run(models=names[1:])
    result.assert_outcomes(passed=2)
    assert project.run(models=names).ret == 4
