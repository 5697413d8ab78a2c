"""The binary as its users meet it: start, refuse, fail clearly, survive kill -9, end clean.

Usage: python tests/server.py PATH/TO/trimtab
Needs nothing but the standard library. Each test has a home of its own.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from house import LIMIT_S, Server, alive, until

BINARY = os.path.abspath(sys.argv[1])


@contextmanager
def server(project=None):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "home").mkdir()
        running = Server(BINARY, folder / "home")
        running.project = folder / "project"
        running.project.mkdir()
        try:
            if project is not None:
                apply(running, project)
            yield running
        finally:
            running.process.kill()
            running.process.wait()


def apply(running, text):
    (running.project / "trimtab.toml").write_text(text)
    code, out, err = running.cli("apply", cwd=running.project)
    assert code == 0, err


def test_a_second_start_is_refused_and_sigterm_ends_clean():
    with server() as first:
        code, _, err = first.cli("up", "--listen", "127.0.0.1:0")
        assert code == 6 and "home/in_use" in err and first.url in err, err
        assert (first.home / "server.json").exists()
        assert first.stop() == 0
        assert not (first.home / "server.json").exists()


def test_commands_work_without_a_server():
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        subprocess.run([BINARY, "init", folder, "--home", home], check=True, capture_output=True)
        run = lambda *a: subprocess.run([BINARY, *a, "--home", home], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
        assert run("plan").stdout.count("add") >= 1
        assert run("apply").returncode == 0
        done = run("pipeline", "run", "hello", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["state"] == "succeeded", done.stderr
        again = run("pipeline", "run", "hello", "--json")
        assert [step["state"] for step in json.loads(again.stdout)["steps"]] == ["cached"], again.stdout


PROJECT = """
[source.weather]
push = true
time = "at"
path = "weather.csv"
[entity.city]
key = "city"
[feature.now]
entity = "city"
from = "weather"
online = true
ttl = "2h"
sql = "select city, at, temp from weather"
[feature.doubled]
on_demand = { twice = "temp * 2", hr = "extract(hour from request.ts)" }
"""


def test_pushed_rows_are_served_at_once_and_mistakes_are_named():
    with server() as s:
        (s.project / "weather.csv").write_text("city,at,temp\ndc,2011-01-01T00:00:00Z,1.5\n")
        apply(s, PROJECT)
        row = {"city": "dc", "at": "2011-01-01T05:00:00Z", "temp": 2.5}
        status, answer = s.ask("/api/v1/push/weather", {"rows": [row]})
        assert status < 300 and answer["online"] == 1, answer
        ask = {"features": ["now", "doubled"], "entities": [{"city": "dc"}, {"city": "nowhere"}], "at": "2011-01-01T06:00:00Z"}
        status, answer = s.ask("/api/v1/features/online", ask)
        assert answer["columns"] == ["temp", "twice", "hr"], answer
        assert answer["rows"][0] == [2.5, 5.0, 6] and answer["statuses"][1][0] == "not_found", answer
        status, answer = s.ask("/api/v1/features/online", {**ask, "at": "2011-01-01T07:00:00.001Z"})
        assert answer["rows"][0][0] is None and answer["statuses"][0][0] == "outside_max_age", "older than its ttl"
        for body, code in [
            ({"rows": [{"city": "dc", "at": "x", "temp": 1}]}, 400),
            ({"rows": [{"city": "dc", "at": "2011-01-01", "temp": "warm"}]}, 400),
            ({"rows": [{"at": "2011-01-01", "temp": 1}]}, 400),
            ({"rows": []}, 400),
        ]:
            status, answer = s.ask("/api/v1/push/weather", body)
            assert status == code and answer["code"] and answer["detail"], (body, status, answer)
        assert s.ask("/api/v1/push/nothing", {"rows": [row]})[0] == 404
        assert s.ask("/api/v1/push/weather", raw=b"{")[0] == 400
        late = {"city": "dc", "at": "2011-01-01T04:00:00Z", "temp": 9.0}
        assert s.ask("/api/v1/push/weather", {"rows": [late]})[1]["late"] == 1


def test_predictions_and_labels_say_what_is_wrong():
    with server() as s:
        assert s.ask("/serve/none/invocations", {"dataframe_records": [{"x": 1}]})[0] == 404
        assert s.ask("/invocations", {"inputs": {"x": [1]}})[0] == 404
        assert s.ask("/serve/none/invocations", raw=b"nonsense")[0] == 404, "a model that is not served is the first thing that is wrong"
        status, answer = s.ask("/api/v1/labels/none", {"labels": [{"prediction_id": "p", "label": 1}]})
        assert status == 404 and answer["code"], answer
        code, _, err = s.cli("why", "nothing-of-the-kind")
        assert code == 3 and "hint" in err, err


def test_mistakes_in_the_file_have_a_line_and_a_suggestion():
    with server() as s:
        good = '[pipeline.p.step.a]\nrun = ["true"]\n'
        for text, code, words in [
            (good.replace("run", "runn"), 2, ["trimtab.toml:2", "did you mean `run`"]),
            (good + 'after = ["a"]\n', 2, ["cycle", "a -> a"]),
            (good + 'in = { x = "b.y" }\n', 2, ["no step `b`"]),
            ("[pipeline.p.step.a]\nrun = [1]\n", 2, ["trimtab.toml:2"]),
            (PROJECT.replace("at, temp", "temp"), 2, ["no column `at`", "it gives: city, temp"]),
            (PROJECT.replace('path = "weather.csv"', 'path = "gone.csv"'), 3, ["no file matches"]),
        ]:
            (s.project / "weather.csv").write_text("city,at,temp\ndc,2011-01-01T00:00:00Z,1.5\n")
            (s.project / "trimtab.toml").write_text(text)
            done, _, err = s.cli("apply", cwd=s.project)
            assert done == code and all(word in err for word in words), (done, err)
        assert s.ask("/api/v1/pipelines")[1]["items"] == [], "nothing of a refused file is in force"


STEPS = """
[pipeline.p]
on = ["api"]
params = {{ n = 1 }}
[pipeline.p.step.one]
run = ["sh", "-c", "echo once >> count; echo {{params.n}} > {{out.x}}"]
out = {{ x = "x.txt" }}
[pipeline.p.step.two]
run = ["sh", "-c", "{second}"]
in = {{ x = "one.x" }}
{more}
"""


def test_failures_name_step_attempt_exit_and_the_command_that_resumes():
    with server() as s:
        for second, more, words in [
            ("echo broken >&2; exit 7", "", ["step two, attempt 1", "exit 7", "broken", "log:", "trimtab pipeline resume p-"]),
            ("kill -9 $$", "", ["killed by SIGKILL (signal 9)", "hint: neither a time-out nor memory"]),
            ("kill -SEGV $$", "", ["killed by SIGSEGV (signal 11)", "hint: native code crashed"]),
            ("no-such-program", "", ["exit 127", "hint: a program that it calls was not found on PATH"]),
            ("cat missing", "", ["exit 1", "missing", "hint: paths are relative to the project's folder"]),
            ("x=$(head -c 60000000 /dev/zero | tr '\\\\0' x); sleep 5", 'need = { mem = "20MiB" }', ["out of memory", "more than the 20MiB", "hint: ask for more"]),
            ("sleep 100", 'timeout = "300ms"', ["no end within its timeout", "hint: raise `timeout`"]),
            ("true", 'out = { y = "y.txt" }', ["wrote no `y.txt`"]),
            ("exit 3", 'retry = { max = 1, wait = "10ms" }', ["attempt 2"]),
        ]:
            apply(s, STEPS.format(second=second, more=more))
            code, _, err = s.cli("pipeline", "run", "p")
            assert code == 1 and all(word in err for word in words), (words, err)


def test_resume_repeats_no_finished_step_and_a_second_run_is_cached():
    with server(STEPS.format(second="test -e fixed", more="")) as s:
        code, out, err = s.cli("pipeline", "run", "p", "--json")
        assert code == 1
        run = json.loads(out)["id"]
        (s.project / "fixed").touch()
        code, out, err = s.cli("pipeline", "resume", run, "--json")
        assert code == 0, err
        assert (s.project / "count").read_text() == "once\n"
        code, _, err = s.cli("pipeline", "retry", run)
        assert code == 6 and "has not failed" in err, err
        code, out, err = s.cli("pipeline", "run", "p", "--json")
        assert [step["state"] for step in json.loads(out)["steps"]] == ["cached", "cached"], out
        code, out, err = s.cli("pipeline", "run", "p", "-p", "n=2", "--json")
        first = next(step for step in json.loads(out)["steps"] if step["name"] == "one")
        assert first["why"] == "params.n changed", first
        code, out, err = s.cli("pipeline", "versions", "p", "--json")
        assert len(json.loads(out)["items"]) == 1, out
        code, _, err = s.cli("pipeline", "run", "p", "-p", "m=2")
        assert code == 2 and "no parameter `m`" in err, err


def test_a_retry_from_a_step_runs_it_again_and_what_depends_on_it():
    with server(STEPS.format(second="echo twice >> count; test -e fixed", more="")) as s:
        code, out, _ = s.cli("pipeline", "run", "p", "--json")
        run = json.loads(out)["id"]
        assert code == 1 and (s.project / "count").read_text() == "once\ntwice\n"
        code, _, err = s.cli("pipeline", "retry", run, "--from", "three")
        assert code == 3 and "steps: one, two" in err, err
        (s.project / "fixed").touch()
        code, out, err = s.cli("pipeline", "retry", run, "--from", "one", "--json")
        assert code == 0, err
        assert (s.project / "count").read_text() == "once\ntwice\nonce\ntwice\n"
        steps = json.loads(out)["steps"]
        assert [(step["state"], len(step["attempts"])) for step in steps] == [("succeeded", 2), ("succeeded", 2)], out


TRIAL = """
import json, os, sys, time, urllib.request
def call(path, body):
    url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + path
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=30))
x = float(sys.argv[1])
with open("count", "a") as count:
    print(x, os.getpid(), file=count, flush=True)
