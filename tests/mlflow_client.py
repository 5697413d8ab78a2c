"""The genuine MLflow client against a tracking server: everything that a data scientist's script does, checked.

Usage: python tests/mlflow_client.py TRACKING_URI [--genuine]

Needs mlflow, scikit-learn and pandas. Runs against any server that speaks MLflow's REST API. With `--genuine` the server is
MLflow's own, and what it is known to do differently is let pass: each such place says what. Names are new in every call, so a
server may be used again.
"""

import json
import math
import os
import sys
import tempfile
import traceback
import uuid
import warnings
from pathlib import Path

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# Stages are deprecated, but still asked for by scripts.
warnings.filterwarnings("ignore", category=FutureWarning)

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

URI = sys.argv[1]
GENUINE = "--genuine" in sys.argv
TAG = uuid.uuid4().hex[:8]
mlflow.set_tracking_uri(URI)
client = MlflowClient(URI)
CHECKS = []


def check(function):
    """Registers a part; parts run in order, each on its own."""
    CHECKS.append(function)
    return function


def refused(code, call, *args, **kwargs):
    """The call is refused with MLflow's error code; gives the message."""
    try:
        call(*args, **kwargs)
    except MlflowException as error:
        assert error.error_code == code, f"{error.error_code} instead of {code}: {error}"
        return str(error)
    raise AssertionError(f"not refused: {call.__name__}{args}")


def rows(n=80):
    random = np.random.default_rng(0)
    x = pd.DataFrame({"temp": random.normal(size=n), "hr": random.integers(0, 24, n).astype(float)})
    return x, 3 * x["temp"] + 0.1 * x["hr"]


@check
def experiments():
    name = f"exp ünïcode {TAG}"
    created = mlflow.set_experiment(name)
    assert mlflow.set_experiment(name).experiment_id == created.experiment_id
    assert client.get_experiment("0").name == "Default"
    assert client.get_experiment_by_name(f"none {TAG}") is None
    refused("RESOURCE_ALREADY_EXISTS", client.create_experiment, name)
    refused("RESOURCE_DOES_NOT_EXIST", client.get_experiment, "987654321")
    client.set_experiment_tag(created.experiment_id, "team", "blau")
    assert client.get_experiment(created.experiment_id).tags["team"] == "blau"
    other = client.create_experiment(f"other {TAG}", tags={"team": "rot", "n": "1"})
    found = client.search_experiments(filter_string=f"tags.team = 'rot' and name LIKE '%{TAG}'")
    assert [e.experiment_id for e in found] == [other]
    run = client.create_run(other)
    client.delete_experiment(other)
    assert client.get_experiment(other).lifecycle_stage == "deleted"
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted", "runs go with their experiment"
    assert other not in [e.experiment_id for e in client.search_experiments()]
    assert other in [e.experiment_id for e in client.search_experiments(view_type=ViewType.DELETED_ONLY)]
    refused("RESOURCE_ALREADY_EXISTS", client.create_experiment, f"other {TAG}")
    client.restore_experiment(other)
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"
    client.rename_experiment(other, f"renamed {TAG}")
    assert client.get_experiment(other).name == f"renamed {TAG}"


