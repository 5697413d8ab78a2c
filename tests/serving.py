"""Serving under load, as callers meet it: a swap, killed workers, deadlines, full queues, params, limits.

    tests/serving.py TRIMTAB PYTHON

PYTHON has what python/requirements-test.txt lists. Real workers, real kills. The last line is `N passed, N failed`.
"""

import collections
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from house import LIMIT_S, Checks, Server, below, came

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
PROJECT = """
[project]
name   = "serving"
python = "PYTHON"

[model.paced]
task   = "regression"
metric = "mae"

[model.paced.serve]
deadline = "2s"
runtime  = "python"
"""
# Answers `x * times` and a hundred a version; waits as long as a row says, ends its process when a row says so, and tells its number. Where
# `size` says so, it adds the rows of its call, as so many parts of that.
TRAIN = """
import mlflow, os, time
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema
import mlflow.pyfunc

class Paced(mlflow.pyfunc.PythonModel):
    def __init__(self, base):
        self.base = base
    def predict(self, context, model_input, params=None):
        import os, time
        if (model_input["x"] == -999).any():
            os._exit(7)
        if (model_input["x"] == -1000).all():
            return model_input["x"].to_numpy() * 0.0 + os.getpid()
        time.sleep(float(model_input["wait"].max()))
        params = params or {}
        size = params.get("size", 0.0)
        return (model_input["x"] * params.get("times", 1.0) + self.base + (len(model_input) / size if size else 0.0)).to_numpy()

columns = Schema([ColSpec("double", "x"), ColSpec("double", "wait")])
signature = ModelSignature(columns, Schema([ColSpec("double")]), ParamSchema([ParamSpec("times", "double", 1.0), ParamSpec("size", "double", 0.0)]))
for base in (100.0, 200.0):
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Paced(base), signature=signature, registered_model_name="paced", pip_requirements=["mlflow"])
mlflow.MlflowClient().set_registered_model_alias("paced", "champion", 1)
"""

check = Checks()


