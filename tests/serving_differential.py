"""The same rows to MLflow's own scoring server and to ours: one model, every shape of a request, compared.

    tests/serving_differential.py TRIMTAB PYTHON

PYTHON has what python/requirements-test.txt lists. Starts both servers. A difference that is meant is named with its reason and checked.
The last line is `N passed, N failed`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from house import Checks, Server, free_port, until

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
TRAIN = """
import json, mlflow, numpy as np, pandas as pd, sys
from sklearn.linear_model import LinearRegression
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
rng = np.random.default_rng(0)
frame = pd.DataFrame({"temp": rng.random(60), "hr": rng.integers(0, 24, 60), "hum": rng.random(60)})
model = LinearRegression().fit(frame, 3 * frame.temp + frame.hr - 2 * frame.hum)
signature = ModelSignature(Schema([ColSpec("double", "temp"), ColSpec("long", "hr"), ColSpec("double", "hum")]), Schema([ColSpec("double")]))
mlflow.set_experiment("serving")
options = dict(serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
with mlflow.start_run():
    mlflow.sklearn.log_model(model, name="model", signature=signature, registered_model_name="named", **options)
    table = LinearRegression().fit(frame.to_numpy(), 3 * frame.temp + frame.hr - 2 * frame.hum)
    mlflow.sklearn.log_model(table, name="table", signature=mlflow.models.infer_signature(frame.to_numpy(), table.predict(frame.to_numpy())),
                             registered_model_name="table", **options)
    # Several values a row: with names, and without.
    class Pair(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            low = model_input["temp"] - model_input["hum"]
            return pd.DataFrame({"low": low, "high": low + model_input["hr"]})
    both = Schema([ColSpec("double", "low"), ColSpec("double", "high")])
    mlflow.pyfunc.log_model(name="pair", python_model=Pair(), signature=ModelSignature(signature.inputs, both), registered_model_name="pair",
                            pip_requirements=["mlflow"])
    from sklearn.ensemble import RandomForestClassifier
    forest = RandomForestClassifier(5, random_state=0).fit(frame, frame.hr % 3)
    mlflow.sklearn.log_model(forest, name="shares", signature=mlflow.models.infer_signature(frame, forest.predict_proba(frame)),
                             pyfunc_predict_fn="predict_proba", registered_model_name="shares", input_example=None, **options)
    rows = pd.DataFrame(json.loads(sys.argv[2]), columns=["temp", "hr", "hum"])
    with open(f"{sys.argv[1]}/shares.json", "w") as file:
        json.dump(forest.predict_proba(rows).tolist(), file)
client = mlflow.MlflowClient()
for name in ("named", "table", "pair", "shares"):
    client.set_registered_model_alias(name, "champion", 1)
    mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=f"{sys.argv[1]}/{name}")
"""
ROWS = [[0.5, 7, 0.25], [0.125, 23, 0.75]]
NAMES = ["temp", "hr", "hum"]


def shapes(named):
    records = [dict(zip(NAMES, row)) for row in ROWS]
    columns = {name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}
    # A model that knows its columns by their place once saw them in the order of the alphabet: it answered, and wrongly.
    yield "split", {"dataframe_split": {"columns": NAMES, "data": ROWS}}
    yield "split with an index", {"dataframe_split": {"columns": NAMES, "index": [5, 6], "data": ROWS}}
    if not named:
        yield "rows as instances", {"instances": ROWS}
        yield "rows as inputs", {"inputs": ROWS}
    if named:
        yield "records", {"dataframe_records": records}
        yield "instances", {"instances": records}
        yield "inputs by column", {"inputs": columns}
        yield "columns in another order", {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}}
        yield "a column too many", {"dataframe_records": [record | {"more": 1} for record in records]}
        yield "whole numbers for floats", {"dataframe_records": [{"temp": 1, "hr": 2, "hum": 0}]}


# What both refuse, and what only ours does.
WRONG = {
    "a column too few": {"dataframe_records": [{"temp": 1.0, "hr": 2}]},
    "a text for a number": {"dataframe_records": [{"temp": "warm", "hr": 2, "hum": 0.5}]},
    "nothing for a whole number": {"dataframe_records": [{"temp": 1.0, "hr": None, "hum": 0.5}]},
    "no rows' shape": {"rows": ROWS},
    "two shapes": {"instances": ROWS, "inputs": ROWS},
    "a list": [1, 2, 3],
    "rows too short": {"dataframe_split": {"columns": NAMES, "data": [[1.0, 2]]}},
}
MEANT = {
    "a whole number with a fraction": (
        {"dataframe_records": [{"temp": 1.0, "hr": 2.5, "hum": 0.5}]}, 400, 200,
        "MLflow cuts 2.5 to 2 without a word; ours says that the column is a whole number",
    ),
    "rows without names": ({"inputs": ROWS}, 200, 400, "MLflow wants names where the signature has them; ours takes the signature's order"),
    "one-element lists": (
        {"inputs": {"temp": [[0.5]], "hr": [[7]], "hum": [[0.25]]}}, 200, 400,
        "MLflow takes these for other tensors; they are what columns look like in other protocols",
    ),
}


def ask(url, body, content_type="application/json"):
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def close(ours, theirs):
    flat = lambda values: [value[0] if isinstance(value, list) else value for value in values]  # noqa: E731
    ours, theirs = flat(ours), flat(theirs)
    return len(ours) == len(theirs) and all(abs(a - b) < 1e-9 for a, b in zip(ours, theirs))


class Genuine:
    """`mlflow models serve` of a local copy."""

    def __init__(self, folder):
        self.port = free_port()
        command = [PYTHON, "-m", "mlflow", "models", "serve", "-m", folder, "-p", str(self.port), "--env-manager", "local", "-w", "1"]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": os.path.dirname(PYTHON) + ":" + os.environ["PATH"]}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log, start_new_session=True)
        self.url = f"http://127.0.0.1:{self.port}/invocations"

    def __enter__(self):
        try:
            until("the genuine server answers", self.answers, 120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def answers(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5)
        except OSError:
            assert self.process.poll() is None, "the genuine server ended"

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


def several(server, folder, check):
    """Models of several values a row."""
    body = {"dataframe_split": {"columns": NAMES, "data": ROWS}}
    pair, shares = (f"{server.url}/serve/{name}/invocations" for name in ("pair", "shares"))
    status, ours = ask(pair, body)
    told = status == 400 and ours["code"] == "serve/output" and "low, high" in ours["message"] and "output = " in ours["hint"]
    check("several values, and none is chosen", told, (status, ours))
    (Path(folder) / "trimtab.toml").write_text(
        '[project]\nname = "several"\n'
        '[model.pair]\ntask = "regression"\nmetric = "mae"\n[model.pair.serve]\noutput = "high"\n'
        '[model.shares]\ntask = "classification"\nmetric = "log_loss"\n[model.shares.serve]\noutput = 1\n'
    )
    code, _, err = server.cli("apply", cwd=folder)
    check("one is chosen", code == 0, err)
    until("both answer", lambda: ask(pair, body)[0] == ask(shares, body)[0] == 200)
    with Genuine(os.path.join(folder, "pair")) as genuine:
        ours, theirs = ask(pair, body)[1], ask(genuine.url, body)[1]
    check("values with names are records", ours["predictions"] == theirs["predictions"], f"{ours}; {theirs}")
    expected = json.loads((Path(folder) / "shares.json").read_text())
    ours = ask(shares, body)[1]
    check("values without are lists", ours["predictions"] == expected, f"{ours}; {expected}")
    tensors = [{"name": name, "datatype": "FP64", "shape": [2], "data": [row[at] for row in ROWS]} for at, name in enumerate(NAMES)]
    outputs = lambda name, **more: ask(f"{server.url}/v2/models/{name}/infer", {"inputs": tensors} | more)[1].get("outputs")  # noqa: E731
    found = outputs("pair")
    check("by V2, an output each", [one["name"] for one in found] == ["low", "high"] and found[1]["data"] == [one["high"] for one in theirs["predictions"]], found)
    found = outputs("pair", outputs=[{"name": "low"}])
    check("or those that are asked for", [one["name"] for one in found] == ["low"], found)
    found = outputs("shares")
    check("or a table", found[0]["shape"] == [2, 3] and found[0]["data"] == sum(expected, []), found)
    status, ours = ask(f"{server.url}/v2/models/pair/infer", {"inputs": tensors, "outputs": [{"name": "middle"}]})
    check("a name that no output has", status == 400 and "low, high" in ours["hint"], (status, ours))
    status, ours = ask(f"{server.url}/v2/models/pair", None)
    check("what the model gives", [one["name"] for one in ours["outputs"]] == ["low", "high"], ours)
    status, ours = ask(f"{server.url}/v2/models/shares", None)
    check("and how much", ours["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1, 3]}], ours)


def against(check, server, genuine, name):
    """One model, every shape of a request."""
    url = f"{server.url}/serve/{name}/invocations"
    until(f"{name} answers", lambda: ask(url, {"inputs": ROWS})[0] == 200)
    for shape, body in shapes(name == "named"):
        (status, ours), (expected, theirs) = ask(url, body), ask(genuine.url, body)
        same = status == expected and (status != 200 or close(ours["predictions"], theirs["predictions"]))
        check(f"{name}, {shape}", same, f"ours {status} {ours}; MLflow's {expected} {theirs}")
    if name == "named":
        table = ("temp,hr,hum\n" + "\n".join(",".join(map(str, row)) for row in ROWS)).encode()
        (status, ours), (expected, theirs) = ask(url, table, "text/csv"), ask(genuine.url, table, "text/csv")
        check("named, CSV", status == expected == 200 and close(ours["predictions"], theirs["predictions"]), f"{ours}; {theirs}")
        for what, body in WRONG.items():
            (status, ours), (expected, theirs) = ask(url, body), ask(genuine.url, body)
            told = ours.get("message") and ours.get("error_code") == theirs.get("error_code")
            check(f"wrong: {what}", 400 <= status < 500 and 400 <= expected < 500 and told, f"ours {status} {ours}; MLflow's {expected} {theirs}")
        for what, (body, mine, its, why) in MEANT.items():
            status, expected = ask(url, body)[0], ask(genuine.url, body)[0]
            check(f"meant: {what}", (status, expected) == (mine, its), f"ours {status}, MLflow's {expected}, though {why}")
        tensors = [{"name": name, "datatype": "FP64", "shape": [2], "data": [row[at] for row in ROWS]} for at, name in enumerate(NAMES)]
        status, ours = ask(f"{server.url}/v2/models/{name}/infer", {"inputs": tensors})
        theirs = ask(genuine.url, {"dataframe_split": {"columns": NAMES, "data": ROWS}})[1]
        check("the same by V2", status == 200 and close(ours["outputs"][0]["data"], theirs["predictions"]), f"{ours}; {theirs}")


def main():
    with Checks() as check, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = os.path.join(folder, "home")
        with Server(BINARY, home, "--python", PYTHON) as server:
            server.train(PYTHON, TRAIN, folder, json.dumps(ROWS))
            for name in ("named", "table"):
                with Genuine(os.path.join(folder, name)) as genuine:
                    against(check, server, genuine, name)
            several(server, folder, check)
            server.stop()


main()