@check
def a_run_and_what_is_logged():
    mlflow.set_experiment(f"runs {TAG}")
    with mlflow.start_run(run_name="eins", tags={"given": "yes"}) as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"depth": 3, "größe": "weiß", "a/b c": "x"})
        mlflow.log_metric("mae", 0.5, step=0)
        mlflow.log_metric("mae", 0.25, step=1)
        mlflow.log_metrics({"nan": float("nan"), "inf": float("inf"), "minus": float("-inf"), "tiny": 5e-324}, step=-3)
        mlflow.set_tag("note", "日本 ✓")
        mlflow.set_tags({"k1": "v1", "k2": 2})
        with mlflow.start_run(nested=True, run_name="child") as child:
            mlflow.log_metric("inner", 1)
    read = client.get_run(run.info.run_id)
    assert read.info.status == "FINISHED" and read.info.end_time >= read.info.start_time
    assert read.info.run_name == "eins" and read.data.tags["mlflow.runName"] == "eins"
    assert read.data.params == {"lr": "0.1", "depth": "3", "größe": "weiß", "a/b c": "x"}
    assert read.data.metrics["mae"] == 0.25 and math.isnan(read.data.metrics["nan"]) and read.data.metrics["tiny"] == 5e-324
    assert read.data.metrics["inf"] >= 1.7e308 and read.data.metrics["minus"] <= -1.7e308
    assert read.data.tags["note"] == "日本 ✓" and read.data.tags["k2"] == "2" and read.data.tags["given"] == "yes"
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id
    assert client.get_parent_run(child.info.run_id).info.run_id == run.info.run_id
    history = client.get_metric_history(run.info.run_id, "mae")
    assert [(m.step, m.value) for m in history] == [(0, 0.5), (1, 0.25)]
    assert client.get_metric_history(run.info.run_id, "none") == []
    client.delete_tag(run.info.run_id, "k1")
    assert "k1" not in client.get_run(run.info.run_id).data.tags
    refused("RESOURCE_DOES_NOT_EXIST", client.delete_tag, run.info.run_id, "k1")
    client.update_run(run.info.run_id, name="zwei")
    assert client.get_run(run.info.run_id).data.tags["mlflow.runName"] == "zwei"
    client.set_tag(run.info.run_id, "mlflow.runName", "drei")
    assert client.get_run(run.info.run_id).info.run_name == "drei"
    nameless = client.create_run(run.info.experiment_id)
    assert nameless.info.run_name and nameless.info.run_name == nameless.data.tags["mlflow.runName"]
    client.set_terminated(nameless.info.run_id, "FAILED")
    assert client.get_run(nameless.info.run_id).info.status == "FAILED"


@check
def tags_from_the_environment():
    """How a pipeline's steps say which pipeline run they belong to, without knowing it."""
    os.environ["MLFLOW_RUN_CONTEXT"] = json.dumps({"trimtab.pipeline_run": "p-1"})
    os.environ["MLFLOW_EXPERIMENT_NAME"] = f"env {TAG}"
    try:
        with mlflow.start_run() as run:
            pass
    finally:
        del os.environ["MLFLOW_RUN_CONTEXT"], os.environ["MLFLOW_EXPERIMENT_NAME"]
    assert client.get_run(run.info.run_id).data.tags["trimtab.pipeline_run"] == "p-1"


@check
def batches_and_their_limits():
    experiment = client.create_experiment(f"batches {TAG}")
    run = client.create_run(experiment).info.run_id
    points = [Metric("m", i / 7, 1_700_000_000_000 + i, i) for i in range(1000)]
    for _ in range(2):
        client.log_batch(run, metrics=points)
    history = client.get_metric_history(run, "m")
    assert len(history) == 1000 and [m.value for m in history] == [m.value for m in points], "repeats are dropped"
    refused("INVALID_PARAMETER_VALUE", client._tracking_client.store.log_batch, run, points + points[:1], [], [])
    client.log_batch(run, params=[Param("p", "1")], tags=[RunTag("t", "1")], metrics=[Metric("x", 1.0, 1, 0)])
    message = refused("INVALID_PARAMETER_VALUE", client.log_batch, run, [], [Param("new", "1"), Param("p", "2")])
    assert "p" in message
    assert "new" not in client.get_run(run).data.params, "a refused batch stores nothing"
    client.log_param(run, "p", "1")
    refused("INVALID_PARAMETER_VALUE", client.log_param, run, "p", "other")
    refused("INVALID_PARAMETER_VALUE", client.log_batch, run, [], [Param("d", "1"), Param("d", "1")])
    refused("INVALID_PARAMETER_VALUE", client._tracking_client.store.log_param, run, Param("../x", "1"))
    client._tracking_client.store.log_param(run, Param("long", "x" * 7000))
    assert len(client.get_run(run).data.params["long"]) == 6000


@check
def deleted_runs():
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    refused("INVALID_PARAMETER_VALUE", client.log_metric, run, "m", 1.0)
    refused("INVALID_PARAMETER_VALUE", client.set_tag, run, "t", "1")
    client.restore_run(run)
    client.log_metric(run, "m", 1.0)
    refused("RESOURCE_DOES_NOT_EXIST", client.get_run, "0" * 32)
    refused("RESOURCE_DOES_NOT_EXIST", client.log_metric, "0" * 32, "m", 1.0)


