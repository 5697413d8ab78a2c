"""Pipelines as their users write them: items, conditions, other pipelines, exit steps, kills at any moment, logs without end.

Usage: python tests/pipelines.py PATH/TO/trimtab
Needs nothing but the standard library and git. Each test has a home of its own; steps are real processes.

What an engine must survive, and where it is tried:

    killed in the middle, then resumed          here, kills_at_any_moment; server.py, kill_9_loses_nothing; scheduler model in crates/pipelines
    each way to fail names all that helps       server.py, failures_name_step; here, what_cannot_be_is_told
    out of memory                               compute.py, what_takes_more_memory; crates/back-process/src/cgroup
    cached; only what changed runs again        here, only_what_changed_runs_again; server.py, resume_repeats_no_finished_step
    independent branches finish                 here, only_what_changed_runs_again and a_failed_item_is_named
    cancel ends grandchildren                   server.py, cancel_ends_the_whole_tree; crates/back-process/src/tests.rs
    long lines, invalid UTF-8, a log of 1 GB    here, a_log_without_end; crates/back-process/src/tests.rs
    cron: DST, leap day, catch-up window        crates/pipelines/src/cron.rs and work/tests_triggers.rs
    a step that falls silent                    here, a_silent_step
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from house import LIMIT_S, Server, alive, until

BINARY = os.path.abspath(sys.argv[1])


@contextmanager
def server(project, name="trimtab.toml"):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "home").mkdir()
        running = Server(BINARY, folder / "home")
        running.project = folder / "project"
        running.project.mkdir()
        try:
            apply(running, project, name)
            yield running
        finally:
            running.process.kill()
            running.process.wait()


def apply(running, text, name="trimtab.toml", *options):
    (running.project / name).write_text(text)
    code, _, err = running.cli("apply", "--file", name, *options, cwd=running.project)
    assert code == 0, err


def run(running, pipeline, *params, expect=0):
    arguments = [word for param in params for word in ("--param", param)]
    code, out, err = running.cli("pipeline", "run", pipeline, *arguments, "--json")
    assert code == expect, (code, out[-2000:], err)
    return json.loads(out), err


def states(shown):
    return {step["name"]: step["state"] for step in shown["steps"]}


FLOW = """
project: {name: flow}
pipeline:
  prepare:
    params: {rows: {type: integer, min: 1}}
    inputs: [raw]
    step:
      clean: {run: "sh -c 'head -n {params.rows} {in.raw} > {out.table}'", in: {raw: pipeline.raw}, out: {table: t.txt}}
  churn:
    params:
      regions: [eu, us, asia]
      mode: {default: full, choices: [full, fast]}
      break: "none"
    step:
      load: {run: "sh -c 'printf \\"a\\\\nb\\\\nc\\\\n\\" > {out.raw}; echo \\"{{\\\\\\"rows\\\\\\": 3}}\\" > {out.stats}'", out: {raw: raw.txt, stats: stats.json}}
      prep: {pipeline: prepare, params: {rows: 2}, in: {raw: load.raw}, out: {table: clean.table}}
      fit:
        run: "sh -c 'test {each.region} != {params.break} && echo {each.region} $(wc -l < {in.table}) > {out.model}'"
        each: {region: params.regions}
        max_parallel: 2
        in: {table: prep.table}
        out: {model: m.txt}
      big: {run: "sh -c 'echo big > {out.m}'", when: "load.stats.rows > 1000", out: {m: m}}
      small: {run: "sh -c 'echo small > {out.m}'", when: "load.stats.rows <= 1000 and params.mode == 'full'", out: {m: m}}
      use: {run: "sh -c 'cat {in.m} {in.models}/*/m.txt {in.models}/items.json > {out.all}'", in: {m: big.m | small.m, models: fit.model}, out: {all: all.txt}}
      after_big: {run: "true", after: [big]}
    on_exit:
      tell: {run: "sh -c 'echo {run.id} {run.state} >> told; echo \\"{run.error}\\" >> told'"}