while x == 2 and not os.path.exists("go"):
    time.sleep(0.02)
tags = [{"key": key, "value": value} for key, value in json.loads(os.environ["MLFLOW_RUN_CONTEXT"]).items()]
run = call("runs/create", {"experiment_id": "0", "start_time": 1, "tags": tags})["run"]["info"]["run_id"]
if x != 4:
    call("runs/log-metric", {"run_id": run, "key": "mae", "value": x * x, "timestamp": 1, "step": 0})
with open(sys.argv[2], "w") as out:
    out.write(str(x))
"""
SWEEP = """
[pipeline.tune.step.search]
run = ["python3", "trial.py", "{sweep.x}", "{out.m}"]
out = { m = "m.txt" }
sweep = { grid = { x = [3, 1, 4, 2] }, metric = "mae", parallel = 2 }
[pipeline.tune.step.use]
run = ["cp", "{in.m}", "best"]
in = { m = "search.m", best = "search.best" }
"""


def test_a_sweep_killed_half_way_repeats_no_trial_and_hands_on_the_best():
    with server() as s:
        (s.project / "trial.py").write_text(TRIAL)
        apply(s, SWEEP)
        _, asked = s.ask("/api/v1/pipelines/tune/runs", {"trigger": "command"})
        path = f"/api/v1/pipeline-runs/{asked['pipeline_run']}"
        step = lambda name="search": next(one for one in s.ask(path)[1]["steps"] if one["name"] == name)
        ran = lambda: [line.split() for line in (s.project / "count").read_text().splitlines()]
        until("three trials", lambda: len((step().get("sweep") or {"trials": []})["trials"]) == 3)
        until("the fourth", lambda: len(ran()) == 4)
        left = next(pid for x, pid in ran() if x == "2.0")
        s.kill()
        s.start()
        until("the trial that was left running to be ended", lambda: not alive(left))
        (s.project / "go").touch()
        until("the end", lambda: s.ask(path)[1]["state"] == "succeeded")
        counts = {x: sum(x == other for other, _ in ran()) for x, _ in ran()}
        assert counts == {"3.0": 1, "1.0": 1, "4.0": 2, "2.0": 2}, f"measured trials do not run again: {counts}"
        assert (s.project / "best").read_text() == "1.0"
        assert step("use")["state"] == "succeeded"
        parent = s.ask(f"/api/v1/runs/{step()['sweep']['run']}")[1]
        assert parent["status"] == "FINISHED" and parent["metrics"][0]["value"] == 1, parent
        code, out, err = s.cli("run", "ls", "--filter", f"tags.`mlflow.parentRunId` = '{parent['id']}' and metrics.mae > 0", "--json")
        assert code == 0 and len(json.loads(out)["items"]) == 3, (out, err)
        # What a step made is made again with the inputs that it had; changed code is said first.
        child = json.loads(out)["items"][0]["id"]
        code, out, err = s.cli("run", "reproduce", child, "--json")
        assert code == 0 and json.loads(out)["changed"] == [] and "code trial.py" in json.loads(out)["recorded"], (out, err)
        (s.project / "trial.py").write_text(TRIAL + "\n")
        code, out, err = s.cli("run", "reproduce", child, "--go")
        assert code == 6 and "trial.py has changed" in err, err
        code, out, err = s.cli("run", "reproduce", child, "--go", "--anyway")
        assert code == 0, err
        again = s.ask(path.replace("tune-1", "tune-2"))[1]
        assert [one["name"] for one in again["steps"]] == ["search"] and again["again"]["of"] == "tune-1", again


def test_a_sweep_that_measures_nothing_says_why():
    with server() as s:
        (s.project / "trial.py").write_text(TRIAL)
        apply(s, SWEEP.replace("[3, 1, 4, 2]", "[4]"))
        code, _, err = s.cli("pipeline", "run", "tune")
        assert code == 1 and "none of 1 trials" in err and "logged no number for `mae`" in err, err
        (s.project / "trimtab.toml").write_text(SWEEP.replace("{sweep.x}", "{sweep.y}"))
        code, _, err = s.cli("apply", cwd=s.project)
        assert code == 2 and "`{sweep.y}` names nothing" in err and "x" in err, err


def test_cancel_ends_the_whole_tree():
    second = "setsid sleep 300 & echo $! > daemon; sleep 300 & echo $! > child; wait"
    with server(STEPS.format(second=second, more="")) as s:
        _, asked = s.ask("/api/v1/pipelines/p/runs", {})
        child = s.project / "child"
        until("the step's child", lambda: child.exists() and child.read_text().strip())
        run = asked.get("id") or asked["pipeline_run"]
        assert s.cli("pipeline", "cancel", run)[0] == 0
        until("the end", lambda: s.ask(f"/api/v1/pipeline-runs/{run}")[1]["state"] == "cancelled")
        assert not alive(child.read_text().strip()) and not alive((s.project / "daemon").read_text().strip())


def test_kill_9_loses_nothing_that_was_acknowledged():
    with server() as s:
        (s.project / "weather.csv").write_text("city,at,temp\ndc,2011-01-01T00:00:00Z,1.5\n")
        slow = STEPS.format(second="echo $$ > pid; while test ! -e go; do sleep 0.05; done", more="")
        apply(s, PROJECT + slow)
        _, asked = s.ask("/api/v1/pipelines/p/runs", {})
        run = asked.get("id") or asked["pipeline_run"]
        pid = s.project / "pid"
        until("the second step", lambda: pid.exists() and pid.read_text().strip())
        for hour in range(20):
            row = {"city": "dc", "at": f"2011-01-02T{hour:02}:00:00Z", "temp": float(hour)}
            assert s.ask("/api/v1/push/weather", {"rows": [row]})[0] < 300
        left = pid.read_text().strip()
        s.kill()
        s.start()
        until("the step that was left running to be ended", lambda: not alive(left))
        (s.project / "go").touch()
        end = until("the end", lambda: (lambda r: r if r["state"] not in ("queued", "running") else None)(s.ask(f"/api/v1/pipeline-runs/{run}")[1]))
        assert end["state"] == "succeeded", end
        assert (s.project / "count").read_text() == "once\n", "a finished step is not repeated"
        ask = {"features": ["now"], "entities": [{"city": "dc"}], "at": "2011-01-02T19:00:00Z"}
        assert s.ask("/api/v1/features/online", ask)[1]["rows"] == [[19.0]]
        s.stop()
        s.start()
        table = s.cli("feature", "materialize", "now", "--json")
        assert json.loads(table[1])["rows"]["now"] == 21, table


def test_an_alert_is_sent_again_until_it_is_taken():
    taken = []

    class Sink(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            taken.append((self.headers["x-trimtab-id"], body))
            self.send_response(503 if len(taken) == 1 else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    notify = f'\n[notify.team]\nwebhook = "http://127.0.0.1:{sink.server_port}/hook"\non = ["pipeline.fail"]\n'
    with server(STEPS.format(second="exit 1", more="") + notify) as s:
        assert s.cli("pipeline", "run", "p")[0] == 1
        until("the second delivery", lambda: len(taken) >= 2)
        assert taken[0][0] == taken[1][0], "the same alert keeps its id"
        assert "p-1" in json.dumps(taken[1][1]), taken
    sink.shutdown()


def test_a_model_that_cannot_load_is_said_so():
    with server() as s:
        base = "/api/2.0/mlflow"
        assert s.ask(f"{base}/registered-models/create", {"name": "broken"})[0] == 200
        _, run = s.ask(f"{base}/runs/create", {"experiment_id": "0", "start_time": 1})
        uri = run["run"]["info"]["artifact_uri"]
        status, made = s.ask(f"{base}/model-versions/create", {"name": "broken", "source": uri + "/model", "run_id": run["run"]["info"]["run_id"]})
        assert status == 200, made
        assert s.ask(f"{base}/registered-models/alias", {"name": "broken", "alias": "champion", "version": "1"})[0] == 200
        status, answer = s.ask("/serve/broken/invocations", {"dataframe_records": [{"x": 1}]})
        assert status in (404, 503), answer


def test_a_full_disk_is_said_and_work_goes_on_when_there_is_room():
    if os.geteuid() != 0:
        print("    not run: a small disk can be mounted by root alone")
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", home], check=True)
        try:
            s = Server(BINARY, home)
            s.project = Path(folder) / "project"
            s.project.mkdir()
            (s.project / "weather.csv").write_text("city,at,temp\ndc,2011-01-01T00:00:00Z,1.5\n")
            apply(s, PROJECT)
            free = os.statvfs(home)
            ballast = home / "ballast"
            ballast.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - 200_000))
            kept, refused = 0, None
            for n in range(400):
                rows = [{"city": f"c{n}-{i}", "at": "2011-01-01T05:00:00Z", "temp": 1.0} for i in range(40)]
                status, answer = s.ask("/api/v1/push/weather", {"rows": rows})
                if status >= 300:
                    refused = (status, answer)
                    break
                kept += len(rows)
            assert refused and refused[0] == 507, refused
            ballast.unlink()
            status, answer = s.ask("/api/v1/push/weather", {"rows": [{"city": "after", "at": "2011-01-01T05:00:00Z", "temp": 1.0}]})
            assert status < 300, answer
            code, out, err = s.cli("feature", "materialize", "now", "--json")
            assert code == 0 and json.loads(out)["rows"]["now"] >= kept + 2, (kept, out, err)
        finally:
            s.process.kill()
            s.process.wait()
            subprocess.run(["umount", "-l", home], check=True)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    chosen = sys.argv[2:]
    unknown = [word for word in chosen if not any(word in name for name, _ in tests)]
    if unknown:
        sys.exit(f"no test has {' or '.join(unknown)} in its name")
    ran = failed = 0
    for name, test in tests:
        if chosen and not any(word in name for word in chosen):
            continue
        ran += 1
        began = time.monotonic()
        try:
            test()
            print(f"ok   {name} ({time.monotonic() - began:.1f} s)")
        except Exception:
            failed += 1
            print(f"FAIL {name}")
            traceback.print_exc()
    print(f"{ran - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
