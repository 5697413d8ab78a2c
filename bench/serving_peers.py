"""Trimtab's serving beside `mlflow models serve` and MLServer: one boosted-tree model, one row a request, one after the other.

    python bench/serving_peers.py --trimtab target/release/trimtab [--seconds 5 --connections 1 8]

Needs mlflow and scikit-learn in this Python; skl2onnx and onnxruntime for the ONNX rows; mlserver and mlserver-sklearn for MLServer's (a peer
that is not there is named, not compared). Trimtab does more for each request: it looks the entity's eight features up online, fits them to
the model's signature and writes the prediction to its log before it answers; MLflow and MLServer are sent the eight numbers. CPU is that of
the server's whole process tree; so is memory, told once a server, with all its models. Trimtab's answers are compared with MLflow's. Prints
requests a second, p50, p99, and requests a CPU-second, with the ratio to MLflow's. Exits with 1 if Trimtab's ONNX answers fewer than 20
times MLflow's requests a CPU-second.
"""

import argparse
import http.client
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import house  # noqa: E402 - the path is set above

GOAL = 20
TICK = os.sysconf("SC_CLK_TCK")
NAMES = [f"f{n}" for n in range(8)]
ROW = [0.25, -1.5, 0.75, 0.0, 1.25, -0.5, 2.0, 0.1]
TRAIN = """
import mlflow, numpy as np, pandas as pd, sys
from sklearn.ensemble import GradientBoostingRegressor
rng = np.random.default_rng(0)
X = pd.DataFrame({f"f{n}": rng.normal(size=2000) for n in range(8)})
model = GradientBoostingRegressor(n_estimators=100).fit(X, 3 * X.f0 + X.f1 ** 2)
options = dict(input_example=X.head(20), serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
mlflow.sklearn.save_model(model, sys.argv[1] + "/model", **options)
import joblib
joblib.dump(GradientBoostingRegressor(n_estimators=100).fit(X.to_numpy(), 3 * X.f0 + X.f1 ** 2), sys.argv[1] + "/model.joblib")
mlflow.set_tracking_uri(sys.argv[2])
for name in ("fast", "worker", "joined"):
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, name="model", registered_model_name=name, **options)
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", 1)
"""
PROJECT = """
[project]
name = "bench"
[source.cities]
push = true
path = "cities.csv"
time = "at"
[entity.city]
key = "city_id"
[feature.now]
entity = "city"
from = "cities"
online = true
ttl = "36500d"
sql = "select city_id, at, {names} from cities"
[model.fast]
task = "regression"
metric = "mae"
[model.fast.serve]
features = ["now"]
runtime = "onnx"
[model.worker]
task = "regression"
metric = "mae"
[model.worker.serve]
features = ["now"]
runtime = "python"
[model.joined]
task = "regression"
metric = "mae"
[model.joined.serve]
features = ["now"]
runtime = "python"
batch = { rows = 32 }
"""
MODELS = {"fast": "ONNX", "worker": "Python worker", "joined": "worker, batch"}


def tree(pid):
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_s(pid):
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / TICK


