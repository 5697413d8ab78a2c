"""Gates as a team meets them: files compared without a server, every form of a report, and on a server with real training
two people who approve, a canary that shares by entity, an override, a rollback, and the audit of all of it.

    tests/gates.py TRIMTAB PYTHON

PYTHON has what python/requirements-test.txt lists. SciPy and scikit-learn are the oracle of the numbers. The last line is `N passed, N failed`.
"""

import csv
import datetime
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn import metrics

import browser
from house import Server, below, until

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
FIXTURES = Path(__file__).parent / "../crates/stats/tests/gates/expected.json"

PROJECT = """
[project]
name   = "gates"
python = "PYTHON"

[source.sales]
path = "data/sales.csv"
time = "ts"
label_delay = "1h"

[source.weather]
path = "data/weather.csv"
time = "observed_at"
push = true

[entity.city]
key = "city_id"

[feature.weather]
entity = "city"
from   = "weather"
ttl    = "2h"
online = true
sql    = "select city_id, observed_at, temp, hum from weather"

[pipeline.train]
on     = ["api"]
params = { off = 0.0, brake = "" }

[pipeline.train.step.set]
training_set = { model = "sales", labels = "sales", label = "units", features = ["weather"], until = "trigger.time" }
out = { rows = "train.parquet" }

[pipeline.train.step.fit]
run = ["python", "train.py", "--data", "{in.rows}", "--off", "{params.off}", "--brake", "{params.brake}"]
in  = { rows = "set.rows" }

[model.sales]
task   = "regression"
metric = "mae"

[model.sales.gate]
holdout = "last 7d"
must    = [
  "mae < 30", "non_inferior(mae, margin = 0.5)", "no_worse_slice(city_id)", "answers(missing)", "answers(one_row)",
  "model_size < 5MB", "train_rows > 100", "train_nulls < 50%", "train_overlap <= 0", "latency_p99 < 10s", "same_signature()",
]
approve = { people = 2, expires = "3d" }

[model.sales.serve]
features = ["weather"]
rollout  = { canary = [50, 100], each = { min_requests = 20 }, abort_if = "error_rate > 1%" }
"""

TRAIN = """
import argparse
import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--off", type=float, required=True)
parser.add_argument("--brake", required=True)
args = parser.parse_args()
rows = pd.read_parquet(args.data)
X, y = rows[["temp", "hum"]].astype("float64"), rows["units"].astype("float64") + args.off
def stops(rows, brake=args.brake):
    import os
    if brake and os.path.exists(brake):
        raise RuntimeError("the brake is on")
    return rows
with mlflow.start_run():
    model = make_pipeline(FunctionTransformer(stops), SimpleImputer(), Ridge()).fit(X, y)
    mlflow.sklearn.log_model(model, name="model", registered_model_name="sales", signature=infer_signature(X, model.predict(X)),
                             serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
"""


def run(*arguments, actor=None, cwd=None, home=None):
    environment = {**os.environ, **({"TRIMTAB_ACTOR": actor} if actor else {})}
    command = [BINARY, *arguments, *(["--home", str(home)] if home else [])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)
    return done.returncode, done.stdout, done.stderr


def written(folder, name, columns, rows):
    path = Path(folder) / name
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


def close(ours, theirs, what, slack=1e-9):
    assert math.isclose(ours, theirs, rel_tol=slack, abs_tol=slack), f"{what}: {ours}, the oracle says {theirs}"


def checks_of(report):
    return {check["text"]: check for check in report["checks"]}


