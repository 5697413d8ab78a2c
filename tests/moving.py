"""Moving in and out: a genuine MLflow store is imported, seen through the genuine client, exported and collected.

    tests/moving.py TRIMTAB

With TRIMTAB_TEST_POSTGRES=postgresql://USER:PASSWORD@HOST/DB, an empty database, that kind of store is tried too; it needs psycopg.

The last line is `N passed, N failed`.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LinearRegression

from house import Genuine, Server

BINARY = os.path.abspath(sys.argv[1])
WORK = Path(tempfile.mkdtemp())


def fill(uri):
    """Runs of every kind, a deleted experiment, a registered model with a deleted version."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    client.create_experiment("alpha", artifact_location=(WORK / "files").as_uri(), tags={"team": "a"})
    mlflow.set_experiment("alpha")
    for number in range(4):
        with mlflow.start_run(run_name=f"run ü {number}") as run:
            mlflow.log_params({"lr": 0.1 * number, "depth": number})
            for step in range(20):
                mlflow.log_metric("loss", 1.0 / (step + 1) + number, step=step)
            mlflow.log_metric("nan", float("nan"))
            mlflow.log_metric("inf", float("inf"))
            mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2, number]}), name=f"d{number}"), context="training")
    client.delete_run(run.info.run_id)
    model = LinearRegression().fit(np.arange(6).reshape(3, 2), [1, 2, 3])
    for _ in range(3):
        with mlflow.start_run(run_name="model"):
            info = mlflow.sklearn.log_model(model, name="lin", registered_model_name="lin", pip_requirements=["scikit-learn"])
            mlflow.log_metric("acc", 0.5, model_id=info.model_id)
    client.set_registered_model_alias("lin", "best", 1)
    client.set_model_version_tag("lin", "2", "a", "b")
    client.delete_model_version("lin", "3")
    gone = client.create_experiment("gone")
    client.create_run(gone)
    client.delete_experiment(gone)


def picture(uri):
    """Everything that a client can see, in an order of its own."""
    client = MlflowClient(uri)
    seen = {}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        seen[f"experiment {experiment.name}"] = (experiment.experiment_id, experiment.lifecycle_stage, sorted(experiment.tags.items()))
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            info = run.info
            seen[f"run {info.run_id}"] = (info.run_name, info.status, info.start_time, info.end_time, info.lifecycle_stage, info.artifact_uri)
            tags = {key: value for key, value in run.data.tags.items()}
            seen[f"data {info.run_id}"] = (sorted(run.data.params.items()), sorted(tags.items()))
            inputs = run.inputs.dataset_inputs if run.inputs else []
            seen[f"inputs {info.run_id}"] = sorted((one.dataset.name, one.dataset.digest) for one in inputs)
            for key in run.data.metrics:
                points = client.get_metric_history(info.run_id, key)
                finite = lambda value: "nan" if math.isnan(value) else "inf" if value > 1e308 else value
                seen[f"history {info.run_id} {key}"] = [(point.timestamp, point.step, finite(point.value)) for point in points]
    for model in client.search_registered_models():
        seen[f"model {model.name}"] = sorted((alias, str(version)) for alias, version in model.aliases.items())
        for version in client.search_model_versions(f"name = '{model.name}'"):
            seen[f"version {version.version}"] = (version.source, version.run_id, sorted(version.tags.items()), version.creation_timestamp)
    return seen