@check
def searches_over_runs():
    experiment = client.create_experiment(f"search {TAG}")
    runs = []
    for n in range(5):
        run = client.create_run(experiment, run_name=f"r{n}", start_time=1_700_000_000_000 + n).info.run_id
        client.log_batch(run, [Metric("mae", float(n), 1, 0)] if n != 3 else [], [Param("kind", "even" if n % 2 == 0 else "Odd")], [RunTag("n", str(n))])
        runs.append(run)
    client.log_metric(runs[4], "mae", float("nan"), step=1)
    client.set_terminated(runs[0])

    def found(text, **kwargs):
        return [runs.index(r.info.run_id) for r in client.search_runs([experiment], text, **kwargs)]

    assert found("") == [4, 3, 2, 1, 0], "newest first"
    assert found("metrics.mae < 2") == [1, 0]
    assert found("metrics.mae >= 1 and params.kind = 'Odd'") == [1]
    assert found("params.kind ILIKE 'ODD'") == [3, 1] and found("params.kind LIKE 'ODD'") == []
    assert found("tags.n != '1'") == [4, 3, 2, 0]
    assert found("attributes.status = 'FINISHED'") == [0]
    assert found("run_name LIKE 'r%' and start_time > 1700000000002") == [4, 3]
    assert found(f"attribute.run_id IN ('{runs[1]}', '{runs[2]}')") == [2, 1]
    assert found("params.none IS NULL and tags.n IS NOT NULL") == [4, 3, 2, 1, 0]
    assert found("", order_by=["metrics.mae ASC"])[:3] == [0, 1, 2]
    assert found("", order_by=["metrics.mae DESC"]) == [2, 1, 0, 4, 3], "NaN after numbers, missing last"
    assert found("", order_by=["params.kind DESC", "tags.n ASC"]) == [0, 2, 4, 1, 3]
    first = client.search_runs([experiment], max_results=2)
    second = client.search_runs([experiment], max_results=2, page_token=first.token)
    third = client.search_runs([experiment], max_results=2, page_token=second.token)
    assert [runs.index(r.info.run_id) for page in (first, second, third) for r in page] == [4, 3, 2, 1, 0] and not third.token
    client.delete_run(runs[2])
    assert 2 not in found("") and found("", run_view_type=ViewType.DELETED_ONLY) == [2]
    for bad in ("metrics.mae < 'x'", "banana = 'x'", "metrics.mae", "params.kind = 1", "metrics.a > 1 OR metrics.b > 1"):
        refused("INVALID_PARAMETER_VALUE", client.search_runs, [experiment], bad)
    frame = mlflow.search_runs([experiment], "metrics.mae < 2")
    assert list(frame["metrics.mae"]) == [1.0, 0.0] and "params.kind" in frame


@check
def artifacts():
    run = client.create_run("0").info.run_id
    client.log_text(run, "hallo ß", "notes/größe 日本.txt")
    client.log_dict(run, {"a": 1}, "conf.json")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sub").mkdir()
        (Path(folder) / "empty").write_bytes(b"")
        big = os.urandom(17 << 20)
        (Path(folder) / "sub" / "big.bin").write_bytes(big)
        client.log_artifacts(run, folder, "all")
        assert {(f.path, f.is_dir) for f in client.list_artifacts(run)} == {("all", True), ("conf.json", False), ("notes", True)}
        # MLflow gives no size for an empty file.
        sizes = {(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run, "all")}
        assert sizes == {("all/empty", False, None if GENUINE else 0), ("all/sub", True, None)}
        back = client.download_artifacts(run, "all", folder)
        assert (Path(back) / "sub" / "big.bin").read_bytes() == big and (Path(back) / "empty").read_bytes() == b""
    assert mlflow.artifacts.load_text(f"runs:/{run}/notes/größe 日本.txt") == "hallo ß"
    assert client.list_artifacts(run, "none") == []
    client.log_text(run, "neu", "conf.json")
    assert mlflow.artifacts.load_text(f"runs:/{run}/conf.json") == "neu", "a second put replaces"


