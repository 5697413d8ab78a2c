"""Code checks as a team meets them: a real repository, signed webhooks, clean checkouts, JUnit of pytest with a failing and a
flaky case, statuses and reports at a host, badges. The host is a sink on this machine that keeps what it is told.

    tests/ci.py TRIMTAB PYTHON

PYTHON has what python/requirements-test.txt lists. The last line is `N passed, N failed`.
"""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.datasource_dataset import DatasourceDatasetFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.generated.parent_run import Job as ParentJob
from openlineage.client.generated.parent_run import ParentRunFacet
from openlineage.client.generated.parent_run import Run as ParentRun
from openlineage.client.generated.processing_engine_run import ProcessingEngineRunFacet

from house import Server, until

BINARY, PYTHON = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
SECRET, TOKEN = "it is a secret to everybody", "a-token-that-nobody-shall-read"

PROJECT = """
[project]
name   = "checked"
python = "PYTHON"

[git]
secret = "file:SECRETS/hook"
token  = "file:SECRETS/token"
api    = "SINK/repos/ann/checked"
url    = "https://trimtab.example.test"
host   = "HOST"
report = "always"

[pipeline.ci]
on = ["push:main", "push:feature/*", "pull_request", "tag:v*"]

[pipeline.ci.step.tests]
check = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "{out.report}", "tests"]
env   = ["FLAKY_STATE"]

[pipeline.ci.step.after]
run   = ["python", "-c", "import os; print(sorted(os.listdir('.')))"]
after = ["tests"]
"""

TESTS = '''
import os
import pathlib
import pytest

def test_adds():
    assert 1 + 1 == SUM

def test_flaky():
    seen = pathlib.Path(os.environ["FLAKY_STATE"])
    first = not seen.exists()
    seen.touch()
    assert not first, "not yet there"

@pytest.mark.skip(reason="no GPU here")
def test_gpu():
    pass
'''