def command(home, *arguments):
    done = subprocess.run([BINARY, *arguments, "--home", home, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def imported(source, expected, home):
    """Imports, twice; then the client sees what it saw."""
    first = command(home, "import", "mlflow", source)
    assert not first["refused"], first
    again = command(home, "import", "mlflow", source)
    assert not again["refused"], again
    server = Server(BINARY, home)
    try:
        seen = picture(server.url)
    finally:
        server.stop()
    for key, value in expected.items():
        if key != "experiment Default":
            assert seen.get(key) == value, f"{key}: there {value}, here {seen.get(key)}"
    assert set(seen) == set(expected), set(seen) ^ set(expected)
    return first


def a_sqlite_file_comes_along():
    first = imported(SQLITE, PICTURE, str(WORK / "home"))
    assert first["read"]["runs"] == 8 and first["read"]["points"] >= 88, first


def a_folder_comes_along():
    folder = (WORK / "store").as_uri()
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    fill(folder)
    imported(str(WORK / "store"), picture(folder), str(WORK / "folder-home"))


def a_running_server_comes_along_with_its_artifacts():
    genuine = Genuine(sys.executable, WORK)
    try:
        fill(genuine.url)
        mlflow.set_experiment("with files")
        with mlflow.start_run():
            mlflow.log_text("what was written", "a folder/ü.txt")
        first = imported(genuine.url, picture(genuine.url), str(WORK / "server-home"))
        assert first["artifacts"] > 0 and first["left"] == ["the numbers of deleted model versions: a server does not tell them"], first
    finally:
        genuine.stop()
    server = Server(BINARY, WORK / "server-home")
    try:
        run = MlflowClient(server.url).search_runs([MlflowClient(server.url).get_experiment_by_name("with files").experiment_id])[0]
        mlflow.set_tracking_uri(server.url)
        assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/a folder/ü.txt") == "what was written"
    finally:
        server.stop()


def a_postgresql_comes_along():
    """Only where one is named: it is no part of what the suite installs."""
    fill(POSTGRES)
    imported(POSTGRES, picture(POSTGRES), str(WORK / "postgres-home"))


def a_version_number_is_not_given_twice():
    server = Server(BINARY, WORK / "home")
    try:
        client = MlflowClient(server.url)
        source = client.get_model_version("lin", "1").source
        assert client.create_model_version("lin", source).version in (4, "4")
    finally:
        server.stop()


def runs_go_out_as_parquet():
    out = WORK / "out"
    command(str(WORK / "home"), "export", "--out", str(out), "--view", "all")
    runs, points = pd.read_parquet(out / "runs.parquet"), pd.read_parquet(out / "metrics.parquet")
    histories = [value for key, value in PICTURE.items() if key.startswith("history ")]
    assert len(points) == sum(len(history) for history in histories)
    assert set(runs["id"]) == {key.split()[1] for key in PICTURE if key.startswith("run ")}
    assert points["value"].isna().sum() == 4 and np.isinf(points["value"]).sum() == 4


def deleted_things_are_freed_with_their_names():
    home = str(WORK / "home")
    dry = command(home, "gc", "--dry-run")
    freed = command(home, "gc")
    assert (dry["runs"], freed["runs"], freed["experiments"]) == (2, 2, 1), (dry, freed)
    server = Server(BINARY, home)
    try:
        client = MlflowClient(server.url)
        client.create_experiment("gone")
        assert len(client.search_runs(["1"], run_view_type=ViewType.ALL)) == 6
    finally:
        server.stop()


def the_command_line_searches_and_compares():
    home = str(WORK / "home")
    found = command(home, "run", "ls", "--filter", "metrics.loss < 1.5", "--order", "metrics.loss")
    assert len(found["items"]) == 2, [run["name"] for run in found["items"]]
    ids = [run["id"] for run in found["items"]]
    rows = {row["what"]: row for row in command(home, "run", "compare", *ids)}
    assert "params.lr" in rows and "params.depth" in rows, rows
    assert any(row["what"].startswith("data ") for row in command(home, "run", "diff", *ids))


def main():
    passed = failed = 0
    for test in TESTS:
        try:
            test()
            passed += 1
            print(f"ok    {test.__name__}")
        except Exception as error:  # noqa: BLE001 - every test is told
            failed += 1
            print(f"FAIL  {test.__name__}: {error}")
    print(f"{passed} passed, {failed} failed")
    return failed


SQLITE = f"sqlite:///{WORK / 'mlflow.db'}"
TESTS = [
    a_sqlite_file_comes_along,
    a_folder_comes_along,
    a_running_server_comes_along_with_its_artifacts,
    runs_go_out_as_parquet,
    the_command_line_searches_and_compares,
    a_version_number_is_not_given_twice,
    deleted_things_are_freed_with_their_names,
]
os.chdir(WORK)
POSTGRES = os.environ.get("TRIMTAB_TEST_POSTGRES")
if POSTGRES:
    TESTS.append(a_postgresql_comes_along)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
fill(SQLITE)
PICTURE = picture(SQLITE)
sys.exit(1 if main() else 0)