def files_alone_make_a_gate(folder):
    fixtures = json.loads(FIXTURES.read_text())
    data, known = fixtures["data"], {fixture["id"]: fixture["expected"] for fixture in fixtures["fixtures"]}
    y, old, new = (np.array(data["bc"][name]) for name in ("y", "champion", "challenger"))
    labels = written(folder, "y.csv", ["y", "size"], zip(data["bc"]["y"], data["bc"]["slice"]))
    files = ["--labels", labels, "--champion", written(folder, "a.csv", ["p"], zip(old)), "--challenger", written(folder, "b.csv", ["p"], zip(new))]
    must = ["superior(auc)", "superior(brier)", "superior(accuracy)", "no_worse_slice(size)", "ece < 0.1", "f1 > 0.9"]
    code, out, err = run("gate", "compare", *files, "--metric", "auc", "--json", *(part for check in must for part in ("--must", check)))
    assert code == 0, err
    report = json.loads(out)
    found = checks_of(report)
    assert report["verdict"] == "pass" and set(found) == set(must)
    close(found["superior(auc)"]["challenger"], metrics.roc_auc_score(y, new), "AUC")
    close(found["f1 > 0.9"]["value"], metrics.f1_score(y, new >= 0.5), "F1")
    losses = (new - y) ** 2 - (old - y) ** 2
    t = stats.ttest_1samp(losses, 0)
    tests = {test["name"]: test for test in found["superior(brier)"]["tests"]}
    close(tests["paired t"]["p"], t.pvalue, "paired t")
    interval = t.confidence_interval(0.95)
    close(found["superior(brier)"]["interval"]["low"], interval.low, "interval of t")
    close(tests["Wilcoxon signed ranks"]["p"], stats.wilcoxon(losses, method="asymptotic").pvalue, "Wilcoxon", 1e-8)
    right_old, right_new = (old >= 0.5) == y, (new >= 0.5) == y
    b, c = int((right_old & ~right_new).sum()), int((~right_old & right_new).sum())
    exact = {test["name"]: test for test in found["superior(accuracy)"]["tests"]}["McNemar, exact"]["p"]
    close(exact, stats.binomtest(b, b + c).pvalue, "McNemar")
    # Its value is within the limit, its interval is not: too few rows to know.
    code, out, _ = run("gate", "compare", *files, "--metric", "auc", "--json", "--must", "ece < 0.05")
    (check,) = json.loads(out)["checks"]
    assert code == 4 and check["verdict"] == "inconclusive" and check["value"] < 0.05 < check["interval"]["high"], check
    close(check["value"], known["calibration_challenger"]["ece"], "ECE", 1e-6)
    assert check["n"] == len(y) == 285 < check["needed"], check


def by_id_the_order_does_not_matter(folder):
    rng = random.Random(7)
    rows = [(f"r{n}", n % 2, 0.2 + 0.6 * (n % 2)) for n in range(400)]
    shuffled = rng.sample(rows, len(rows))
    labels = written(folder, "l.csv", ["id", "y"], [(key, y) for key, y, _ in rows])
    answers = written(folder, "p.csv", ["id", "p"], [(key, p) for key, _, p in shuffled])
    common = ["gate", "compare", "--labels", labels, "--challenger", answers, "--must", "accuracy >= 1", "--json"]
    code, out, err = run(*common, "--id", "id")
    assert code == 0 and json.loads(out)["checks"][0]["value"] == 1.0, err
    refusals = [
        (["gate", "compare", "--labels", "nowhere.csv", "--challenger", answers, "--must", "accuracy > 0"], 3, "nowhere.csv"),
        (["gate", "compare", "--labels", labels, "--challenger", answers, "--must", "acuracy > 0", "--id", "id"], 2, "did you mean `accuracy`?"),
        (["gate", "compare", "--labels", labels, "--challenger", answers, "--must", "accuracy > 0", "--id", "idd"], 2, "idd"),
        (["gate", "compare", "--labels", labels, "--challenger", written(folder, "s.csv", ["p"], [(0.5,)]), "--label", "y", "--must", "accuracy > 0"], 2, "400"),
    ]
    for command, expected, hint in refusals:
        code, _, err = run(*command)
        assert code == expected and hint in err, (command, code, err)


def a_refused_gate_is_told_in_every_form(folder):
    labels = written(folder, "y2.csv", ["y"], [(n % 2,) for n in range(60)])
    answers = written(folder, "p2.csv", ["p"], [((n % 2) * 0.4 + 0.3 if n % 3 else 0.5 - 0.1 * (n % 2),) for n in range(60)])
    common = ["gate", "compare", "--labels", labels, "--champion", answers, "--challenger", answers, "--must", "accuracy > 0.99",
              "--must", "superior(accuracy)", "--must", "accuracy > 0.1"]
    file = Path(folder) / "gate.xml"
    code, out, err = run(*common, "-o", "junit", "--out", str(file))
    assert code == 4 and out == "" and "written to" in err, (code, out, err)
    suite = ET.parse(file).getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1"), ET.tostring(suite)
    code, out, _ = run(*common, "-o", "md")
    assert code == 4 and out.startswith("## Gate fails") and "| **fail** | `accuracy > 0.99` |" in out, out
    code, out, _ = run(*common, "-o", "html")
    assert code == 4 and "<svg" in out and "<script" not in out and "prefers-color-scheme" in out
    code, out, _ = run(*common)
    assert code == 4 and out.startswith("fail: ") and "Tango" in out, out