def pss_mb(pid):
    total = 0
    for one in tree(pid):
        try:
            total += next(int(line.split()[1]) for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024


def load(port, path, body, seconds, connections):
    """Waits of all requests, in seconds; one connection a thread, kept open."""
    waits, wrong = [], []
    until = time.monotonic() + seconds

    def one():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        own = []
        while time.monotonic() < until:
            began = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            own.append(time.perf_counter() - began)
            if answer.status != 200:
                wrong.append((answer.status, text[:300]))
                break
        waits.extend(own)

    threads = [threading.Thread(target=one) for _ in range(connections)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong, wrong[0]
    return waits


def measure(name, pid, port, path, body, asked):
    load(port, path, body, 1, 4)
    rows = []
    for connections in asked.connections:
        before = cpu_s(pid)
        waits = sorted(load(port, path, body, asked.seconds, connections))
        used = max(cpu_s(pid) - before, 1 / TICK)
        p99 = waits[int(len(waits) * 0.99)]
        rows.append((name, connections, len(waits) / asked.seconds, statistics.median(waits) * 1000, p99 * 1000, len(waits) / used, used * 1000 / len(waits)))
    return rows


def tell_memory(name, pid):
    print(f"  {name}: {pss_mb(pid):.0f} MB", flush=True)


def ready(url, process, log):
    for _ in range(1200):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, Path(log).read_text()[-2000:]
            time.sleep(0.1)
    raise AssertionError(f"{url} gives no answer: {Path(log).read_text()[-2000:]}")


def trimtab(asked, folder):
    home = folder / "home"
    home.mkdir()
    server = house.Server(asked.trimtab, home, "--python", sys.executable)
    try:
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
        trained = subprocess.run([sys.executable, "-c", TRAIN, folder, server.url], env=environment, capture_output=True, text=True, cwd=folder)
        assert trained.returncode == 0, trained.stderr[-3000:]
        (folder / "trimtab.toml").write_text(PROJECT.replace("{names}", ", ".join(NAMES)))
        cities = "".join(f"c{n},2026-01-01T00:00:00Z,{','.join(map(str, ROW))}\n" for n in range(1000))
        (folder / "cities.csv").write_text(f"city_id,at,{','.join(NAMES)}\n{cities}")
        code, _, err = server.cli("apply", cwd=folder)
        assert code == 0, err
        rows = []
        port = int(server.url.rsplit(":", 1)[1])
        body = json.dumps({"dataframe_records": [{"city_id": "c7"}]})
        answers = {}
        log = home.parent / "server.log"
        for _ in range(900):
            if "served by its ONNX copy" in log.read_text():
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the model was not served by ONNX:\n" + log.read_text()[-1500:])
        for model, how in MODELS.items():
            for _ in range(600):
                status, answers[model] = server.ask(f"/serve/{model}/invocations", raw=body.encode())
                if status == 200:
                    break
                time.sleep(0.2)
            assert status == 200, answers[model]
            rows += measure(f"trimtab, {how}", server.process.pid, port, f"/serve/{model}/invocations", body, asked)
        tell_memory(f"trimtab, with {len(MODELS)} models", server.process.pid)
        return rows, {how: answers[model]["predictions"][0] for model, how in MODELS.items()}
    finally:
        server.stop()


def peer(command, environment, folder, url, name, port, path, body, asked):
    log = folder / f"{name}.log"
    with open(log, "w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True, cwd=folder)
    try:
        ready(url, process, log)
        rows = measure(name, process.pid, port, path, body, asked)
        tell_memory(name, process.pid)
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return rows, json.load(answer)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def mlflow(asked, folder):
    port = house.free_port()
    path = Path(sys.executable).parent
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder / "model", "-p", str(port), "--env-manager", "local", "-w", "1"]
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": [ROW]}})
    return peer(command, environment, folder, f"http://127.0.0.1:{port}/ping", "mlflow", port, "/invocations", body, asked)


def mlserver(asked, folder):
    port = house.free_port()
    (folder / "mlserver").mkdir()
    settings = {"http_port": port, "grpc_port": house.free_port(), "metrics_port": house.free_port(), "parallel_workers": 0, "host": "127.0.0.1", "debug": False}
    (folder / "mlserver/settings.json").write_text(json.dumps(settings))
    model = {"name": "gb", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(folder / "model.joblib")}}
    (folder / "mlserver/model-settings.json").write_text(json.dumps(model))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 8], "datatype": "FP64", "data": ROW}]})
    command = [asked.mlserver, "-m", "mlserver.cli.main", "start", folder / "mlserver"] if asked.mlserver else [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder / "mlserver")]
    url = f"http://127.0.0.1:{port}/v2/models/gb/ready"
    return peer(command, dict(os.environ), folder, url, "mlserver", port, "/v2/models/gb/infer", body, asked)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--trimtab", required=True)
    arguments.add_argument("--mlserver", help="a Python that has mlserver and mlserver-sklearn; without it, this one")
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    asked = arguments.parse_args()
    asked.trimtab = str(Path(asked.trimtab).resolve())
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        own, ours = trimtab(asked, folder)
        its, theirs = mlflow(asked, folder)
        rows += own + its
        expected = theirs["predictions"][0]
        assert all(math.isclose(one, expected, rel_tol=1e-5) for one in ours.values()), f"ours {ours}, MLflow's {expected}"
        python = asked.mlserver or sys.executable
        if subprocess.run([python, "-c", "import mlserver, mlserver_sklearn"], capture_output=True).returncode:
            print("mlserver and mlserver-sklearn ARE NOT THERE: MLServer is not compared")
        else:
            rows += mlserver(asked, folder)[0]
    base = {connections: per_cpu for name, connections, *_, per_cpu, _ in rows if name == "mlflow"}
    print(f"{'server':24} {'conns':>5} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms/req':>10} {'req/CPU-s':>10}   of mlflow's")
    worst = float("inf")
    for name, connections, rate, p50, p99, per_cpu, cpu in rows:
        ratio = per_cpu / base[connections]
        if name == "trimtab, ONNX":
            worst = min(worst, ratio)
        print(f"{name:24} {connections:5} {rate:9.0f} {p50:8.2f} {p99:8.2f} {cpu:10.3f} {per_cpu:10.0f}   {ratio:.1f}x")
    if worst < GOAL:
        print(f"under the goal: {worst:.1f} times MLflow's requests a CPU-second, {GOAL} are wanted")
        sys.exit(1)


main()