class Sink:
    """A git host's API: keeps every request, fails the first statuses if it is told to."""

    def __init__(self):
        self.seen, self.failures = [], 0
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = 201
                if sink.failures > 0:
                    sink.failures -= 1
                    status = 503
                else:
                    sink.seen.append((self.path, dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def statuses(self, commit):
        return [body for path, _, body in self.seen if path == f"/repos/ann/checked/statuses/{commit}"]

    def comments(self):
        return [(path, body) for path, _, body in self.seen if "/statuses/" not in path]


def git(folder, *words):
    settings = ["-c", "user.name=ann", "-c", "user.email=ann@example.test", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    done = subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class House:
    """A server with a project in a repository, and a host that it talks to."""

    def __init__(self, folder, host="github"):
        self.folder, self.sink, self.host = Path(folder), Sink(), host
        self.project, secrets, self.state = self.folder / "project", self.folder / "secrets", self.folder / "flaky"
        (self.project / "tests").mkdir(parents=True)
        secrets.mkdir()
        (secrets / "hook").write_text(SECRET + "\n")
        (secrets / "token").write_text(TOKEN + "\n")
        text = PROJECT.replace("PYTHON", PYTHON).replace("SECRETS", str(secrets)).replace("SINK", self.sink.url).replace("HOST", host)
        (self.project / "trimtab.toml").write_text(text)
        os.environ["FLAKY_STATE"] = str(self.state)
        git(self.project, "init", "-q", "-b", "main")
        self.server = Server(BINARY, self.folder / "home")
        code, out, err = self.server.cli("apply", cwd=self.project)
        assert code == 0, (out, err)

    def commit(self, total, message="x"):
        (self.project / "tests/test_app.py").write_text(TESTS.replace("SUM", str(total)))
        git(self.project, "add", "-A")
        git(self.project, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.project, "rev-parse", "HEAD")

    def hook(self, event, payload, delivery, secret=SECRET, form=False, path="/api/v1/hooks/git/ci"):
        body = json.dumps(payload).encode()
        kind = "application/json"
        if form:
            body, kind = urllib.parse.urlencode({"payload": body.decode()}).encode(), "application/x-www-form-urlencoded"
        if self.host == "github":
            signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature}
        else:
            headers = {"X-Gitlab-Event": event, "X-Gitlab-Event-UUID": delivery, "X-Gitlab-Token": secret}
        request = urllib.request.Request(self.server.url + path, data=body, headers={**headers, "content-type": kind})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def push(self, commit, delivery, branch="main", **more):
        payload = {"ref": f"refs/heads/{branch}", "after": commit, "pusher": {"name": "ann"}, "user_username": "ann"}
        return self.hook("push" if self.host == "github" else "Push Hook", payload, delivery, **more)

    def runs(self):
        return self.server.ask("/api/v1/pipeline-runs?pipeline=ci")[1]["items"]

    def told(self, commit, state, seconds=60):
        """The statuses of a commit once the last is this one."""
        ends = lambda: (statuses := self.sink.statuses(commit)) and statuses[-1]["state"] == state and statuses  # noqa: E731
        return until(state, ends, seconds, lambda: (self.sink.statuses(commit), self.server.ask("/api/v1/events?limit=50")))

    def badge(self, path="/badge/ci.svg"):
        with urllib.request.urlopen(self.server.url + path, timeout=30) as answer:
            assert answer.headers["content-type"].startswith("image/svg+xml")
            return ET.fromstring(answer.read()).attrib["aria-label"]


def a_push_is_checked_and_told(folder):
    house = House(folder)
    try:
        bad = house.commit(3)
        good = house.commit(2)
        # What lies about in the project's folder is not what was pushed.
        (house.project / "tests/test_more.py").write_text("def test_dirty():\n    assert False\n")
        assert house.badge() == "ci: no run"
        assert house.hook("ping", {"zen": "x"}, "0")[0] == 200

        status, answer = house.push(bad, "1")
        assert status == 202 and "main" in answer["taken"], answer
        statuses = house.told(bad, "failure")
        assert [status["state"] for status in statuses] == ["pending", "failure"], statuses
        assert statuses[0]["context"] == "trimtab/ci" and statuses[0]["target_url"].startswith("https://trimtab.example.test/pipeline-runs/ci-")
        assert "2 of 3 cases failed" in statuses[1]["description"], statuses
        [run] = house.runs()
        shown = house.server.ask(f"/api/v1/pipeline-runs/{run['id']}")[1]
        [checks] = shown["checks"]
        assert (checks["cases"], checks["passed"], checks["failed"], checks["skipped"], checks["flaky"]) == (3, 0, 2, 1, 0), checks
        assert "tests.test_app::test_adds" in checks["failing"], checks
        assert shown["error"].splitlines()[0].endswith("2 of 3 cases failed: tests.test_app::test_adds, tests.test_app::test_flaky"), shown["error"]
        assert shown["definition"]["git_commit"] == bad and shown["trigger"]["commit"] == bad
        code, out, _ = house.server.cli("pipeline", "cases", run["id"], "tests")
        assert code == 0 and "assert (1 + 1) == 3" in out and "no GPU here" in out, out
        assert house.badge() == "ci: failing"
        with urllib.request.urlopen(f"{house.server.url}/pipeline-runs/{run['id']}?step=tests", timeout=30) as page:
            html = page.read().decode()
        assert "test_adds" in html and "2 failed" in html and "push of main" in html

        # The same code again: the flaky case passes now, and is told apart from the one that is wrong.
        assert house.server.cli("pipeline", "resume", run["id"])[0] == 1
        [checks] = house.server.ask(f"/api/v1/pipeline-runs/{run['id']}")[1]["checks"]
        assert checks["unreliable"] == ["tests.test_app::test_flaky"] and checks["failing"] == ["tests.test_app::test_adds"], checks

        assert house.push(good, "2")[0] == 202
        statuses = house.told(good, "success")
        assert [status["state"] for status in statuses] == ["pending", "success"], statuses
        assert house.badge() == "ci: passing" and house.badge("/badge/ci.svg?branch=other") == "ci: no run"
        # The report comes after the state.
        until("both reports", lambda: len(house.sink.comments()) >= 2, 30, house.sink.comments)
        comments = dict(house.sink.comments())
        assert "**failed**" in comments[f"/repos/ann/checked/commits/{bad}/comments"]["body"]
        assert "1 passed" not in comments[f"/repos/ann/checked/commits/{good}/comments"]["body"]
        assert "2 passed, 0 failed, 1 skipped" in comments[f"/repos/ann/checked/commits/{good}/comments"]["body"], comments
        headers = {name.lower(): value for name, value in house.sink.seen[0][1].items()}
        assert headers["authorization"] == f"Bearer {TOKEN}"
        for place in ("/api/v1/events?limit=500", f"/api/v1/pipeline-runs/{run['id']}", "/api/v1/pipelines"):
            text = json.dumps(house.server.ask(place)[1])
            assert TOKEN not in text and SECRET not in text, place
    finally:
        house.server.stop()


def what_is_not_signed_or_not_meant_starts_nothing(folder):
    house = House(folder)
    try:
        commit = house.commit(2)
        status, problem = house.push(commit, "1", secret="wrong")
        assert (status, problem["code"]) == (401, "hook/signature"), problem
        assert house.push(commit, "1", path="/api/v1/hooks/git/none")[0] == 404
        for event, payload in [
            ("star", {}),
            ("push", {"ref": "refs/heads/other", "after": commit, "pusher": {"name": "ann"}}),
            ("push", {"ref": "refs/heads/main", "after": "0" * 40, "pusher": {"name": "ann"}}),
        ]:
            status, answer = house.hook(event, payload, event)
            assert status == 200 and answer["ignored"], answer
        for name in ("--upload-pack=x", "$(touch x)", "a..b"):
            status, problem = house.push(commit, name, branch=name)
            assert (status, problem["code"]) == (400, "hook/reference"), problem
        assert house.push("--output=x" + "0" * 30, "2")[0] == 400
        assert house.runs() == []

        # Twice the same, and once more under another name: one run. The form is what hosts send unless told otherwise.
        house.state.touch()
        assert house.push(commit, "3", form=True)[0] == 202
        assert "come before" in house.push(commit, "3", form=True)[1]["ignored"]
        assert "come before" in house.push(commit, "4", form=True)[1]["ignored"]
        house.told(commit, "success")
        assert len(house.runs()) == 1

        # Code of strangers does not run; a commit that nobody has is told as such.
        head = {"ref": "fix", "sha": commit, "repo": {"full_name": "eve/checked"}}
        base = {"ref": "main", "sha": commit, "repo": {"full_name": "ann/checked"}}
        request = {"action": "opened", "number": 7, "pull_request": {"head": head, "base": base, "user": {"login": "eve"}}}
        assert house.hook("pull_request", request, "5")[0] == 202
        assert house.push("1" * 40, "6")[0] == 202

        def skipped():
            said = [event["sentence"] for event in house.server.ask("/api/v1/events?limit=500")[1]["items"]]
            return [one for one in said if "not in the remote" in one or "another repository" in one]

        until("both are skipped", lambda: len(skipped()) >= 2, 30, skipped)
        assert len(house.runs()) == 1

        # One of the own repository does, and the host is told although it was down for a moment.
        head["repo"] = base["repo"]
        request["number"] = 8
        house.sink.failures = 2
        assert house.hook("pull_request", request, "7")[0] == 202
        reported = lambda: any(path == "/repos/ann/checked/issues/8/comments" for path, _ in house.sink.comments())  # noqa: E731
        until("the report", reported, 60, house.sink.comments)
        git(house.project, "tag", "-a", "v1", "-m", "one")
        assert house.hook("create", {"ref": "v1", "ref_type": "tag", "sender": {"login": "ann"}}, "8")[0] == 202
        tagged = lambda: any(run["trigger"].get("event") == "tag" and run["state"] == "succeeded" for run in house.runs())  # noqa: E731
        until("the tag's run", tagged, 60, house.runs)
    finally:
        house.server.stop()


def gitlab_is_spoken_too(folder):
    house = House(folder, host="gitlab")
    try:
        house.state.touch()
        commit = house.commit(2)
        assert house.push(commit, "1", secret="wrong")[0] == 401
        assert house.push(commit, "1")[0] == 202
        statuses = house.told(commit, "success")
        assert [status["state"] for status in statuses] == ["running", "success"] and statuses[0]["name"] == "trimtab/ci", statuses
        assert {name.lower(): value for name, value in house.sink.seen[0][1].items()}["private-token"] == TOKEN
        assert house.server.kill() is None
        house.server.start()
        assert "come before" in house.push(commit, "1")[1]["ignored"], "remembered over a kill"
    finally:
        house.server.stop()


def typed(event):
    """The event by the classes of OpenLineage's own client, which check it; what they do not know is refused."""
    kinds = {"processing_engine": ProcessingEngineRunFacet, "errorMessage": ErrorMessageRunFacet, "jobType": JobTypeJobFacet,
             "version": DatasetVersionDatasetFacet, "dataSource": DatasourceDatasetFacet}

    def facets(given):
        made = {}
        for name, fields in given.items():
            fields = dict(fields)
            producer, schema = fields.pop("_producer"), fields.pop("_schemaURL")
            if name == "parent":
                run, job = ParentRun(**fields.pop("run")), ParentJob(**fields.pop("job"))
                facet = ParentRunFacet(run=run, job=job, producer=producer, **fields)
            else:
                facet = kinds[name](producer=producer, **fields)
            assert schema == facet._schemaURL, (schema, facet._schemaURL)
            made[name] = facet
        return made

    def dataset(of, given):
        return of(namespace=given["namespace"], name=given["name"], facets=facets(given["facets"]))

    return RunEvent(
        eventTime=event["eventTime"], producer=event["producer"], eventType=RunState(event["eventType"]),
        run=Run(runId=event["run"]["runId"], facets=facets(event["run"]["facets"])),
        job=Job(namespace=event["job"]["namespace"], name=event["job"]["name"], facets=facets(event["job"]["facets"])),
        inputs=[dataset(InputDataset, one) for one in event["inputs"]], outputs=[dataset(OutputDataset, one) for one in event["outputs"]],
    )


LINEAGE = """
[project]
name = "told"
[lineage]
to = "TO"
[pipeline.p.step.make]
run = ["python3", "-c", "open('{out.rows}', 'w').write('1')"]
out = { rows = "rows.csv" }
[pipeline.p.step.use]
run = ["python3", "-c", "import sys; sys.exit(len(open('{in.rows}').read()))"]
in  = { rows = "make.rows" }
"""


def lineage_is_told_as_openlineage_has_it(folder):
    project, sink = Path(folder) / "project", Sink()
    project.mkdir()
    server = Server(BINARY, Path(folder) / "home")
    try:
        for to, read in [
            ("file:lineage.jsonl", lambda: [json.loads(line) for line in (project / "lineage.jsonl").read_text().splitlines()]),
            (sink.url + "/api/v1/lineage", lambda: [body for _, _, body in sink.seen]),
        ]:
            (project / "trimtab.toml").write_text(LINEAGE.replace("TO", to))
            assert server.cli("apply", cwd=project)[0] == 0
            assert server.cli("pipeline", "run", "p")[0] == 1
            given = lambda: read() if to.startswith("http") or (project / "lineage.jsonl").exists() else []  # noqa: E731
            ends = lambda: (told := given()) and told[-1]["eventType"] == "FAIL" and told[-1]["job"]["name"] == "p" and told  # noqa: E731
            told = until("the pipeline's end", ends, 30, given)
            events = [typed(event) for event in told]
            assert all(event.job.namespace == "told" for event in events)
            kinds = [(event.job.name, event.eventType.value) for event in events]
            assert kinds[0] == ("p", "START") and ("p.make", "COMPLETE") in kinds and kinds[-2:] == [("p.use", "FAIL"), ("p", "FAIL")], kinds
            whole, failed = events[0], events[-2]
            assert failed.run.facets["parent"].run.runId == whole.run.runId == events[-1].run.runId
            assert "step use" in failed.run.facets["errorMessage"].message
            [made] = next(event for event in events if event.job.name == "p.make" and event.eventType.value == "COMPLETE").outputs
            [used] = failed.inputs
            assert (made.name, made.facets["version"].datasetVersion) == (used.name, used.facets["version"].datasetVersion), (made, used)
        # Nobody takes them: the pipeline does not wait, and they are counted.
        sink.server.shutdown()
        sink.server.server_close()
        began = time.monotonic()
        assert server.cli("pipeline", "rerun", "p-2")[0] == 1 and time.monotonic() - began < 20

        def dropped():
            with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as page:
                lines = [line for line in page.read().decode().splitlines() if line.startswith("trimtab_lineage_dropped_total")]
            return lines and int(lines[0].split()[1]) > 0

        until("what was dropped is counted", dropped, 30)
    finally:
        server.stop()


def main():
    passed = failed = 0
    for test in [a_push_is_checked_and_told, what_is_not_signed_or_not_meant_starts_nothing, gitlab_is_spoken_too, lineage_is_told_as_openlineage_has_it]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                test(folder)
                passed += 1
                print(f"ok      {test.__name__}")
            except AssertionError as error:
                failed += 1
                print(f"FAILED  {test.__name__}: {error}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