def project(root):
    (root / "data").mkdir(parents=True)
    rng = random.Random(1)
    end = datetime.datetime.now(datetime.UTC).replace(minute=0, second=0, microsecond=0)
    sales, weather = [], []
    for back in range(24 * 21, 0, -1):
        at = (end - datetime.timedelta(hours=back)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for city in range(4):
            temp, hum = 15 + 10 * math.sin(back / 24 * 6.28) + city, rng.random()
            weather.append((f"c{city}", at, temp, hum))
            sales.append((f"c{city}", at, 100 + 4 * temp - 20 * hum + rng.gauss(0, 3)))
    written(root / "data", "sales.csv", ["city_id", "ts", "units"], sales)
    written(root / "data", "weather.csv", ["city_id", "observed_at", "temp", "hum"], weather)
    (root / "train.py").write_text(TRAIN)
    (root / "trimtab.toml").write_text(PROJECT.replace("PYTHON", PYTHON))


def approve_in_a_browser(url, folder, on):
    """Ann approves of the first version on the model's page; where there is no browser, by the command."""
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])), None)
    if chromium is None:
        expect(0, on("model", "approve", "sales@1", "--reason", "a start", actor="ann"))
        return
    tab = browser.Browser(chromium, os.path.join(folder, "profile"))
    try:
        tab.open(f"{url}/models/sales")
        button = "document.querySelector('#rollout button[data-post$=\"/approve\"]')"
        tab.eval(f"{button}.click()")
        tab.wait("document.querySelector('#rollout .told').textContent.includes('reason')", "a refusal without a reason")
        tab.eval("document.querySelector('#rollout input[name=reason]').value = 'a start'")
        tab.eval("document.querySelector('#rollout input[name=actor]').value = 'ann'")
        tab.eval(f"{button}.click()")
        tab.wait("document.querySelector('#rollout table')?.innerText.includes('a start')", "the vote on the page")
        text = tab.eval("document.querySelector('#rollout').innerText")
        assert "1 of 2" in text and "ann" in text and "approved" in text, text
    finally:
        tab.end()


