"""Trimtab beside the genuine MLflow server: the same raw HTTP requests, no client in the way, one server after the other.

    python bench/tracking_peers.py --trimtab target/release/trimtab [--seconds 3 --runs 10000 --connections 1 8 --only log-batch]

Needs mlflow in this Python. MLflow runs on SQLite twice: with one worker, and as it starts by default; its 10,000 runs are put into its
database directly, which its own API would take a quarter of an hour for. Prints for each load the calls a second, the median wait and the
CPU of the server's process tree a call, and how many times Trimtab's the peers' are; then the memory of each tree (PSS). Exits with 1
if log-batch takes more than 1/20 of the peer's CPU.
"""

import argparse
import json
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import house  # noqa: E402 - the path is set above

BUDGET = 20
POINTS = 100_000
ARTIFACT_MB = 64
TICK = os.sysconf("SC_CLK_TCK")
API = "/api/2.0/mlflow"
AJAX = "/ajax-api/2.0/mlflow"


def tree(pid):
    """The process and all below it."""
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
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            pass
    return total / 1024


class Server:
    def __init__(self, started):
        self.started, self.process = started, started.process
        host, port = started.url.removeprefix("http://").split(":")
        self.address = host, int(port)

    def ask(self, verb, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        url = "http://{}:{}".format(*self.address) + path
        request = urllib.request.Request(url, data=data, method=verb, headers={"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] == b"{" else text

    def run(self):
        return self.ask("POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"]

    def end(self):
        self.started.stop()


class Connection:
    """HTTP/1.1 by hand: what the client costs must not hide what the server costs."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 20)

    def send(self, verb, path, body=b"", kind="application/json"):
        head = f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        status = int(self.file.readline().split()[1])
        length, chunked, rest = 0, False, b""
        while (line := self.file.readline().lower().strip()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line[15:])
            chunked |= line.startswith(b"transfer-encoding:") and b"chunked" in line
        size = 0
        while chunked and (length := int(self.file.readline(), 16)):
            size += len(self.file.read(length))
            self.file.readline()
        if chunked:
            self.file.readline()
        else:
            rest = self.file.read(length)
            size = len(rest)
        if status != 200:
            raise ValueError(f"{verb} {path}: {status} {rest[:500]}")
        return size


def log_batch(size):
    points = ", ".join(f'{{"key": "m{n % 10}", "value": {n}.5, "timestamp": @, "step": {n}}}' for n in range(size))
    template = f'{{"run_id": "#", "metrics": [{points}]}}'.encode()

    def prepare(server):
        run = server.run().encode()
        mine = template.replace(b"#", run)
        return lambda connection, n: connection.send("POST", f"{API}/runs/log-batch", mine.replace(b"@", str(1000 + n).encode()))

    return prepare


def request(verb, path, body=None):
    data = b"" if body is None else json.dumps(body).encode()
    return lambda server: lambda connection, n: connection.send(verb, path(server) if callable(path) else path, data)


def artifact(verb):
    body = os.urandom(1 << 20) * ARTIFACT_MB

    def prepare(server):
        name = f"/api/2.0/mlflow-artifacts/artifacts/bench/{threading.get_ident()}.bin"
        if verb == "GET":
            Connection(server.address).send("PUT", name, body, "application/octet-stream")
        return lambda connection, n: connection.send(verb, name, body if verb == "PUT" else b"", "application/octet-stream")

    return prepare


def history(rest):
    return request("GET", lambda server: f"{rest.replace('#', server.long)}")


SEARCH = {"experiment_ids": ["0"], "filter": "metrics.m1 < 0.5 and params.p1 = 'v3'", "order_by": ["metrics.m2 DESC"], "max_results": 100}
LOADS = {
    "log-batch of 1": log_batch(1),
    "log-batch of 100": log_batch(100),
    "log-batch of 1000": log_batch(1000),
    "create run": request("POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": 1, "tags": [{"key": "a", "value": "b"}]}),
    "search, filter and order": request("POST", f"{API}/runs/search", SEARCH),
    "search, newest 100": request("POST", f"{API}/runs/search", {"experiment_ids": ["0"], "max_results": 100}),
    "history of 100k, 25k": history(f"{API}/metrics/get-history?run_id=#&metric_key=long&max_results=25000"),
    "history of 100k, 2500": history(f"{AJAX}/metrics/get-history-bulk-interval?run_ids=#&metric_key=long&max_results=2500"),
    f"artifact up, {ARTIFACT_MB} MB": artifact("PUT"),
    f"artifact down, {ARTIFACT_MB} MB": artifact("GET"),
}


def measure(server, prepare, connections, seconds):
    """Calls a second, median wait in ms, CPU-ms of the tree a call."""
    waits, errors, ready = [], [], threading.Barrier(connections + 1)

    def work():
        try:
            call = prepare(server)
            call(Connection(server.address), 0)
            ready.wait()
            # A new one: a server may have closed the other while the slowest caller made ready.
            connection = Connection(server.address)
            end, n = time.monotonic() + seconds, 1
            while (began := time.monotonic()) < end:
                call(connection, n)
                waits.append(time.monotonic() - began)
                n += 1
        except Exception as error:
            errors.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError:
        sys.exit(f"a load does not run: {errors[0]}")
    before, began = cpu_s(server.process.pid), time.monotonic()
    for thread in threads:
        thread.join()
    if errors:
        sys.exit(f"a load does not run: {errors[0]}")
    wall, cpu = time.monotonic() - began, cpu_s(server.process.pid) - before
    return len(waits) / wall, statistics.median(waits) * 1e3, cpu / len(waits) * 1e3


def made(n):
    """Params and metrics of the n-th run of the search."""
    spread = lambda k: (n * 2_654_435_761 + k * 40_503) * 2_246_822_519 % (1 << 32) / (1 << 32)
    return {f"p{k}": f"v{(n // (k + 1)) % 10}" for k in range(20)}, {f"m{k}": spread(k) for k in range(20)}


def fill_trimtab(server, runs):
    def some(first):
        connection = Connection(server.address)
        for n in range(first, runs, 8):
            run = server.run()
            params, metrics = made(n)
            body = {
                "run_id": run,
                "params": [{"key": key, "value": value} for key, value in params.items()],
                "metrics": [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in metrics.items()],
            }
            connection.send("POST", f"{API}/runs/log-batch", json.dumps(body).encode())

    threads = [threading.Thread(target=some, args=[first]) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.long, connection = server.run(), Connection(server.address)
    for first in range(0, POINTS, 1000):
        metrics = [{"key": "long", "value": n * 0.5, "timestamp": n, "step": n} for n in range(first, first + 1000)]
        connection.send("POST", f"{API}/runs/log-batch", json.dumps({"run_id": server.long, "metrics": metrics}).encode())


def fill_mlflow(server, runs):
    server.long = server.run()
    database = sqlite3.connect(server.started.database, timeout=60)
    rows = {"runs": [], "params": [], "metrics": [], "latest": [], "tags": []}
    for n in range(runs):
        run = f"{n:032x}"
        params, metrics = made(n)
        rows["runs"].append((run, f"run {n}", "LOCAL", "", "", "ada", "FINISHED", 1000 + n, 2000 + n, "", "active", f"x/{run}", 0))
        rows["params"] += [(key, value, run) for key, value in params.items()]
        rows["latest"] += [(key, value, 1, 0, 0, run) for key, value in metrics.items()]
        rows["tags"].append(("mlflow.runName", f"run {n}", run))
    rows["metrics"] = rows["latest"] + [("long", n * 0.5, n, n, 0, server.long) for n in range(POINTS)]
    columns = {
        "runs": "runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
        "source_version, lifecycle_stage, artifact_uri, experiment_id)",
        "params": "params (key, value, run_uuid)",
        "metrics": "metrics (key, value, timestamp, step, is_nan, run_uuid)",
        "latest": "latest_metrics (key, value, timestamp, step, is_nan, run_uuid)",
        "tags": "tags (key, value, run_uuid)",
    }
    for table, values in rows.items():
        database.executemany(f"INSERT INTO {columns[table]} VALUES ({', '.join('?' * len(values[0]))})", values)
    database.commit()
    database.close()


def start(name, home, trimtab):
    home.mkdir()
    if name == "trimtab":
        return Server(house.Server(trimtab, home / "home"))
    return Server(house.Genuine(sys.executable, home, workers=1 if name == "mlflow, 1 worker" else None, jobs=True))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--trimtab", default="target/release/trimtab")
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    options.add_argument("--only", default="", help="loads whose name contains this")
    o = options.parse_args()
    names = ["trimtab", "mlflow, 1 worker", "mlflow"]
    loads = {name: load for name, load in LOADS.items() if o.only in name}
    figures, memory = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            server = start(name, Path(folder) / name.replace(", ", "-").replace(" ", "-"), os.path.abspath(o.trimtab))
            try:
                idle = pss_mb(server.process.pid)
                (fill_trimtab if name == "trimtab" else fill_mlflow)(server, o.runs)
                for load, prepare in loads.items():
                    for connections in o.connections:
                        figures[name, load, connections] = measure(server, prepare, connections, o.seconds)
                memory[name] = idle, pss_mb(server.process.pid), len(tree(server.process.pid))
            finally:
                server.end()

    print(f"{o.runs} runs of 20 params and 20 metrics, {o.seconds} s a load")
    print(f"{'':26}{'conns':>5}  " + "".join(f"{name:>32}" for name in names) + f"{'/ trimtab: CPU, wait':>34}")
    print(f"{'':33}" + f"{'calls/s   p50 ms  CPU ms/call':>32}" * 3 + f"{'1 worker':>20}{'default':>14}")
    over = []
    for load in loads:
        for connections in o.connections:
            row = [figures[name, load, connections] for name in names]
            ours = row[0]
            ratio = lambda at, peer: row[peer][at] / max(ours[at], 1e-6)
            shown = "".join(f"{calls:>12.1f}{wait:>9.1f}{cpu:>11.3f}" for calls, wait, cpu in row)
            ratios = "".join(f"{ratio(2, peer):>8.0f}x{ratio(1, peer):>6.0f}x" for peer in (1, 2))
            print(f"{load:26}{connections:>5}  {shown}    {ratios}")
            if load.startswith("log-batch") and ratio(2, 1) < BUDGET:
                over.append(f"{load}, {connections} connections: {ratio(2, 1):.0f}")
    for name, (idle, loaded, processes) in memory.items():
        times = loaded / memory["trimtab"][1]
        print(f"{name:20} memory idle {idle:>6.0f} MB, after the loads {loaded:>6.0f} MB ({times:.0f}x), {processes} processes")
    if over:
        sys.exit(f"log-batch takes more than 1/{BUDGET} of the peer's CPU: {'; '.join(over)}")


if __name__ == "__main__":
    main()
