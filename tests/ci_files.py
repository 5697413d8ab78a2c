"""The files of `trimtab ci init`, each read by a parser or checked against the published schema of its system.

    tests/ci_files.py TRIMTAB PYTHON

GitHub, GitLab, CircleCI, Travis: the published schemas, as `check-jsonschema` brings them. Jenkins, TeamCity: parsers of Groovy and Kotlin,
which know the languages but not what the words mean there. None is run by its system here. The last line is `N passed, N failed`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tree_sitter
import tree_sitter_groovy
import tree_sitter_kotlin

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
SCHEMAS = {
    "github": (".github/workflows/model-gate.yml", "vendor.github-workflows"),
    "gitlab": (".gitlab-ci.yml", "vendor.gitlab-ci"),
    "circleci": (".circleci/config.yml", "vendor.circle-ci"),
    "travis": (".travis.yml", "vendor.travis"),
}
GRAMMARS = {
    "jenkins": ("Jenkinsfile", tree_sitter_groovy.language()),
    "teamcity": (".teamcity/settings.kts", tree_sitter_kotlin.language()),
}


def init(system, folder, *more):
    command = [BINARY, "ci", "init", system, "--folder", folder, "--json", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def written(system, folder):
    done = init(system, folder, "--model", "demand", "--server", "http://trimtab.test:5055")
    assert done.returncode == 0, done.stderr
    path = Path(json.loads(done.stdout)["file"])
    text = path.read_text()
    assert "trimtab gate run" in text and "demand" in text and "http://trimtab.test:5055" in text and "@MODEL@" not in text
    return path


def a_schema_takes(system):
    name, schema = SCHEMAS[system]
    with tempfile.TemporaryDirectory() as folder:
        path = written(system, folder)
        assert str(path).endswith(name), path
        check = [PYTHON, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
        done = subprocess.run(check, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        # The check can fail: a word that the schema does not know.
        path.write_text("version: [\njobs: 5\n")
        assert subprocess.run(check, capture_output=True, timeout=120).returncode != 0


def a_parser_takes(system):
    name, grammar = GRAMMARS[system]
    parser = tree_sitter.Parser(tree_sitter.Language(grammar))
    with tempfile.TemporaryDirectory() as folder:
        path = written(system, folder)
        assert str(path).endswith(name), path
        source = path.read_bytes()
        assert not parser.parse(source).root_node.has_error, f"{name} does not parse"
        assert parser.parse(source[: len(source) // 2] + b"}}((").root_node.has_error, "a broken file is told apart"


def mistakes_have_their_error():
    with tempfile.TemporaryDirectory() as folder:
        assert init("github", folder).returncode == 2
        assert init("github", folder, "--model", "a$(rm)").returncode == 2
        assert init("github", folder, "--model", "demand").returncode == 0
        again = init("github", folder, "--model", "demand")
        assert again.returncode == 6 and json.loads(again.stderr)["error"]["code"] == "ci/exists", again.stderr
        assert init("github", folder, "--model", "demand", "--force").returncode == 0
        Path(folder, "trimtab.toml").write_text("[model.churn]\ntask = \"classification\"\nmetric = \"auc\"\n")
        named = init("gitlab", folder)
        assert named.returncode == 0 and json.loads(named.stdout)["model"] == "churn", named.stderr


def main():
    parts = [(f"{system} by its schema", lambda system=system: a_schema_takes(system)) for system in SCHEMAS]
    parts += [(f"{system} by a parser", lambda system=system: a_parser_takes(system)) for system in GRAMMARS]
    parts.append(("mistakes have their error", mistakes_have_their_error))
    failed = 0
    for name, part in parts:
        try:
            part()
            print(f"ok    {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {str(error)[:2000]}", flush=True)
    print(f"{len(parts) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
