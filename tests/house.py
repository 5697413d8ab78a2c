"""What the tests of the binary share: servers, ours and the genuine one, that are there when they are asked for; checks that are all made;
waits that end with what is waited for; processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

LIMIT_S = 60


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def came(condition, limit=LIMIT_S):
    """What a condition gives: asked again and again until it is true or the time is over."""
    end = time.monotonic() + limit
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def until(what, condition, limit=LIMIT_S, told=None):
    """What a condition gives once it is true; else a failure that names what did not come to pass, with what `told` gives then."""
    found = came(condition, limit)
    assert found, f"{what} did not come to pass{f': {told()}' if told else ''}"
    return found


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def below(parent, words):
    """Processes that a process started itself, by words of their command."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and int(folder.joinpath("stat").read_text().rsplit(") ", 1)[1].split()[1]) == parent:
                if words in folder.joinpath("cmdline").read_bytes():
                    found.append(int(folder.name))
        except OSError:
            pass
    return found


class Checks:
    """Named checks: each is told as it is made, and all are made, whatever the first ones say. As a context it tells of what was raised, and
    ends the program with the last line, `N passed, N failed`."""

    def __init__(self):
        self.outcomes = []

    def __call__(self, name, passed, told=""):
        self.outcomes.append(bool(passed))
        print(f"{'ok  ' if passed else 'FAIL'}  {name}{'' if passed else f': {told}'}", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception):
            traceback.print_exception(error)
            self("nothing is raised", False, repr(error))
        failed = self.outcomes.count(False)
        print(f"{len(self.outcomes) - failed} passed, {failed} failed", flush=True)
        sys.exit(1 if failed or error else 0)


class Server:
    """A `trimtab up` on a free port, in one home from start to start. It says where it is when it answers. As a context it is gone after it,
    whatever happened."""

    def __init__(self, binary, home, *options):
        self.binary, self.home, self.options = binary, Path(home), options
        self.start()

    def start(self):
        log = self.home.parent / "server.log"
        command = [self.binary, "up", "--home", self.home, "--listen", "127.0.0.1:0", "--json", *self.options]
        with open(log, "a") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            assert line, f"the server did not start: {log.read_text()[-2000:]}"
            text += line
        self.url = json.loads(text)["url"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=LIMIT_S)

    def ask(self, path, body=None, raw=None):
        """Status and JSON of a request."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text[:1] in b"{[" else text.decode()

    def train(self, python, script, *arguments, cwd=None):
        """Runs a program that logs to this server by the MLflow client."""
        environment = os.environ | {"MLFLOW_TRACKING_URI": self.url, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
        command = [python, "-c", script, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=cwd)
        assert done.returncode == 0, done.stderr[-3000:]

    def cli(self, *arguments, cwd=None):
        """Exit code and both streams of a command that talks to this home."""
        command = [self.binary, *arguments, "--home", str(self.home)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=LIMIT_S)
        return done.returncode, done.stdout, done.stderr


class Genuine:
    """A genuine MLflow server over one SQLite file; with one worker and no job runners, unless it shall be as it comes."""

    def __init__(self, python, folder, workers=1, jobs=False):
        self.folder = Path(folder)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.database = self.folder / "genuine.db"
        command = [python, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.database}", "--serve-artifacts"]
        command += ["--artifacts-destination", f"{folder}/artifacts", "--host", "127.0.0.1", "--port", str(port)]
        command += [] if workers is None else ["--workers", str(workers)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        if not jobs:
            environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        log = self.folder / "genuine.log"
        with open(log, "w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        # It says nowhere when it is ready: it is asked until it answers.
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except OSError:
                assert self.process.poll() is None, f"the genuine server did not start: {log.read_text()[-2000:]}"
                time.sleep(0.1)
        raise AssertionError(f"the genuine server gives no answer: {log.read_text()[-2000:]}")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