@check
def artifacts_in_parts():
    """Large files go up and come down in parts, several at once; MLflow's own server can do so only where a cloud keeps its files."""
    sizes = {"MINIMUM_FILE_SIZE": 6 << 20, "CHUNK_SIZE": 5 << 20}
    settings = {f"MLFLOW_MULTIPART_{way}_{name}": str(size) for way in ("UPLOAD", "DOWNLOAD") for name, size in sizes.items()}
    settings |= {f"MLFLOW_ENABLE_PROXY_MULTIPART_{way}": "true" for way in ("UPLOAD", "DOWNLOAD")}
    os.environ.update(settings)
    try:
        run = client.create_run("0").info.run_id
        content = np.random.default_rng(0).bytes((17 << 20) + 13)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "large öl.bin")
            path.write_bytes(content)
            client.log_artifact(run, str(path), "deep")
            found = {file.path: file.file_size for file in client.list_artifacts(run, "deep")}
            assert found == {"deep/large öl.bin": len(content)}, found
            assert Path(client.download_artifacts(run, "deep/large öl.bin", folder)).read_bytes() == content
        if not GENUINE:
            left = requests.get(f"{URI}/api/2.0/mlflow-artifacts/artifacts", params={"path": "uploads"}, timeout=30).json()
            assert not left.get("files"), left
    finally:
        for name in settings:
            del os.environ[name]


@check
def datasets():
    experiment = client.create_experiment(f"datasets {TAG}")
    run = client.create_run(experiment).info.run_id
    x, _ = rows()
    data = mlflow.data.from_pandas(x, source="s3://bucket/rides.parquet", name="rides")
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run(run_id=run):
        mlflow.log_input(data, context="training")
    plain = DatasetInput(Dataset("plain", "d1", "local", "{}"), [InputTag("mlflow.data.context", "eval")])
    for _ in range(2):
        client.log_inputs(run, [plain])
    inputs = client.get_run(run).inputs.dataset_inputs
    assert sorted(i.dataset.name for i in inputs) == ["plain", "rides"]
    assert [i.tags[0].value for i in inputs if i.dataset.name == "rides"] == ["training"]
    assert len(client.search_runs([experiment], "datasets.context = 'eval'")) == 1
    assert len(client.search_runs([experiment], "datasets.name = 'plain' and datasets.digest = 'd1'")) == 1
    assert len(client.search_runs([experiment], "datasets.name = 'none'")) == 0


