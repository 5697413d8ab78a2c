"""Models answered by ONNX within the server beside the same models in Python workers: the same answers, and workers where ONNX cannot.

    tests/onnx.py TRIMTAB PYTHON

PYTHON has what python/requirements-test.txt lists. The last line is `N passed, N failed`.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from house import Checks, Server, below, until

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
TRAIN = """
import mlflow, numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
rng = np.random.default_rng(0)
X = pd.DataFrame({f"f{n}": rng.normal(size=500) for n in range(4)})
y = 3 * X.f0 + X.f1 ** 2
Z = X[["f0", "f1"]].assign(c=rng.choice(["a", "b"], 500), n=rng.integers(0, 9, 500).astype(float))
Z.loc[::7, "f1"] = np.nan
numbers = make_pipeline(SimpleImputer(), StandardScaler())
# An odd number of trees: where two labels have as many votes, which of them wins is each library's own matter.
models = {
    "boosted": (GradientBoostingRegressor(n_estimators=30, random_state=0).fit(X, y), X),
    "labels": (RandomForestClassifier(21, random_state=0).fit(X, (y > 0).astype(int)), X),
    "mixed": (make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["c"]), (numbers, ["f0", "f1", "n"])),
                            LogisticRegression()).fit(Z, np.where(y > 0, "yes", "no")), Z),
    "odd": (make_pipeline(FunctionTransformer(np.cbrt), GradientBoostingRegressor(n_estimators=5, random_state=0)).fit(X, y), X),
}
mlflow.set_experiment("onnx")
for name, (model, rows) in models.items():
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, name="model", registered_model_name=name, input_example=rows.head(50), serialization_format="cloudpickle",
                                 pip_requirements=["scikit-learn"])
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", 1)
"""
ROWS = [{"f0": 0.5, "f1": -1.25, "f2": 0.0, "f3": 2.0}, {"f0": -0.75, "f1": 0.3, "f2": 1.0, "f3": -1.0}]
MIXED = [{"f0": 0.5, "f1": None, "c": "a", "n": 3.0}, {"f0": -2.0, "f1": 0.1, "c": "never seen", "n": 8.0}]
NAMES = ["boosted", "labels", "mixed", "odd"]


def project(runtime, more=""):
    kinds = {"boosted": "regression", "odd": "regression"}
    declared = "".join(
        f'[model.{name}]\ntask = "{kinds.get(name, "classification")}"\nmetric = "{"mae" if name in kinds else "accuracy"}"\n'
        f'[model.{name}.serve]\nruntime = "{runtime}"\n{more}' for name in NAMES
    )
    return '[project]\nname = "onnx"\n' + declared


def compare(check, server, folder):
    server.train(PYTHON, TRAIN, cwd=folder)
    log = folder / "server.log"

    def apply(runtime, more=""):
        (folder / "trimtab.toml").write_text(project(runtime, more))
        code, _, err = server.cli("apply", cwd=folder)
        assert code == 0, err

    def ask(name):
        return server.ask(f"/serve/{name}/invocations", {"dataframe_records": MIXED if name == "mixed" else ROWS})

    def answers():
        told = {name: until(name, lambda name=name: (found := ask(name))[0] == 200 and found[1]) for name in NAMES}
        return {name: one["predictions"] for name, one in told.items()}

    apply("python")
    by_worker = answers()
    apply("onnx")
    lines = lambda: [line for line in log.read_text().splitlines() if "ONNX" in line]  # noqa: E731
    until("all models", lambda: len(lines()) >= len(NAMES))
    by_onnx = answers()
    for name in NAMES:
        same = all(a == b or (isinstance(a, float) and abs(a - b) <= 1e-5 * max(1, abs(b))) for a, b in zip(by_onnx[name], by_worker[name]))
        check(f"{name} answers the same", same and len(by_onnx[name]) == 2, f"{by_onnx[name]} {by_worker[name]}")
    served = {name: next(line for line in lines() if name in line) for name in NAMES}
    for name in NAMES[:3]:
        check(f"{name} is served by its copy", "served by its ONNX copy" in served[name], served[name])
    check("a model that cannot be converted says why", "served by a worker" in served["odd"] and "why" in served["odd"], served["odd"])
    wrong = [
        ("a text for a number", "boosted", [{**ROWS[0], "f0": "warm"}]),
        ("a column too few", "boosted", [{"f0": 1.0}]),
        ("no row", "boosted", []),
    ]
    for what, name, rows in wrong:
        status, answer = server.ask(f"/serve/{name}/invocations", raw=json.dumps({"dataframe_records": rows}).encode())
        check(f"{what} is the caller's mistake", 400 <= status < 500, (status, answer))
    many = json.dumps({"dataframe_records": ROWS * 500}).encode()
    status, answer = server.ask("/serve/boosted/invocations", raw=many)
    check("a batch of a thousand rows", status == 200 and answer["predictions"] == by_onnx["boosted"] * 500, status)
    server.kill()
    server.start()
    check("the copies are there after a restart", answers() == by_onnx)
    apply("onnx", "isolate = true\n")
    # Until a process has loaded its copy, the one in the server answers.
    workers = lambda name: server.ask(f"/api/v1/serving/{name}")[1]["versions"][0].get("workers")  # noqa: E731
    until("a process for each copy", lambda: [workers(name) for name in NAMES[:3]] == [{"ready": 1, "starting": 0}] * 3)
    children = below(server.process.pid, b"onnx-worker")
    check("there are three", len(children) == 3, children)
    check("in a process of its own it answers the same", answers() == by_onnx)
    status, answer = server.ask("/serve/boosted/invocations", raw=json.dumps({"dataframe_records": [{"f0": "warm"}]}).encode())
    check("and refuses the same", status == 400, (status, answer))
    for child in children:
        os.kill(child, signal.SIGKILL)
    # A death is found by the first who asks, so it was this process that answered.
    seen = {name: ask(name) for name in NAMES[:3]}
    check("its death is told by 503", all((status, told.get("code")) == (503, "serve/worker_down") for status, told in seen.values()), seen)
    check("and it comes back", answers() == by_onnx)
    fresh = below(server.process.pid, b"onnx-worker")
    check("as three other processes", len(fresh) == 3 and not set(children) & set(fresh), (children, fresh))
    server.stop()


def main():
    with Checks() as check, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        with Server(BINARY, folder / "home", "--python", PYTHON) as server:
            compare(check, server, folder)


main()