def send(url, x=1.0, wait=0.0, raw=None, path="/serve/paced/invocations", **more):
    """Status, JSON, headers, seconds."""
    body = raw if raw is not None else json.dumps({"dataframe_records": [{"x": x, "wait": wait}], **more}).encode()
    request = urllib.request.Request(url + path, body, {"content-type": "application/json"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            status, text, headers = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, text, headers = error.code, error.read(), error.headers
    return status, json.loads(text), headers, time.monotonic() - began


class Load:
    """Callers that send one request after another until they are told to end; keeps every answer."""

    def __init__(self, url, callers, wait=0.002):
        self.answers, self.over, self.url, self.wait = [], threading.Event(), url, wait
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(callers)]
        for thread in self.threads:
            thread.start()

    def run(self, caller):
        sent = 0
        while not self.over.is_set():
            x = float(caller * 100_000 + sent)
            try:
                status, answer, headers, took = send(self.url, x=x, wait=self.wait)
            except OSError as error:
                status, answer, headers, took = 0, {"message": repr(error)}, {}, 0.0
            self.answers.append((time.monotonic(), x, status, answer, headers, took))
            sent += 1
            if status != 200:
                time.sleep(0.02)

    def more(self, count):
        """Waits for so many answers more."""
        wanted = len(self.answers) + count
        check(f"{count} answers more", came(lambda: len(self.answers) >= wanted), len(self.answers))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self.answers


def version_of(url):
    status, answer, _, _ = send(url)
    return answer["model_version"] if status == 200 else None


def answering(server):
    """The process that answers."""
    status, answer, _, _ = send(server.url, x=-1000)
    return int(answer["predictions"][0]) if status == 200 else None


def champion(server, number):
    path = "/api/2.0/mlflow/registered-models/alias"
    status, answer = server.ask(path, {"name": "paced", "alias": "champion", "version": str(number)})
    assert status == 200, answer


def workers(server):
    """The processes below the server that run a model, and the one that waits for the next model."""
    return below(server.process.pid, b"A model worker")


def codes(answers):
    return collections.Counter((status, answer.get("code")) for _, _, status, answer, _, _ in answers)


def swap(server):
    load = Load(server.url, 6)
    load.more(60)
    for number in (2, 1, 2):
        champion(server, number)
        check(f"a swap to {number} comes", came(lambda number=number: version_of(server.url) == number))
    answers = load.end()
    check("a swap under load drops no request", len(answers) > 100 and all(status == 200 for _, _, status, *_ in answers), codes(answers))
    right = all(answer["predictions"] == [x + 100 * answer["model_version"]] for _, x, status, answer, _, _ in answers if status == 200)
    check("each is answered by the version that it names", right)
    check("both versions answered", {answer.get("model_version") for _, _, _, answer, _, _ in answers} == {1, 2})


def kill(server):
    load = Load(server.url, 4)
    load.more(20)
    for _ in range(2):
        for process in workers(server):
            os.kill(process, signal.SIGKILL)
        check("the killed worker comes back", came(lambda: version_of(server.url) == 2))
        load.more(20)
    answers = load.end()
    seen = codes(answers)
    check("a killed worker is told by 503", set(seen) == {(200, None), (503, "serve/worker_down")}, seen)
    refused = [(answer, headers, took) for _, _, status, answer, headers, took in answers if status == 503]
    told = all(answer["message"] and answer["hint"] and int(headers["Retry-After"]) >= 1 for answer, headers, _ in refused)
    check("with what, why and when to come back", told, refused[:2])
    check("at once, not at the deadline", all(took < 1.5 for _, _, took in refused), max((took for *_, took in refused), default=0))
    last = max(at for at, _, status, *_ in answers if status == 503)
    check("then all is as before", sum(1 for at, _, status, *_ in answers if at > last and status == 200) > 10)
    # A model that ends its own process.
    status, answer, headers, _ = send(server.url, x=-999)
    check("a model that ends its process", (status, answer.get("code")) == (503, "serve/worker_down"), (status, answer))
    check("comes back too", came(lambda: version_of(server.url) == 2))
    # A start takes as long as the last one did: the caller that comes meanwhile is told so.
    killed = answering(server)
    os.kill(killed, signal.SIGKILL)
    status, answer, headers, _ = send(server.url)
    told = (status, answer.get("code")) == (503, "serve/worker_down") and int(headers["Retry-After"]) >= 1
    check("who comes meanwhile is told when it is back", told, (status, answer, dict(headers)))
    check("and it is back, as another process", came(lambda: answering(server) not in (None, killed)), killed)


def deadline(server):
    status, answer, _, took = send(server.url, wait=8)
    check("a deadline is kept", status == 504 and answer["code"] == "serve/deadline" and 1.5 < took < 3.5, (status, answer, took))
    check("a model that hangs is replaced", came(lambda: version_of(server.url) == 2))
    # One that waits in the queue for most of its deadline does not cost the worker its life.
    before = answering(server)
    first = threading.Thread(target=send, args=(server.url,), kwargs={"wait": 1.6})
    first.start()
    time.sleep(0.2)
    status, answer, _, took = send(server.url, wait=1.0)
    first.join()
    check("a request that waited too long", status in (429, 504) and took < 2.6, (status, answer, took))
    after = came(lambda: answering(server), 5)
    check("does not kill the worker", before and after == before, (before, after))


def queue(server):
    for _ in range(6):
        send(server.url, wait=0.1)
    answers = []
    burst = [threading.Thread(target=lambda: answers.append(send(server.url, wait=0.1))) for _ in range(60)]
    for thread in burst:
        thread.start()
    for thread in burst:
        thread.join()
    seen = collections.Counter((status, answer.get("code")) for status, answer, _, _ in answers)
    check("a queue that is too long for the deadline refuses", seen[(429, "serve/busy")] >= 10 and seen[(200, None)] >= 10, seen)
    check("and those that it takes it answers", set(seen) <= {(200, None), (429, "serve/busy"), (504, "serve/deadline")}, seen)
    refused = [(answer, headers, took) for status, answer, headers, took in answers if status == 429]
    check("at once", all(took < 1 for *_, took in refused), max((took for *_, took in refused), default=0))
    waits = {int(headers["Retry-After"]) for _, headers, _ in refused}
    check("Retry-After is the queue's", waits and min(waits) >= 2 and max(waits) <= 10, waits)
    check("its end is seen", came(lambda: version_of(server.url) == 2))


def params(server):
    for what, sent, expected in (("none", None, 201.0), ("one", {"times": 5}, 205.0), ("empty", {}, 201.0)):
        more = {} if sent is None else {"params": sent}
        status, answer, _, _ = send(server.url, x=1.0, **more)
        check(f"params: {what}", status == 200 and answer["predictions"] == [expected], (status, answer))
    for what, sent in (("unknown", {"tims": 5}), ("of another type", {"times": "many"}), ("a list for a number", {"times": [1, 2]})):
        status, answer, _, _ = send(server.url, params=sent)
        check(f"params: {what}", status == 400 and answer["code"] == "serve/model_raised" and "tim" in answer["message"], (status, answer))


def limits(server):
    cases = {
        "too many rows": (json.dumps({"dataframe_records": [{"x": 1, "wait": 0}] * 10_001}).encode(), 400, "serve/rows"),
        "too large a body": (b" " * (17 << 20), 413, "request/too_large"),
        "no JSON": (b"{", 400, "request/json"),
        "nothing": (b"", 400, "request/json"),
        "a column too few": (json.dumps({"instances": [{"x": 1}]}).encode(), 400, "serve/missing_column"),
        "deep": (b"[" * 100_000, 400, "request/json"),
        "the rows that fit": (json.dumps({"dataframe_records": [{"x": 1, "wait": 0}] * 10_000}).encode(), 200, None),
    }
    for what, (raw, expected, code) in cases.items():
        status, answer, _, _ = send(server.url, raw=raw)
        check(f"limits: {what}", status == expected and answer.get("code") == code, (status, str(answer)[:300]))
    status, answer, _, _ = send(server.url, path="/serve/nobody/invocations")
    check("limits: no such model", status == 404 and answer["hint"], (status, answer))


def grpc(server):
    """Triton's own client, on the same port."""
    import numpy
    from tritonclient import grpc as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    check("grpc: live, ready", client.is_server_live() and client.is_server_ready() and client.is_model_ready("paced"))
    check("grpc: a version that does not answer is not ready", not client.is_model_ready("paced", "17") and not client.is_model_ready("nobody"))
    check("grpc: the server", client.get_server_metadata().name == "trimtab")
    told = client.get_model_metadata("paced")
    check("grpc: the model", [(one.name, one.datatype) for one in told.inputs] == [("x", "FP64"), ("wait", "FP64")], told)

    def inputs(columns, kind="FP64"):
        made = []
        for name, values in columns.items():
            made.append(triton.InferInput(name, [len(values)], kind))
            made[-1].set_data_from_numpy(numpy.array(values))
        return made

    answer = client.infer("paced", inputs({"x": [1.0, 2.5], "wait": [0.0, 0.0]}), request_id="mine")
    values = answer.as_numpy("predict")
    check("grpc: rows in binary", values.tolist() == [[201.0], [202.5]] and answer.get_response().id == "mine", answer.get_response())
    ids = json.loads(answer.get_response().parameters["prediction_ids"].string_param)
    check("grpc: ids for labels", len(set(ids)) == 2, ids)
    status, told = server.ask("/api/v1/labels/paced", {"labels": [{"prediction_id": ids[0], "label": 1.0}]})
    check("grpc: which are taken", status in (200, 202), (status, told))
    refusals = {
        "no such model": ("nobody", {"x": [1.0], "wait": [0.0]}, {}, "StatusCode.NOT_FOUND"),
        "no such version": ("paced", {"x": [1.0], "wait": [0.0]}, {"model_version": "17"}, "StatusCode.NOT_FOUND"),
        "a column too few": ("paced", {"x": [1.0]}, {}, "StatusCode.INVALID_ARGUMENT"),
        "one that hangs": ("paced", {"x": [1.0], "wait": [8.0]}, {}, "StatusCode.DEADLINE_EXCEEDED"),
    }
    for what, (model, columns, more, expected) in refusals.items():
        try:
            client.infer(model, inputs(columns), **more)
            check(f"grpc: {what}", False, "an answer")
        except InferenceServerException as error:
            check(f"grpc: {what}", error.status() == expected and "(" in error.message(), (error.status(), error.message()))
    check("grpc: after it", came(lambda: version_of(server.url) == 2))
    client.close()


def batch(server, folder):
    """What comes while the worker is busy is one call: 40 requests are a few calls, of 16 rows at most."""
    declare(server, folder, 'batch = { rows = 16, wait = "5ms" }', "20s")
    answers = []
    # The model adds its call's rows, a 1024th each: the floating-point sum is exact.
    ask = lambda n: answers.append((n, *send(server.url, x=float(n), wait=0.1, params={"size": 1024})))  # noqa: E731
    burst = [threading.Thread(target=ask, args=(n,)) for n in range(40)]
    for thread in burst:
        thread.start()
    for thread in burst:
        thread.join()
    sizes = [(answer["predictions"][0] - n - 200) * 1024 for n, status, answer, _, _ in answers if status == 200]
    right = len(sizes) == 40 and all(size in range(1, 41) for size in sizes)
    check("batch: each gets its own row back", right, answers[:3])
    check("batch: few calls, none too large", right and sum(1 / size for size in sizes) <= 8 and max(sizes) <= 16, sorted(sizes))
    code, _, err = server.cli("apply", cwd=write(folder, "batch = { rows = 1 }"))
    check("batch: one that cannot work", code == 2 and "2 to 10,000 rows" in err, (code, err))


def watched(server, folder):
    """What the file says must hold of serving: an incident opens, once, and is closed when it is watched no longer."""
    declare(server, folder, 'watch = ["latency_p90 < 60ms for 1m", "error_rate < 90%"]')
    incidents = lambda: server.ask("/api/v1/incidents")[1]["items"]  # noqa: E731
    before = len(incidents())

    def slow():
        for _ in range(8):
            send(server.url, wait=0.1)
        return len(incidents()) > before

    check("watch: an incident opens", came(slow), incidents())
    opened = incidents()[before:]
    told = len(opened) == 1 and opened[0]["system"] and opened[0]["rule"] == "latency_p90 < 60ms for 1m" and "ms in a minute" in opened[0]["why"]
    check("watch: it says what does not hold", told, opened)
    status, answer = server.ask(f"/api/v1/incidents/{opened[0]['id']}/retrain", {})
    check("watch: no retraining is asked for", status == 409 and answer["code"] == "incident/system", (status, answer))
    status, answer = server.ask("/api/v1/serving/paced")
    versions = answer["versions"]
    check("watch: how it behaves", answer["minutes"][-1]["latency_ms"]["p90"] > 60 and versions[0]["workers"]["ready"] == 1 and answer["minutes"], answer)
    code, out, _ = server.cli("--json", "serve", "call", "paced", "x=3", "wait=0", cwd=folder)
    check("serve call", code == 0 and json.loads(out)["predictions"] == [203.0], out)
    code, out, err = server.cli("serve", "ls", cwd=folder)
    check("serve ls", code == 0 and "paced" in out and "champion" in out, out + err)
    code, _, err = server.cli("apply", cwd=write(folder, 'watch = ["latency_99 < 60ms"]'))
    check("watch: a mistake", code == 2 and "did you mean `latency_p99`" in err, err)
    server.cli("apply", cwd=write(folder, ""))
    check("watch: the incident is closed", came(lambda: all(one["state"] == "resolved" for one in incidents())), incidents())
    check("watch: exactly one was opened", len(incidents()) == before + 1, incidents())


def write(folder, settings, deadline="2s"):
    text = PROJECT.replace("PYTHON", PYTHON).replace('deadline = "2s"', f'deadline = "{deadline}"\n{settings}')
    (folder / "project" / "trimtab.toml").write_text(text)
    return folder / "project"


def declare(server, folder, settings, deadline="2s"):
    """Settings of serving; the version is loaded anew where they change how it runs, and the old worker answers until the new one is there."""
    before = came(lambda: answering(server))
    code, _, err = server.cli("apply", cwd=write(folder, settings, deadline))
    check(f"{settings} is taken", code == 0, err)
    check(f"{settings} comes", came(lambda: answering(server) not in (None, before)), before)


def scale(server, folder):
    """Workers come with the requests, and the last one goes; the stable window of a minute cannot be made shorter here, `idle` can."""
    declare(server, folder, 'scale = { min = 0, max = 3, target = 1, idle = "1s" }', "20s")
    served = lambda: server.ask("/api/v1/serving/paced")[1]["versions"][0]["workers"]["ready"]  # noqa: E731
    busy = Load(server.url, callers=8, wait=0.2)
    check("scale: workers come with a rush", came(lambda: served() == 3), served())
    answers = busy.end()
    check("scale: nobody was refused", all(status == 200 for _, _, status, *_ in answers), codes(answers))
    check("scale: the last one goes", came(lambda: served() == 0, 120), served())
    status, answer, _, took = send(server.url)
    check("scale: a first request waits for a worker", status == 200 and took < 20, (status, answer, took))


def main():
    with check, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "project"
        project.mkdir()
        (project / "trimtab.toml").write_text(PROJECT.replace("PYTHON", PYTHON))
        with Server(BINARY, Path(folder) / "home") as server:
            code, told, errors = server.cli("apply", cwd=project)
            assert code == 0, told + errors
            server.train(PYTHON, TRAIN)
            check("the model is served", came(lambda: version_of(server.url) == 1))
            for part in (swap, kill, deadline, queue, params, limits, grpc):
                part(server)
            batch(server, Path(folder))
            watched(server, Path(folder))
            scale(server, Path(folder))
            server.stop()
            server.start()
            used = server.ask("/api/v1/compute/usage?by=model")[1]["items"]
            told = [one for one in used if one["name"] == "paced" and one["serving"]]
            check("what workers used is counted", len(told) == 1 and told[0]["cpu_seconds"] > 0.5 and told[0]["attempts"] >= 5, used)
            server.stop()


main()
