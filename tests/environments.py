"""Locked environments: two versions of a model with two versions of one package, answering side by side, installed without a network.

    tests/environments.py TRIMTAB PYTHON

PYTHON has what python/requirements-test.txt lists: the packages that a worker needs are packed from it into wheels again, so that nothing is
downloaded. The last line is `N passed, N failed`.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from house import LIMIT_S, Checks, Server, until

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
# What a model of mlflow-skinny needs, as files: where they are, and what is no part of running.
LIST = """
import importlib.metadata as metadata, json, re
from packaging.requirements import Requirement
found = {}
def walk(name):
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name not in found:
        found[name] = package = metadata.distribution(name)
        asked = [Requirement(text) for text in package.requires or []]
        [walk(one.name) for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
walk("mlflow-skinny"), walk("pandas")
skip = lambda file: ".." in file.parts or file.suffix in (".pyc", ".pyi") or "tests" in file.parts or file.name in ("RECORD", "direct_url.json", "INSTALLER", "REQUESTED")
print(json.dumps([[name, one.version, [[str(f), str(f.locate())] for f in one.files if not skip(f)]] for name, one in found.items()]))
"""
TRAIN = """
import sys, mlflow, pandas as pd
import importlib.metadata as metadata
class Tiny(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        import tinypkg
        return [float(tinypkg.version)] * len(model_input)
pins = [f"{name}=={metadata.version(name)}" for name in ("mlflow-skinny", "pandas", "cloudpickle")]
mlflow.set_experiment("environments")
for tiny in sys.argv[1:]:
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Tiny(), registered_model_name="tiny", pip_requirements=pins + [f"tinypkg=={tiny}"],
                                signature=mlflow.models.infer_signature(pd.DataFrame({"x": [1.0]}), pd.DataFrame({"y": [1.0]})))
"""
PROJECT = '[project]\nname = "environments"\n[model.tiny]\ntask = "regression"\nmetric = "mae"\n[model.tiny.serve]\nenvironment = "locked"\n'


def wheel(folder, name, version, files):
    """Packs files, pairs of name and bytes, with the records that an installer asks for."""
    name = re.sub(r"[-.]+", "_", name)
    info = f"{name}-{version}.dist-info"
    own = {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    own[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_STORED) as packed:
        named = []
        for path, body in files:
            if not path.endswith((f"{info}/WHEEL", f"{info}/RECORD")):
                packed.writestr(path, body)
                named.append(path)
        for path, body in own.items():
            if path not in named:
                packed.writestr(path, body)
                named.append(path)
        packed.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*named, f"{info}/RECORD"]))


def main():
    with Checks() as check, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        home, wheels = folder / "home", folder / "wheels"
        home.mkdir(), wheels.mkdir()
        listed = subprocess.run([PYTHON, "-c", LIST], check=True, capture_output=True, text=True).stdout
        for name, version, files in json.loads(listed):
            wheel(wheels, name, version, [(inside, Path(place).read_bytes()) for inside, place in files if Path(place).is_file()])
        for version in ("1.0", "2.0"):
            wheel(wheels, "tinypkg", version, [("tinypkg.py", f"version = {version!r}\n")])
        for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            del os.environ[name]
        os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_NO_COMPILE": "1", "PIP_NO_CACHE_DIR": "1"}
        with Server(BINARY, home, "--python", PYTHON) as server:
            (folder / "trimtab.toml").write_text(PROJECT)
            code, _, err = server.cli("apply", cwd=folder)
            assert code == 0, err

            def environment(version):
                shown = server.ask("/api/v1/models/tiny")[1]["versions"]["items"]
                return next((one["environment"] for one in shown if one["version"] == version), None)

            ask = lambda: server.ask("/serve/tiny/invocations", {"dataframe_records": [{"x": 1.0}]})  # noqa: E731
            answers = lambda wanted: (found := ask())[0] == 200 and found[1]["predictions"] == [wanted]  # noqa: E731
            installed = home / "environments"
            parts = lambda: [path for path in installed.glob(".new-*") if (path / "bin").exists()] if installed.exists() else []  # noqa: E731

            server.train(PYTHON, TRAIN, "1.0", cwd=folder)
            until("the installation has begun", parts)
            server.kill()
            check("killed while it installs, there is no environment", not [path for path in installed.iterdir() if len(path.name) == 64])
            server.start()
            lock = until("version 1 is locked", lambda: (found := environment(1)) and found["lock"])
            check("what was cut short is made anew, and nothing is left of it", not parts() and (installed / lock["sha256"] / "bin/python").exists(), lock)
            kept = (home / "artifacts" / lock["path"]).read_bytes()
            check("the lock lies beside the version's files, with hashes", hashlib.sha256(kept).hexdigest() == lock["sha256"] and b"--hash=sha256:" in kept)
            check("it holds the package", "tinypkg==1.0" in lock["packages"] and str(wheels) not in kept.decode(), lock["packages"])

            status, told = server.ask("/api/v1/models/tiny/promote", {"version": 1})
            check("version 1 answers with its own packages", status == 200 and until("it answers", lambda: answers(1.0)), told)
            server.train(PYTHON, TRAIN, "2.0", "9.9", cwd=folder)
            second = until("version 2 is locked", lambda: (found := environment(2)) and found["lock"])
            check("another version, another environment", second["sha256"] != lock["sha256"] and "tinypkg==2.0" in second["packages"], second)
            problem = until("version 3 is refused", lambda: (found := environment(3)) and found["problem"])
            check("what cannot be resolved says the line and the next step", problem["code"] == "environment/unresolved" and problem["place"].startswith("requirements.txt:") and "tinypkg==9.9" in problem["what"] and ".log" in problem["hint"], problem)
            events = server.ask("/api/v1/events?limit=500")[1]["items"]
            said = [event["sentence"] for event in events if "environment" in event["sentence"]]
            check("the log tells of it", sum("is locked" in one for one in said) == 2 and any("there is no environment" in one for one in said), said)

            # Both at once: the new champion answers, the one before it beside it as a shadow.
            (folder / "trimtab.toml").write_text(PROJECT + 'keep_shadow = ["1"]\n')
            code, _, err = server.cli("apply", cwd=folder)
            assert code == 0, err
            server.ask("/api/v1/models/tiny/promote", {"version": 2})
            until("version 2 answers", lambda: answers(2.0))
            pythons = lambda: {name for pid in os.listdir("/proc") if pid.isdigit() for name in command(pid) if str(installed) in name}  # noqa: E731
            both = {str(installed / one["sha256"] / "bin/python") for one in (lock, second)}
            lanes = lambda: {one["role"]: one for one in server.ask("/api/v1/serving/tiny")[1]["versions"]}  # noqa: E731

            def beside():
                # The champion before rests for an hour, loaded: only an answer shows that it is the shadow now.
                right, shadow = answers(2.0), lanes().get("shadow")
                return right and shadow and shadow["version"] == 1 and shadow["answered"] > 0

            until("version 1 answers as the shadow of version 2", beside)
            check("both answer side by side, each by its own interpreter", pythons() >= both, (pythons(), both))

            server.ask("/api/v1/models/tiny/promote", {"version": 3})
            goes_on = "the champion does not load; what served before goes on"
            told = lambda: [line for line in (folder / "server.log").read_text().splitlines() if goes_on in line]  # noqa: E731
            said = until("the log says that version 3 does not load", told)
            check("and why", all("the packages of tiny 3 cannot be resolved" in line for line in said), said)
            check("a version without an environment takes nothing from the one that answers", answers(2.0), ask())
            server.ask("/api/v1/models/tiny/rollback", {})
            until("version 2 answers", lambda: answers(2.0))

            code, out, _ = server.cli("model", "show", "tiny")
            check("trimtab model show names it", code == 0 and lock["sha256"][:40] in out and second["sha256"][:40] in out, out)
            with urllib.request.urlopen(server.url + "/models/tiny/versions/1/card.md", timeout=LIMIT_S) as answer:
                card = answer.read().decode()
            check("the model card names it", lock["sha256"] in card, card)
            freed = server.ask("/api/v1/gc", {})[1]
            check("what is in use is not freed", freed["environments"] == [], freed)
            (folder / "trimtab.toml").write_text(PROJECT.replace('environment = "locked"', 'environment = "project"'))
            code, _, err = server.cli("apply", cwd=folder)
            assert code == 0, err
            would = until("nothing uses them", lambda: len((found := server.ask("/api/v1/gc", {"dry_run": True})[1])["environments"]) == 2 and found)
            check("a dry run frees nothing", all((installed / one).exists() for one in would["environments"]), would)
            freed = server.ask("/api/v1/gc", {})[1]
            left = [path.name for path in installed.iterdir() if path.is_dir()]
            check("trimtab gc frees what nothing uses", sorted(freed["environments"]) == sorted([lock["sha256"], second["sha256"]]) and not left, (freed, left))

            # An exact repetition runs with the packages that came of the run, which the project's own interpreter lacks.
            (folder / "fit.py").write_text("try:\n    import tinypkg\n    print('with', tinypkg.version)\nexcept ImportError:\n    print('without')\nimport sys\nsys.argv[1:] = ['1.0']\n" + TRAIN)
            step = '[pipeline.make.step.fit]\nrun = "python fit.py"\ncode = ["fit.py"]\nenv = ["PIP_NO_INDEX"]\n'
            (folder / "trimtab.toml").write_text(step + PROJECT.replace("[model.tiny]", f'python = "{PYTHON}"\n[model.tiny]', 1))
            code, _, err = server.cli("apply", cwd=folder)
            assert code == 0, err
            code, out, err = server.cli("pipeline", "run", "make", cwd=folder)
            assert code == 0, out + err
            check("a step runs with the project's packages", "without" in server.cli("pipeline", "logs", "make-1", "fit")[1])
            made = max(one["version"] for one in server.ask("/api/v1/models/tiny")[1]["versions"]["items"])
            until("the version is locked", lambda: (found := environment(made)) and found["lock"])
            code, out, err = server.cli("pipeline", "rerun", "make-1", "--exact", cwd=folder)
            check("an exact repetition runs", code == 0, out + err)
            check("with the packages that came of the run", "with 1.0" in server.cli("pipeline", "logs", "make-2", "fit")[1], server.cli("pipeline", "logs", "make-2", "fit")[1])
            check("and does not say that it could not bring them back", "packages" not in out + err, out + err)
            server.stop()
            log = (folder / "server.log").read_text()
            check("the server's log tells of progress", "installing the environment of tiny 1" in log and "is installed" in log, log[-2000:])


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


main()
