"""The pool as its users meet it: who goes first, whose quota is full, who has the GPU, what is killed, what it cost.

Usage: python tests/compute.py PATH/TO/trimtab
Needs nothing but the standard library. Steps are real processes; the GPUs are declared, not there.
"""

import json
import os
import sys
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path

from house import Server, until

BINARY = os.path.abspath(sys.argv[1])


@contextmanager
def server(project):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "home").mkdir()
        running = Server(BINARY, folder / "home")
        running.project = folder / "project"
        running.project.mkdir()
        try:
            apply(running, project)
            yield running
        finally:
            running.process.kill()
            running.process.wait()


def apply(running, text):
    (running.project / "trimtab.toml").write_text(text)
    code, _, err = running.cli("apply", cwd=running.project)
    assert code == 0, err


def ask(running, pipeline):
    return running.ask(f"/api/v1/pipelines/{pipeline}/runs", {"trigger": "command"})[1]["pipeline_run"]


def ended(running, id):
    shown = running.ask(f"/api/v1/pipeline-runs/{id}")[1]
    return shown if shown["state"] not in ("queued", "running") else None


POOL = """
[compute]
cpu = 2
gpu = ["GPU-a", "GPU-b"]
price = { cpu_hour = 3600.0, gpu_hour = 36000.0, currency = "EUR" }
[compute.queue.urgent]
priority = 10
[compute.team.risk]
cpu = 1
[compute.team.sales]
"""
WAIT = 'run = ["sh", "-c", "echo {run.id} $CUDA_VISIBLE_DEVICES >> order; while [ ! -e go ]; do sleep 0.02; done"]\ncache = false\n'


def test_the_urgent_go_first_and_nobody_takes_more_than_the_quota():
    text = POOL + "".join(
        f"[pipeline.{name}]\nteam = \"{team}\"\n[pipeline.{name}.step.s]\n{WAIT}{more}\n"
        for name, team, more in [("usual", "sales", "need = { cpu = 2 }"), ("now", "sales", 'queue = "urgent"'), ("first", "risk", ""), ("second", "risk", "")]
    )
    with server(text) as s:
        ids = [ask(s, "first")]
        until("the first", lambda: len(s.ask("/api/v1/compute")[1]["running"]) == 1)
        ids += [ask(s, name) for name in ("second", "usual", "now")]
        state = until("all", lambda: (found := s.ask("/api/v1/compute")[1]) and len(found["running"]) + len(found["waiting"]) == 4 and found)
        assert {job["what"] for job in state["running"]} == {"step s of first-1", "step s of now-1"}, state
        why = {job["what"]: job["why"] for job in state["waiting"]}
        assert why == {"step s of second-1": "team risk holds all it may: the job asks for 1 cpu", "step s of usual-1": "2 cpu are not free"}, why
        code, out, _ = s.cli("compute", "queue", "--json")
        assert code == 0 and len(json.loads(out)) == 2
        (s.project / "go").touch()
        for id in ids:
            assert until(id, lambda: ended(s, id))["state"] == "succeeded"
        assert s.ask("/api/v1/compute")[1]["cpu_used"] == 0


def test_a_gpu_has_one_holder_and_who_asked_for_none_sees_none():
    text = POOL + "".join(
        f"[pipeline.{name}.step.s]\n{WAIT}need = {{ cpu = 1, gpu = {gpu} }}\n" for name, gpu in [("one", 1), ("two", 1), ("none", 0)]
    )
    with server(text) as s:
        ids = [ask(s, name) for name in ("one", "two")]
        until("both", lambda: len(s.ask("/api/v1/compute")[1]["running"]) == 2)
        (s.project / "go").touch()
        ids.append(ask(s, "none"))
        shown = {id: until(id, lambda: ended(s, id)) for id in ids}
        order = sorted((s.project / "order").read_text().split("\n"))
        assert {line.split()[1] for line in order if line.startswith(("one", "two"))} == {"GPU-a", "GPU-b"}, order
        assert "none-1" in order, order
        assert len(shown["one-1"]["steps"][0]["attempts"][0]["gpus"]) == 1


def test_what_takes_more_memory_than_it_asked_for_is_killed_and_told():
    text = """
[pipeline.p.step.greedy]
run = ["python3", "-c", "x = bytearray(200_000_000); import time; time.sleep(30)"]
need = { mem = "64MiB" }
[pipeline.q.step.shot]
run = ["sh", "-c", "kill -9 $$"]
"""
    with server(text) as s:
        code, _, err = s.cli("pipeline", "run", "p")
        assert code == 1 and "out of memory" in err and "64MiB" in err and "need = { mem" in err, err
        code, _, err = s.cli("pipeline", "run", "q")
        assert code == 1 and "SIGKILL" in err and "out of memory" not in err, err
        # What holds them to it is said; tests/control_groups.sh has a machine with control groups.
        limits = s.ask("/api/v1/compute")[1]["limits"]
        assert limits["by"] in ("control_groups", "watching") and limits["why"], limits
        code, out, _ = s.cli("compute", "status")
        assert code == 0 and limits["by"] in out and limits["why"] in out, out


def test_what_can_never_run_is_refused_before_anything_runs():
    cases = [
        ("need = { cpu = 3 }", "job/too_large", "3 cpu"),
        ("need = { gpu = 3 }", "job/too_large", "3 gpu"),
        ('queue = "urgnt"', "compute/queue", "urgent"),
    ]
    with server(POOL) as s:
        for need, code, text in cases:
            (s.project / "trimtab.toml").write_text(POOL + f'[pipeline.p.step.s]\nrun = ["true"]\n{need}\n')
            exit, _, err = s.cli("apply", cwd=s.project)
            assert exit == 2 and code in err and text in err and "trimtab.toml:" in err, err
        (s.project / "trimtab.toml").write_text(POOL + '[pipeline.p]\nteam = "risk"\n[pipeline.p.step.s]\nrun = ["true"]\nneed = { cpu = 2 }\n')
        exit, _, err = s.cli("pipeline", "check", cwd=s.project)
        assert exit == 2 and "job/over_quota" in err and "team risk" in err, err


def test_usage_and_cost_are_added_up():
    text = POOL + '[pipeline.p]\nteam = "sales"\n[pipeline.p.step.s]\nrun = ["sh", "-c", "sleep 0.5"]\nneed = { cpu = 2, gpu = 1 }\ncache = false\n'
    with server(text) as s:
        for _ in range(2):
            assert s.cli("pipeline", "run", "p")[0] == 0
        for by, name, count in [("run", "p-1", 1), ("pipeline", "p", 2), ("team", "sales", 2), ("model", "(none)", 2)]:
            code, out, err = s.cli("compute", "usage", "--by", by, "--json")
            assert code == 0, err
            usage = json.loads(out)
            line = next(line for line in usage["items"] if line["name"] == name)
            assert line["attempts"] == count and usage["currency"] == "EUR", line
            # Two cpus at 1 a second, a GPU at 10 a second.
            held = line["held_seconds"]
            assert 0.5 * count <= held < 3 * count and abs(line["cost"] - held * 12) < 1e-6 and abs(line["gpu_seconds"] - held) < 1e-9, line
        code, _, err = s.cli("compute", "usage", "--since", "yesterday")
        assert code == 2, err


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = []
    for name, test in tests:
        try:
            test()
            print(f"ok    {name}", flush=True)
        except Exception:
            failed.append(name)
            print(f"FAIL  {name}", flush=True)
            traceback.print_exc()
    print(f"{len(tests) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


main()