def people_and_canaries_let_versions_out(folder):
    root, home = Path(folder) / "project", Path(folder) / "home"
    project(root)
    server = Server(BINARY, home)
    try:
        on = lambda *arguments, actor=None: run(*arguments, actor=actor, cwd=root, home=home)  # noqa: E731
        good = lambda *arguments, actor=None: json.loads(expect(0, on(*arguments, "--json", actor=actor)))  # noqa: E731
        good("apply")
        train = ["pipeline", "run", "train"]
        expect(0, on(*train))
        # The first version: nobody to compare with; it waits for two people.
        report = json.loads(expect(0, on("gate", "run", "sales", "--json")))
        found = checks_of(report)
        assert report["verdict"] == "pass" and found["same_signature()"]["skipped"], report["why"]
        assert found["train_overlap <= 0"]["value"] == 0 and found["train_rows > 100"]["value"] > 1000, found
        assert found["latency_p99 < 10s"]["n"] == 500 and found["model_size < 5MB"]["value"] > 1000
        assert good("rollout", "status", "sales")["state"] == "waiting"
        approve_in_a_browser(server.url, folder, on)
        code, _, err = on("model", "approve", "sales@1", "--reason", "again", actor="ann")
        assert code == 6 and "approval/twice" in err, err
        assert good("model", "approve", "sales@1", "--reason", "looks right", actor="bob")["state"] == "approved"
        until("version 1 is champion", lambda: good("rollout", "status", "sales")["champion"] == 1, 30)
        # The second: as good, so it passes; two people; then a canary that shares by entity.
        expect(0, on(*train, "-p", "off=0.01"))
        report = json.loads(expect(0, on("gate", "run", "sales@2", "--json")))
        found = checks_of(report)
        assert report["champion"] == 1 and found["same_signature()"]["verdict"] == "pass"
        assert found["non_inferior(mae, margin = 0.5)"]["method"].startswith("paired bootstrap"), found
        assert {part["name"] for part in found["no_worse_slice(city_id)"]["slices"]} == {f"city_id = c{n}" for n in range(4)}
        for who in ("ann", "bob"):
            good("model", "approve", "sales@2", "--reason", "as good", actor=who)
        until("the rollout is a canary", lambda: good("rollout", "status", "sales")["state"] == "canary", 30)
        ask = lambda city: server.ask("/serve/sales/invocations", {"dataframe_records": [{"city_id": city}]})  # noqa: E731
        roles = lambda: {part["role"] for model in good("status")["serving"] for part in model["versions"]}  # noqa: E731
        until("the canary answers", lambda: "canary" in roles(), 30)
        first = {}
        for city in (f"c{n}" for n in range(24)):
            status, answer = ask(city)
            assert status == 200, answer
            first[city] = answer["model_version"]
        assert set(first.values()) == {1, 2}, first
        assert all(ask(city)[1]["model_version"] == version for city, version in first.items()), "the same entity, the same version"
        # A restart within the step forgets nothing.
        server.kill()
        server.start()
        own = next(city for city, version in first.items() if version == 2)
        until("version 2 is champion", lambda: ask(own)[1]["model_version"] == 2 and good("rollout", "status", "sales")["champion"] == 2, 60)
        # The third is worse: refused, then set aside by name and reason.
        expect(0, on(*train, "-p", "off=40"))
        code, out, _ = on("gate", "run", "sales@3", "-o", "md")
        assert code == 4 and "**fail**" in out, (code, out)
        code, _, err = on("model", "approve", "sales@3", "--reason", "trust me", actor="eve")
        assert code == 4 and "approval/not_passed" in err and "--override" in err, err
        for who in ("eve", "bob"):
            good("model", "approve", "sales@3", "--override", "--reason", "a test of the brakes", actor=who)
        until("the rollout is a canary", lambda: good("rollout", "status", "sales")["state"] == "canary", 30)
        until("the canary answers", lambda: "canary" in roles(), 30)
        good("rollout", "abort", "sales", "--reason", "enough", actor="ann")
        assert good("rollout", "status", "sales")["state"] == "none"
        # The champion's, that of the champion before, and the spare: a load would take that and start another.
        workers = lambda: set(below(server.process.pid, b"A model worker"))  # noqa: E731
        until("only champions are loaded", lambda: roles() == {"champion"} and len(workers()) == 3, 30)
        began, before = time.monotonic(), workers()
        status, answer = server.ask("/api/v1/models/sales/rollback", {})
        assert status == 200 and answer["version"] == 1, (status, answer)
        until("version 1 answers", lambda: ask(own)[1]["model_version"] == 1, 30)
        took = time.monotonic() - began
        assert all(ask(city)[1]["model_version"] == 1 for city in first)
        assert workers() == before, ("the champion before is still loaded: no worker is started", before, workers())
        # The fourth is good when it is judged and fails when it serves: the champion answers what it fails, it is given up, and stays so.
        brake = Path(folder) / "brake"
        expect(0, on(*train, "-p", "off=0.02", "-p", f"brake={brake}"))
        expect(0, on("gate", "run", "sales@4", "--json"))
        for who in ("ann", "bob"):
            good("model", "approve", "sales@4", "--reason", "as good", actor=who)
        until("the canary answers", lambda: "canary" in roles(), 30)
        brake.write_text("on")
        answers = [ask(city) for city in first]
        assert len(answers) == 24 and all(status == 200 and answer["model_version"] == 1 for status, answer in answers), answers
        until("the canary is given up", lambda: good("rollout", "status", "sales")["state"] == "none", 30)
        given_up = [event["sentence"] for event in good("events", "--limit", "1000")["items"] if event["sentence"].startswith("the rollout of")][-1]
        assert "sales version 4 was given up" in given_up and "error_rate" in given_up, given_up
        brake.unlink()
        for restarted in (False, True):
            if restarted:
                server.kill()
                server.start()
                until("it answers again", lambda: ask(own)[0] == 200, 30)
            assert {ask(city)[1]["model_version"] for city in first} == {1}, "the weight is 0"
            assert good("rollout", "status", "sales")["state"] == "none" and roles() <= {"champion"}, roles()
        with urllib.request.urlopen(f"{server.url}/models/sales/versions/3/card.md", timeout=60) as answer:
            card = answer.read().decode()
        assert "eve set the gate aside" in card and "## Limits" in card and "Nothing is known of rows outside" in card, card
        told = expect(0, on("why", "sales@2"))
        assert "ann approved of sales version 2 (1 of 2): as good" in told and "as a canary of 50 %" in told, told
        audit = good("model", "audit", "sales")["items"]
        told = [(item["event"], item["by"]) for item in audit]
        assert ("ApprovalGiven", "eve") in told and ("RolloutAborted", "ann") in told, told
        assert any("set the gate aside" in item["sentence"] and "a test of the brakes" in item["sentence"] for item in audit), audit
        for form, start in (("junit", "<?xml"), ("html", "<!doctype html>"), ("md", "## Gate")):
            status, text = fetch(server, form)
            assert status == 200 and text.startswith(start), (form, text[:80])
        print(f"        rolled back in {took * 1000:.0f} ms")
    finally:
        server.stop()


def fetch(server, form):
    with urllib.request.urlopen(f"{server.url}/api/v1/gates/sales/2?format={form}", timeout=60) as answer:
        return answer.status, answer.read().decode()


def expect(code, done):
    assert done[0] == code, f"exit {done[0]} instead of {code}: {done[1][-1500:]} {done[2][-1500:]}"
    return done[1]


def main():
    passed = failed = 0
    tests = [files_alone_make_a_gate, by_id_the_order_does_not_matter, a_refused_gate_is_told_in_every_form, people_and_canaries_let_versions_out]
    for test in tests:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                test(folder)
                passed += 1
                print(f"ok      {test.__name__}")
            except AssertionError as error:
                failed += 1
                traceback.print_exc()
                print(f"FAILED  {test.__name__}: {error}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