@check
def autolog_and_the_registry():
    name = f"demand-{TAG}"
    mlflow.set_experiment(f"models {TAG}")
    x, y = rows()
    mlflow.sklearn.autolog(log_models=True, registered_model_name=None, silent=True)
    with mlflow.start_run() as run:
        model = LinearRegression().fit(x, y)
        model.score(x, y)
    mlflow.sklearn.autolog(disable=True)
    read = client.get_run(run.info.run_id)
    assert read.data.params["fit_intercept"] == "True" and "training_mean_absolute_error" in read.data.metrics
    assert len(read.outputs.model_outputs) == 1 and len(read.inputs.dataset_inputs) >= 1
    logged = mlflow.get_logged_model(read.outputs.model_outputs[0].model_id)
    assert logged.status.name == "READY"
    assert any(m.key == "training_mean_absolute_error" for m in logged.metrics), "metrics are linked to the model"

    with mlflow.start_run() as run:
        boosted = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(x, y)
        mlflow.log_metric("mae", 1.5)
        info = mlflow.sklearn.log_model(
            boosted, name="model", registered_model_name=name, serialization_format="cloudpickle",
            input_example=x.head(2), pip_requirements=["scikit-learn"],
        )
    assert str(info.registered_model_version) == "1"
    version = client.get_model_version(name, "1")
    assert version.status == "READY" and version.run_id == run.info.run_id and version.source.startswith("models:/m-"), version
    mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    client.set_registered_model_alias(name, "champion", "1")
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert np.allclose(loaded.predict(x), boosted.predict(x))
    assert np.allclose(mlflow.sklearn.load_model(f"models:/{name}/2").predict(x), boosted.predict(x))
    assert np.allclose(mlflow.pyfunc.load_model(info.model_uri).predict(x), boosted.predict(x))
    assert np.allclose(mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").predict(x), boosted.predict(x))
    client.set_registered_model_alias(name, "champion", "2")
    assert str(client.get_model_version_by_alias(name, "champion").version) == "2"


@check
def the_registry_in_detail():
    name = f"registry-{TAG}"
    client.create_registered_model(name, tags={"a": "1"}, description="what it is")
    refused("RESOURCE_ALREADY_EXISTS", client.create_registered_model, name)
    refused("INVALID_PARAMETER_VALUE", client.create_registered_model, "a/b:c")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_registered_model, f"none-{TAG}")
    run = client.create_run("0")
    client.log_text(run.info.run_id, "x", "model/MLmodel")
    source = f"{run.info.artifact_uri}/model"
    for n in range(3):
        version = client.create_model_version(name, source, run.info.run_id, tags={"n": str(n)}, description=f"v{n}")
        assert str(version.version) == str(n + 1)
    client.delete_model_version(name, "3")
    assert str(client.create_model_version(name, source, run.info.run_id).version) == "4", "numbers are not given again"
    refused("RESOURCE_DOES_NOT_EXIST", client.get_model_version, name, "3")
    refused("INVALID_PARAMETER_VALUE", client.get_model_version, name, "x")
    assert client.get_model_version_download_uri(name, "1") == source
    found = client.search_model_versions(f"name = '{name}'")
    assert sorted(int(v.version) for v in found) == [1, 2, 4]
    assert len(client.search_model_versions(f"run_id = '{run.info.run_id}' and tags.n = '1'")) == 1
    assert [int(v.version) for v in client.search_model_versions(f"name = '{name}'", order_by=["version_number ASC"])] == [1, 2, 4]
    assert [int(v.version) for v in client.get_latest_versions(name)] == [4]
    client.transition_model_version_stage(name, "1", "production")
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    assert {v.current_stage: int(v.version) for v in client.get_latest_versions(name)} == {"Archived": 1, "Production": 2, "None": 4}
    client.update_model_version(name, "1", "better words")
    client.set_model_version_tag(name, "1", "seen", "yes")
    client.delete_model_version_tag(name, "1", "n")
    version = client.get_model_version(name, "1")
    assert version.description == "better words" and version.tags == {"seen": "yes"}
    client.set_registered_model_alias(name, "best", "1")
    client.set_registered_model_alias(name, "best", "2")
    refused("INVALID_PARAMETER_VALUE", client.set_registered_model_alias, name, "v1", "1")
    refused("INVALID_PARAMETER_VALUE", client.get_model_version_by_alias, name, "none")
    refused("RESOURCE_DOES_NOT_EXIST", client.set_registered_model_alias, name, "best", "9")
    assert client.get_model_version(name, "2").aliases == ["best"] and client.get_registered_model(name).aliases == {"best": "2"}
    client.delete_registered_model_alias(name, "best")
    assert client.get_registered_model(name).aliases == {}
    client.set_registered_model_tag(name, "b", "2")
    client.delete_registered_model_tag(name, "a")
    client.update_registered_model(name, "other words")
    model = client.get_registered_model(name)
    assert model.tags == {"b": "2"} and model.description == "other words" and len(model.latest_versions) == 3
    assert [m.name for m in client.search_registered_models(f"name = '{name}'")] == [name]
    assert name in [m.name for m in client.search_registered_models("tags.b = '2'")]
    client.rename_registered_model(name, f"{name}-new")
    assert str(client.get_model_version(f"{name}-new", "2").version) == "2"
    client.delete_registered_model(f"{name}-new")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_registered_model, f"{name}-new")


@check
def logged_models():
    experiment = client.create_experiment(f"logged {TAG}")
    run = client.create_run(experiment).info.run_id
    models = [client.create_logged_model(experiment, name=f"m{n}", source_run_id=run, tags={"n": str(n)}, params={"p": str(n)}, model_type="agent") for n in range(3)]
    for n, model in enumerate(models):
        client.log_metric(run, "score", float(n), model_id=model.model_id)
        client.finalize_logged_model(model.model_id, "READY" if n else "FAILED")
    assert client.get_logged_model(models[0].model_id).status.name == "FAILED"
    assert [m.value for m in client.get_logged_model(models[2].model_id).metrics] == [2.0]
    client.set_logged_model_tags(models[1].model_id, {"extra": "x"})
    client.delete_logged_model_tag(models[1].model_id, "n")
    assert client.get_logged_model(models[1].model_id).tags["extra"] == "x" and "n" not in client.get_logged_model(models[1].model_id).tags

    def found(text=None, **kwargs):
        return [m.name for m in client.search_logged_models([experiment], filter_string=text, **kwargs)]

    assert sorted(found()) == ["m0", "m1", "m2"]
    assert sorted(found("metrics.score >= 1")) == ["m1", "m2"]
    # MLflow compares the status with the number that it stores: 'READY' finds nothing there.
    assert GENUINE or found("params.p = '2' and status = 'READY'") == ["m2"]
    assert found(order_by=[{"field_name": "metrics.score", "ascending": False}]) == ["m2", "m1", "m0"]
    refused("INVALID_PARAMETER_VALUE", client.create_logged_model, experiment, name="a/b")
    client.delete_logged_model(models[0].model_id)
    assert sorted(found()) == ["m1", "m2"]
    refused("RESOURCE_DOES_NOT_EXIST", client.get_logged_model, "m-" + "0" * 32)


