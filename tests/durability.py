"""What was acknowledged survives kill -9: eight writers log over HTTP, the server is killed at random moments again and again, and
every write is accounted for.

Usage: python tests/durability.py PATH/TO/trimtab [--seed N] [--seconds N]
Needs nothing but the standard library. A round is one start, one kill and one reckoning after the next start:
- an acknowledged batch is there, with all its points, its param and its tag;
- a batch that was under way is there whole, or not at all;
- nothing is there that nobody wrote.
"""

import argparse
import http.client
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from house import LIMIT_S, Server

WRITERS = 8
KEYS = ["loss", "mae", "rmse", "lr", "grad"]


def connect(server):
    return http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=LIMIT_S)


def call(connection, verb, path, body=None, **query):
    """The JSON of a successful answer. Whatever else happens is an error: the write is in doubt."""
    data = None if body is None else json.dumps(body).encode()
    target = f"/api/2.0/mlflow/{path}" + (f"?{urlencode(query)}" if query else "")
    connection.request(verb, target, data, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, f"{verb} {path}: {answer.status} {text[:300]}"
    return json.loads(text or b"{}")


class Writer(threading.Thread):
    """Logs batch after batch to a run of its own, until the server is gone."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.connection = connect(server)
        created = call(self.connection, "POST", "runs/create", {"experiment_id": "0", "start_time": 1})
        self.run_id = created["run"]["info"]["run_id"]
        self.acknowledged, self.in_doubt, self.surprise = 0, None, None

    def run(self):
        try:
            while True:
                n = self.acknowledged + 1
                self.in_doubt = n
                call(self.connection, "POST", "runs/log-batch", batch(self.run_id, n))
                if self.random.random() < 0.02:
                    # A client that lost the answer sends the same again.
                    call(self.connection, "POST", "runs/log-batch", batch(self.run_id, n))
                self.acknowledged, self.in_doubt = n, None
        except (OSError, http.client.HTTPException):
            self.connection.close()
        except AssertionError as error:
            self.surprise = error


def batch(run_id, n):
    metrics = [{"key": key, "value": n + place / 10, "timestamp": n, "step": n} for place, key in enumerate(KEYS)]
    return {"run_id": run_id, "metrics": metrics, "params": [{"key": f"p{n}", "value": str(n)}], "tags": [{"key": "last", "value": str(n)}]}


def reckon(server, writers):
    """Compares what is there with what was acknowledged; gives how many batches in doubt are there and how many are not."""
    connection = connect(server)
    whole = absent = 0
    for writer in writers:
        assert writer.surprise is None, writer.surprise
        run = call(connection, "GET", "runs/get", run_id=writer.run_id)["run"]["data"]
        params = {param["key"]: param["value"] for param in run.get("params", [])}
        tags = {tag["key"]: tag["value"] for tag in run.get("tags", [])}
        last = int(tags.get("last", 0))
        # Of a batch in doubt the first sending may have been acknowledged and the second cut off: both are the same batch.
        possible = {writer.acknowledged} | ({writer.in_doubt} if writer.in_doubt else set())
        assert last in possible, f"{writer.run_id}: the last batch is {last}, acknowledged {writer.acknowledged}, in doubt {writer.in_doubt}"
        assert params == {f"p{n}": str(n) for n in range(1, last + 1)}, f"{writer.run_id}: params of other batches than 1 to {last}"
        for place, key in enumerate(KEYS):
            history = call(connection, "GET", "metrics/get-history", run_id=writer.run_id, metric_key=key).get("metrics", [])
            found = [(point["step"], point["value"]) for point in history]
            expected = [(n, n + place / 10) for n in range(1, last + 1)]
            assert found == expected, f"{writer.run_id}: {len(found)} points of {key}, {last} batches"
        latest = {metric["key"]: metric["step"] for metric in run.get("metrics", [])}
        assert latest == ({key: last for key in KEYS} if last else {}), f"{writer.run_id}: latest values {latest}, last batch {last}"
        if writer.in_doubt:
            whole, absent = whole + (last == writer.in_doubt), absent + (last != writer.in_doubt)
    connection.close()
    return whole, absent


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("binary", type=Path)
    options.add_argument("--seed", type=int, default=8)
    options.add_argument("--seconds", type=float, default=20)
    o = options.parse_args()
    chance = random.Random(o.seed)
    passed = failed = 0
    everyone = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        server = Server(o.binary.resolve(), home)
        began = time.monotonic()
        try:
            while time.monotonic() - began < o.seconds:
                writers = [Writer(server, chance.random()) for _ in range(WRITERS)]
                for writer in writers:
                    writer.start()
                wait = chance.choice([chance.uniform(0.005, 0.1), chance.uniform(0.1, 1.2)])
                time.sleep(wait)
                server.kill()
                for writer in writers:
                    writer.join(LIMIT_S)
                    assert not writer.is_alive(), "a writer still waits for a dead server"
                everyone += writers
                server.start()
                try:
                    whole, absent = reckon(server, writers)
                    passed += 1
                    batches = sum(writer.acknowledged for writer in writers)
                    print(f"ok   killed after {wait:.3f} s: {batches} batches acknowledged, in doubt {whole} whole and {absent} absent")
                except AssertionError as error:
                    failed += 1
                    print(f"FAIL killed after {wait:.3f} s, seed {o.seed}: {error}")
            try:
                reckon(server, everyone)
                server.kill()
                database = sqlite3.connect(home / "trimtab.db")
                sound = database.execute("PRAGMA integrity_check").fetchall()
                assert sound == [("ok",)], sound
                passed += 1
                print(f"ok   all of {len(everyone)} runs after the last start, and the database is sound")
            except AssertionError as error:
                failed += 1
                print(f"FAIL after the last start, seed {o.seed}: {error}")
        finally:
            server.kill()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