"""


def test_items_conditions_other_pipelines_and_an_exit_step():
    with server(FLOW, "trimtab.yaml") as s:
        shown, _ = run(s, "churn")
        assert shown["state"] == "succeeded", shown
        found = states(shown)
        assert (found["big"], found["after_big"], found["small"], found["fit"]) == ("skipped", "skipped", "succeeded", "succeeded"), found
        assert [found[f"fit[{n}]"] for n in range(3)] == ["succeeded"] * 3
        code, out, err = s.cli("pipeline", "show", "churn-1.prep", "--json")
        assert code == 0 and json.loads(out)["trigger"] == {**json.loads(out)["trigger"], "kind": "step", "step": "prep"}, err
        assert (s.project / "told").read_text().startswith("churn-1 succeeded\n")
        # One region more: only its item runs, and what needs the list.
        shown, _ = run(s, "churn", 'regions=["eu", "us", "asia", "mars"]')
        found = states(shown)
        assert [found[f"fit[{n}]"] for n in range(4)] == ["cached"] * 3 + ["succeeded"], found
        assert found["use"] == "succeeded" and found["load"] == "cached"
        shown, _ = run(s, "churn", "mode=fast")
        assert states(shown)["use"] == "skipped" and shown["state"] == "succeeded", states(shown)
        shown, _ = run(s, "churn", "regions=[]", "mode=fast")
        assert states(shown)["fit"] == "succeeded", states(shown)


def test_a_failed_item_is_named_and_the_exit_step_hears_of_it():
    with server(FLOW, "trimtab.yaml") as s:
        shown, err = run(s, "churn", "break=us", expect=1)
        found = states(shown)
        assert [found[f"fit[{n}]"] for n in range(3)] == ["succeeded", "failed", "succeeded"], found
        assert (found["fit"], found["use"], found["tell"]) == ("failed", "upstream_failed", "succeeded"), found
        assert "pipeline churn, step fit[1], attempt 1: exit 1" in err and "trimtab pipeline resume churn-1" in err, err
        told = (s.project / "told").read_text()
        assert "churn-1 failed" in told and "step fit[1]" in told, told
        fit = next(step for step in shown["steps"] if step["name"] == "fit")
        assert fit["why"] == "1 of 3 items failed: fit[1]", fit
        # The region's step is mended; what was done is not done again.
        apply(s, FLOW, "trimtab.yaml")
        code, out, err = s.cli("pipeline", "run", "churn", "--param", "mode=slow")
        assert code == 2 and "none of its choices" in err, err


def test_a_sub_pipeline_that_fails_or_is_cancelled_tells_its_caller():
    text = """
[pipeline.inner]
params = { how = "fail" }
[pipeline.inner.step.work]
run = "sh -c 'if [ {params.how} = fail ]; then echo because >&2; exit 3; fi; echo $$ > inner.pid; sleep 300'"
cache = false
[pipeline.outer]
params = { how = "fail" }
[pipeline.outer.step.call]
pipeline = "inner"
params = { how = "{params.how}" }
"""
    with server(text) as s:
        _, err = run(s, "outer", expect=1)
        for part in ("pipeline outer, step call, attempt 1", "pipeline run outer-1.call failed", "pipeline inner, step work, attempt 1: exit 3", "because"):
            assert part in err, err
        asked = s.ask("/api/v1/pipelines/outer/runs", {"params": {"how": "hang"}, "trigger": "command"})[1]
        pid = int(until("the inner step", lambda: (s.project / "inner.pid").exists() and (s.project / "inner.pid").read_text().strip()))
        s.ask(f"/api/v1/pipeline-runs/{asked['pipeline_run']}/cancel", {})
        ended = lambda id: s.ask(f"/api/v1/pipeline-runs/{id}")[1]
        until("the end", lambda: ended(asked["pipeline_run"])["state"] == "cancelled")
        assert ended(f"{asked['pipeline_run']}.call")["state"] == "cancelled" and not alive(pid)


def test_kills_at_any_moment_lose_no_step_and_repeat_none_that_was_done():
    # Each step appends a line when it is really done, then says so; a step that is killed half-way may run again, one that is done may not.
    steps = "".join(
        f'[pipeline.p.step.s{n}]\nrun = ["sh", "-c", "sleep 0.03; echo s{n} >> ran; echo x > $0", "{{out.o}}"]\nout = {{ o = "o" }}\ncache = false\n'
        + (f'after = ["s{n // 2}"]\n' if n else "")
        for n in range(40)
    )
    each = '[pipeline.p.step.many]\nrun = ["sh", "-c", "sleep 0.02; echo many{each.n} >> ran"]\neach = { n = [0, 1, 2, 3, 4, 5, 6, 7] }\nafter = ["s3"]\ncache = false\n'
    with server("[pipeline.p]\n" + steps + each) as s:
        moments = random.Random(7)
        id = s.ask("/api/v1/pipelines/p/runs", {"trigger": "command"})[1]["pipeline_run"]
        done_before = {}
        for _ in range(8):
            time.sleep(moments.uniform(0.02, 0.25))
            shown = s.ask(f"/api/v1/pipeline-runs/{id}")[1]
            done = {step["name"] for step in shown["steps"] if step["state"] == "succeeded"}
            ran = (s.project / "ran").read_text().split() if (s.project / "ran").exists() else []
            done_before.update({name: ran.count(name.replace("[", "").replace("]", "")) for name in done if name not in done_before})
            s.kill()
            s.start()
        shown = until("the end", lambda: (found := s.ask(f"/api/v1/pipeline-runs/{id}")[1])["state"] not in ("queued", "running") and found)
        assert shown["state"] == "succeeded", shown["error"]
        assert all(step["state"] == "succeeded" for step in shown["steps"]), states(shown)
        ran = (s.project / "ran").read_text().split()
        assert set(ran) == {f"s{n}" for n in range(40)} | {f"many{n}" for n in range(8)}
        for name, count in done_before.items():
            if name != "many":
                assert ran.count(name.replace("[", "").replace("]", "")) == count, f"{name} ran again after it was done"


def test_a_log_without_end_is_bounded_in_memory_and_on_disk():
    text = r"""