@check
def nested_runs_and_a_frame():
    experiment = mlflow.set_experiment(f"sweep {TAG}")
    with mlflow.start_run(run_name="parent") as parent:
        for depth in range(3):
            with mlflow.start_run(run_name=f"child {depth}", nested=True):
                mlflow.log_param("depth", depth)
                mlflow.log_metric("mae", 3.0 - depth)
    frame = mlflow.search_runs(
        [experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'", order_by=["metrics.mae ASC"]
    )
    assert list(frame["tags.mlflow.runName"]) == ["child 2", "child 1", "child 0"]
    assert list(frame["params.depth"]) == ["2", "1", "0"] and frame["metrics.mae"].dtype == float
    assert pd.api.types.is_datetime64_any_dtype(frame["start_time"]) and (frame["status"] == "FINISHED").all()
    everything = mlflow.search_runs(experiment_names=[f"sweep {TAG}"], max_results=2, output_format="list")
    assert len(everything) == 2
    assert len(mlflow.search_runs([experiment.experiment_id], max_results=100000)) == 4
    by_pages, token = [], None
    while True:
        page = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"], max_results=3, page_token=token)
        by_pages += [run.info.run_name for run in page]
        token = page.token
        if not token:
            break
    assert by_pages == ["parent", "child 0", "child 1", "child 2"]


@check
def async_logging():
    mlflow.set_experiment(f"async {TAG}")
    with mlflow.start_run() as run:
        waiting = [mlflow.log_metric("loss", 1.0 / (n + 1), step=n, synchronous=False) for n in range(300)]
        waiting.append(mlflow.log_params({f"p{n}": n for n in range(50)}, synchronous=False))
        waiting.append(mlflow.set_tag("async", "yes", synchronous=False))
        for one in waiting:
            one.wait()
    read = client.get_run(run.info.run_id)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 300 and read.data.metrics["loss"] == 1.0 / 300
    assert len([key for key in read.data.params if key.startswith("p")]) == 50 and read.data.tags["async"] == "yes"


@check
def lightgbm_autolog():
    import lightgbm
    import mlflow.lightgbm

    mlflow.set_experiment(f"lightgbm {TAG}")
    x, y = rows(200)
    mlflow.lightgbm.autolog(silent=True)
    with mlflow.start_run() as run:
        train, test = lightgbm.Dataset(x[:150], y[:150]), lightgbm.Dataset(x[150:], y[150:])
        booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_leaves": 7}, train, 10, valid_sets=[test], valid_names=["test"])
    mlflow.lightgbm.autolog(disable=True)
    read = client.get_run(run.info.run_id)
    assert read.data.params["num_leaves"] == "7" and "test-l2" in read.data.metrics
    assert len(client.get_metric_history(run.info.run_id, "test-l2")) == 10
    assert any(f.path.startswith("feature_importance") for f in client.list_artifacts(run.info.run_id))
    model = mlflow.lightgbm.load_model(f"models:/{read.outputs.model_outputs[0].model_id}")
    assert np.allclose(model.predict(x), booster.predict(x))


@check
def pyfunc_models():
    class Twice(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input["temp"] * 2

    name = f"twice-{TAG}"
    mlflow.set_experiment(f"pyfunc {TAG}")
    x, _ = rows(5)
    with mlflow.start_run() as run:
        info = mlflow.pyfunc.log_model(
            name="model", python_model=Twice(), input_example=x, pip_requirements=["pandas"], registered_model_name=name, metadata={"team": "red"}
        )
    assert np.allclose(mlflow.pyfunc.load_model(f"models:/{name}/1").predict(x), x["temp"] * 2)
    assert np.allclose(mlflow.pyfunc.load_model(info.model_uri).predict(x), x["temp"] * 2)
    read = mlflow.models.get_model_info(f"models:/{name}/1")
    assert read.signature.inputs.input_names() == ["temp", "hr"] and read.metadata == {"team": "red"}
    folder = mlflow.artifacts.download_artifacts(f"models:/{name}/latest")
    assert (Path(folder) / "MLmodel").exists() and (Path(folder) / "python_model.pkl").exists()
    # Evaluations of another run land on the model too.
    with mlflow.start_run(run_name="evaluation") as evaluation:
        mlflow.log_metric("mae", 0.5, model_id=info.model_id, dataset=mlflow.data.from_pandas(x, name="holdout"))
    logged = mlflow.get_logged_model(info.model_id)
    assert [(m.key, m.value, m.run_id, m.dataset_name) for m in logged.metrics] == [("mae", 0.5, evaluation.info.run_id, "holdout")]
    assert logged.source_run_id == run.info.run_id
    found = mlflow.search_logged_models(
        [run.info.experiment_id], "metrics.mae < 1 AND name = 'model'", datasets=[{"dataset_name": "holdout"}], output_format="list",
        order_by=[{"field_name": "metrics.mae", "ascending": True, "dataset_name": "holdout"}],
    )
    # MLflow finds no dataset by its name alone.
    assert GENUINE or [m.model_id for m in found] == [info.model_id]
    frame = mlflow.search_logged_models([run.info.experiment_id])
    assert list(frame["model_id"]) == [info.model_id] and str(frame["status"][0]).endswith("READY")


@check
def prompts_apart_from_models():
    name = f"greet-{TAG}"
    text = "Hello {{name}}! " + "long " * 3000
    first = mlflow.genai.register_prompt(name=name, template=text, commit_message="first", tags={"lang": "en"})
    second = mlflow.genai.register_prompt(name=name, template="Hi {{name}}", commit_message="second")
    assert (int(first.version), int(second.version)) == (1, 2)
    mlflow.genai.set_prompt_alias(name, alias="prod", version=1)
    assert mlflow.genai.load_prompt(f"prompts:/{name}@prod").template == text, "a long prompt stays whole"
    assert mlflow.genai.load_prompt(f"prompts:/{name}/2").format(name="Ada") == "Hi Ada"
    assert name not in [m.name for m in client.search_registered_models(max_results=1000)]
    assert [p.name for p in mlflow.genai.search_prompts(f"name = '{name}'")] == [name]
    assert client.search_model_versions(f"name = '{name}'") == []
    mlflow.genai.delete_prompt_alias(name, alias="prod")
    assert mlflow.genai.load_prompt(f"prompts:/{name}@prod", allow_missing=True) is None


@check
def evaluation_datasets():
    from mlflow.genai import datasets as evaluation

    experiment = client.create_experiment(f"evaluation {TAG}")
    made = evaluation.create_dataset(name=f"qa {TAG}", experiment_id=[experiment], tags={"team": "red"})
    made.merge_records([{"inputs": {"q": f"question {n}"}, "expectations": {"a": n}} for n in range(5)])
    made.merge_records([{"inputs": {"q": "question 1"}, "expectations": {"b": True}}])
    read = evaluation.get_dataset(dataset_id=made.dataset_id)
    frame = read.to_df()
    assert len(frame) == 5 and read.experiment_ids == [experiment]
    merged = [e for q, e in zip(frame["inputs"], frame["expectations"]) if q == {"q": "question 1"}]
    assert merged == [{"a": 1, "b": True}]
    assert [d.dataset_id for d in evaluation.search_datasets(filter_string=f"name = 'qa {TAG}'")] == [made.dataset_id]
    evaluation.set_dataset_tags(dataset_id=made.dataset_id, tags={"team": "blue"})
    assert evaluation.get_dataset(dataset_id=made.dataset_id).tags["team"] == "blue"
    evaluation.delete_dataset(dataset_id=made.dataset_id)
    refused("RESOURCE_DOES_NOT_EXIST", client.get_dataset, made.dataset_id)


@check
def what_is_deleted_comes_back():
    experiment = client.create_experiment(f"bin {TAG}")
    run = client.create_run(experiment, run_name="gone").info.run_id
    client.log_metric(run, "m", 1.5)
    client.log_text(run, "kept", "notes/a.txt")
    client.log_text(run, "kept too", "notes/deep/b.txt")
    client.delete_run(run)
    refused("INVALID_PARAMETER_VALUE", client.log_metric, run, "m", 2)
    assert len(client.search_runs([experiment])) == 0 and len(client.search_runs([experiment], run_view_type=ViewType.ALL)) == 1
    client.restore_run(run)
    assert client.get_run(run).data.metrics == {"m": 1.5}
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path="notes"))
    assert (folder / "a.txt").read_text() == "kept" and (folder / "deep" / "b.txt").read_text() == "kept too"
    assert len(mlflow.artifacts.list_artifacts(run_id=run, artifact_path="notes")) == 2
    # Several writers of a first tag at once: each is heard, none is refused.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: MlflowClient(URI).set_tag(run, "first", str(n)), range(1 if GENUINE else 16)))
    assert "first" in client.get_run(run).data.tags