[pipeline.loud.step.talk]
run = ["sh", "-c", "echo begin; head -c 1000000000 /dev/zero | tr '\\0' x; printf '\\377\\376 no text\n'; echo end >&2; exit 1"]
[pipeline.wide.step.talk]
run = ["sh", "-c", "head -c 20000 /dev/zero | tr '\\0' y >&2; exit 1"]
"""
    with server(text) as s:
        _, err = run(s, "loud", expect=1)
        assert "exit 1" in err and err.count("\n") < 20 and len(err) < 5000, err[:500]
        log = s.home / "pipelines" / "loud-1" / "talk.log"
        size = log.stat().st_size
        assert size < 70e6, size
        whole = log.read_bytes()
        # The two streams are two pipes: the end of one may come before that of the other.
        ends = whole[-200_000:]
        assert whole.startswith(b"begin\n") and b"bytes are left out here]" in whole
        assert b"end\n" in ends and b"\xff\xfe no text\n" in ends and whole.endswith((b"end\n", b"\xff\xfe no text\n")), ends[-200:]
        peak = int(next(line for line in open(f"/proc/{s.process.pid}/status") if line.startswith("VmHWM")).split()[1]) // 1024
        assert peak < 300, f"{peak} MB"
        _, err = run(s, "wide", expect=1)
        assert len(err) < 10000 and "yyy" in err


def test_a_silent_step_is_taken_for_dead():
    text = """
[pipeline.p.step.stands]
run = ["sh", "-c", "echo first; sleep 300"]
heartbeat = "500ms"
"""
    with server(text) as s:
        _, err = run(s, "p", expect=1)
        assert "no sign of life for 500ms" in err and "heartbeat" in err, err


def test_versions_are_compared_repeated_and_brought_back():
    text = """
[pipeline.p.step.make]
run = ["sh", "make.sh", "{out.t}"]
out = { t = "t.txt" }
[pipeline.p.step.show]
run = ["cat", "{in.t}"]
in = { t = "make.t" }
cache = false
"""
    with server("[project]\nname = 'x'\n") as s:
        git = lambda *words: subprocess.run(["git", "-C", s.project, *words], check=True, capture_output=True)
        git("init", "-q")
        (s.project / "make.sh").write_text("echo one > $1\n")
        apply(s, text)
        git("add", "-A")
        git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "one")
        run(s, "p")
        (s.project / "make.sh").write_text("echo two > $1\n")
        run(s, "p")
        code, out, err = s.cli("pipeline", "diff", "p", "--json")
        diff = json.loads(out)
        assert code == 0 and diff["code"] == ["make.sh has changed"] and diff["dirty"] == [False, True] and diff["definition"] == "", diff
        code, out, err = s.cli("pipeline", "rerun", "p-1", "--exact")
        assert code == 0 and "not restored:" in err, err
        assert s.cli("pipeline", "logs", "p-3", "show")[1].strip() == "one"
        code, out, err = s.cli("pipeline", "rerun", "p-1", "--version", "today")
        assert code == 0 and s.cli("pipeline", "logs", "p-4", "show")[1].strip() == "two", err
        apply(s, text.replace('run = ["cat", "{in.t}"]', 'run = ["tac", "{in.t}"]'))
        run(s, "p")
        diff = json.loads(s.cli("pipeline", "diff", "p", "2", "3", "--json")[1])
        assert diff["steps_changed"] == ["show"] and '-    "cat",' in diff["definition"] and '+    "tac",' in diff["definition"], diff
        code, _, err = s.cli("pipeline", "diff", "p", "9")
        assert code == 3 and "versions: 1, 2, 3" in err, err


def test_a_profile_is_laid_over_the_project():
    text = """