@check
def traces_are_for_a_newer_server():
    """The client meets no trace API, and its script goes on."""
    if GENUINE:
        return
    mlflow.set_experiment(f"traces {TAG}")

    @mlflow.trace
    def answer(question):
        return question.upper()

    assert answer("hallo") == "HALLO"
    for path in ("3.0/mlflow/traces/x", "2.0/mlflow/traces/x/info", "3.0/mlflow/scorers/list", "2.0/mlflow/users/current"):
        told = requests.get(f"{URI}/api/{path}", timeout=30)
        assert (told.status_code, told.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND"), path
    assert requests.post(f"{URI}/v1/traces", data=b"x", timeout=30).status_code == 404


@check
def raw_requests():
    """What only a broken or hostile client sends."""
    api = f"{URI}/api/2.0/mlflow"

    def code(method, path, **kwargs):
        answer = requests.request(method, path if path.startswith("http") else f"{api}/{path}", timeout=30, **kwargs)
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.status_code, answer.json().get("error_code") if is_json else None

    bad = (400, "INVALID_PARAMETER_VALUE")
    # MLflow answers an unknown route with a page, and lists where messages should be with 500.
    assert code("GET", "no/such/route") == (404, None if GENUINE else "ENDPOINT_NOT_FOUND")
    assert GENUINE or code("POST", "experiments/create", json=[1]) == bad
    assert GENUINE or code("POST", "runs/log-batch", json={"run_id": "r", "metrics": [1, 2]}) == bad
    assert code("GET", "runs/get") == bad
    assert code("GET", "runs/get", params={"run_id": "none"}) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert code("POST", "experiments/create", json={"name": 5}) == bad
    assert code("POST", "experiments/create", data="{not json", headers={"Content-Type": "application/json"})[0] == 400
    assert code("POST", "experiments/create", data="name=x", headers={"Content-Type": "text/plain"})[0] == 400
    run = client.create_run("0").info.run_id
    assert code("POST", "runs/log-metric", json={"run_id": run, "key": "m", "value": "abc", "timestamp": 1}) == bad
    assert code("POST", "runs/log-metric", json={"run_id": run, "key": "m", "value": "NaN", "timestamp": "1"}) == (200, None)
    assert code("POST", "runs/log-metric", json={"run_uuid": run, "key": "m", "value": 1, "timestamp": 1, "unknown": 1}) == (200, None)
    assert code("POST", "runs/log-batch", json={"run_id": run, "metrics": [{"key": "m", "value": 1}]}) == bad
    assert code("POST", "runs/search", json={"experiment_ids": ["0"], "max_results": 0})[0] == 400
    for path in ("..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "%252e%252e/x", "a%23b"):
        status, _ = code("GET", f"{URI}/api/2.0/mlflow-artifacts/artifacts/{path}")
        assert status == 400, (path, status)
    assert code("GET", f"{URI}/api/2.0/mlflow-artifacts/artifacts", params={"path": "../.."})[0] == 400
    # MLflow answers 500 where a folder or an artifact is in the way.
    client.log_text(run, "x", "folder/file")
    for path in ("folder", "folder/file/below"):
        status, _ = code("PUT", f"{URI}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{path}", data=b"x")
        assert GENUINE or status == 400, (path, status)
    assert requests.get(f"{URI}/health", timeout=30).text == "OK"
    assert requests.get(f"{URI}/version", timeout=30).text.startswith("3.")


def main():
    failed = []
    for part in CHECKS:
        try:
            part()
            print(f"ok    {part.__name__}", flush=True)
        except Exception as error:
            failed.append(part.__name__)
            where = traceback.extract_tb(error.__traceback__)
            line = next(frame for frame in reversed(where) if frame.filename == __file__)
            print(f"FAIL  {part.__name__}, line {line.lineno}: {line.line}\n      {type(error).__name__}: {str(error)[:600]}", flush=True)
    print(f"{len(CHECKS) - len(failed)} of {len(CHECKS)} parts passed")
    sys.exit(1 if failed else 0)


main()