[pipeline.p]
params = { size = "small" }
[pipeline.p.step.a]
run = ["echo", "{params.size}"]
cache = false
[profile.prod.pipeline.p.params]
size = "large"
"""
    with server(text) as s:
        run(s, "p")
        assert s.cli("pipeline", "logs", "p-1", "a")[1].strip() == "small"
        apply(s, text, "trimtab.toml", "--profile", "prod")
        run(s, "p")
        assert s.cli("pipeline", "logs", "p-2", "a")[1].strip() == "large"
        code, _, err = s.cli("plan", "--profile", "prd", cwd=s.project)
        assert code == 3 and "did you mean `prod`" in err, (code, err)


TWO = """
[project]
name = "two"
[pipeline.p.params]
a = 1
b = 2
[pipeline.p.step.left]
run = "python3 left.py {params.a} {out.y}"
out = { y = "y" }
[pipeline.p.step.left_end]
run = "cp {in.y} {out.z}"
in  = { y = "left.y" }
out = { z = "z" }
[pipeline.p.step.right]
run = "python3 right.py {params.b} {out.y}"
out = { y = "y" }
[pipeline.p.step.right_end]
run = "cp {in.y} {out.z}"
in  = { y = "right.y" }
out = { z = "z" }
"""


def test_only_what_changed_runs_again():
    with server(TWO) as s:
        program = "import sys\nif sys.argv[1] == '13': sys.exit('unlucky')\nopen(sys.argv[2], 'w').write(sys.argv[1])\n"
        for name in ("left.py", "right.py"):
            (s.project / name).write_text(program)
        again = lambda *params, expect=0: {name: state for name, state in states(run(s, "p", *params, expect=expect)[0]).items() if state != "cached"}
        assert len(again()) == 4
        assert again() == {}, "nothing has changed"
        os.utime(s.project / "left.py", (1, 1))
        assert again() == {}, "only the file's time has changed"
        assert again("a=3") == {"left": "succeeded", "left_end": "succeeded"}
        (s.project / "right.py").write_text(program + "# a word\n")
        # It writes the same as before, so what needs it need not run.
        assert again() == {"right": "succeeded"}
        # One branch fails, the other one comes to its end.
        found = again("a=13", "b=7", expect=1)
        assert found == {"left": "failed", "left_end": "upstream_failed", "right": "succeeded", "right_end": "succeeded"}, found


def test_what_cannot_be_is_told_before_or_when_it_happens():
    text = """
[project]
name = "wrong"
[pipeline.p.params]
n = { type = "integer" }
[pipeline.p.step.list]
run = "sh -c 'printf %s \\"[1, 2\\" > {out.items}'"
out = { items = "items.json" }
[pipeline.p.step.fan]
run  = "echo {each.x}"
each = { x = "list.items" }
"""
    with server(text) as s:
        code, _, err = s.cli("pipeline", "run", "p")
        assert code == 2 and "`n`" in err, ("a parameter without a value", code, err)
        shown, err = run(s, "p", "n=1", expect=1)
        for word in ("pipeline p, step fan, attempt 1", "`list.items` is no JSON list", "trimtab pipeline resume p-1"):
            assert word in err, (word, err)
        assert states(shown)["list"] == "succeeded"
        code, _, err = s.cli("pipeline", "run", "p", "--param", "n=many")
        assert code == 2 and "`n` is integer, not text" in err, err


def test_ten_thousand_steps_are_checked_before_anything_runs():
    steps = "".join(f'[pipeline.p.step.s{n}]\nrun = ["true"]\n' + (f'after = ["s{n - 1}"]\n' if n else "") for n in range(10_000))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trimtab.toml"
        check = lambda: subprocess.run([BINARY, "pipeline", "check", "--file", file], capture_output=True, text=True, timeout=LIMIT_S)
        file.write_text("[pipeline.p]\n" + steps)
        done = check()
        assert done.returncode == 0, done.stderr
        file.write_text("[pipeline.p]\n" + steps.replace('[pipeline.p.step.s0]\nrun = ["true"]\n', '[pipeline.p.step.s0]\nrun = ["true"]\nafter = ["s9999"]\n'))
        done = check()
        assert done.returncode == 2 and "pipeline/cycle" in done.stderr, done.stderr[:500]


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
