"""The point-in-time join beside DuckDB's ASOF JOIN and polars' join_asof: the same Parquet files, fresh processes, two threads.

    python bench/asof_peers.py --bench target/release/examples/asof_bench [--labels 1000000 --rows 5000000 --views 3 --repeat 3]

Needs duckdb, polars, pyarrow and numpy. Prints the median CPU seconds of each, wall seconds, peak memory, and the ratios to DuckDB and
to only reading. All outputs must have the same checksum, else it exits with 1.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FEATURES = 5


def duckdb_join(folder, out, views):
    import duckdb

    con = duckdb.connect()
    con.execute("SET threads = 2")
    columns, joins = ["l.row_id", "l.key", "l.ts"], ""
    for v in range(views):
        joins += f" ASOF LEFT JOIN '{folder}/view_{v}.parquet' v{v} ON l.key = v{v}.key AND l.ts >= v{v}.ts"
        for f in range(FEATURES):
            columns.append(f"CASE WHEN v{v}.ts >= l.ts - INTERVAL 7 DAY THEN v{v}.f{f} END AS v{v}_f{f}")
    query = f"SELECT {', '.join(columns)} FROM '{folder}/labels.parquet' l{joins}"
    con.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")


def polars_join(folder, out, views):
    import polars as pl

    joined = pl.scan_parquet(f"{folder}/labels.parquet").sort("ts")
    for v in range(views):
        names = {f"f{f}": f"v{v}_f{f}" for f in range(FEATURES)}
        view = pl.scan_parquet(f"{folder}/view_{v}.parquet").rename(names).sort("ts")
        joined = joined.join_asof(view, on="ts", by="key", tolerance="7d", strategy="backward", check_sortedness=False)
    joined.sink_parquet(out, compression="zstd", compression_level=1)


def run(command):
    """CPU seconds, wall seconds and peak MB of one fresh process."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"POLARS_MAX_THREADS": "2"})
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss / 1024


def checksum(path, views):
    """Nulls and a sum weighted by row, so that a value in the wrong row shows."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    weight = table["row_id"].to_numpy() % 997 + 1.0
    nulls, total = 0, 0.0
    for name in (f"v{v}_f{f}" for v in range(views) for f in range(FEATURES)):
        values = table[name].to_numpy()
        nulls += int(np.isnan(values).sum())
        total += float(np.nansum(values * weight))
    return table.num_rows, nulls, round(total, 2)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--bench", default="target/release/examples/asof_bench")
    options.add_argument("--labels", type=int, default=1_000_000)
    options.add_argument("--rows", type=int, default=5_000_000)
    options.add_argument("--views", type=int, default=3)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    o = options.parse_args()
    if o.child:
        engine, folder, out = o.child
        return {"duckdb": duckdb_join, "polars": polars_join}[engine](folder, out, o.views)

    with tempfile.TemporaryDirectory() as folder:
        run([o.bench, "generate", folder, str(o.labels), str(o.rows), str(o.views)])
        child = [sys.executable, __file__, "--views", str(o.views), "--child"]
        out = {name: str(Path(folder) / f"{name}.parquet") for name in ("trimtab", "duckdb", "polars")}
        commands = {
            "only reading": [o.bench, "read", folder],
            "trimtab": [o.bench, "join", folder, out["trimtab"]],
            "duckdb": [*child, "duckdb", folder, out["duckdb"]],
            "polars": [*child, "polars", folder, out["polars"]],
        }
        # Turn by turn, so that a busy moment of the machine hits all of them.
        turns = [{name: run(command) for name, command in commands.items()} for _ in range(o.repeat)]
        figures = {name: [statistics.median(column) for column in zip(*(turn[name] for turn in turns))] for name in commands}
        sums = {name: checksum(path, o.views) for name, path in out.items()}
    print(f"{o.labels} labels x {o.rows} rows x {o.views} views, median of {o.repeat}")
    print(f"{'':14}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'/ duckdb':>10}{'/ reading':>11}")
    for name, (cpu, wall, peak) in figures.items():
        ratios = f"{cpu / figures['duckdb'][0]:>10.2f}{cpu / figures['only reading'][0]:>11.2f}"
        print(f"{name:14}{cpu:>8.2f}{wall:>8.2f}{peak:>9.0f}{ratios}")
    print("rows, nulls, checksum:", sums["trimtab"])
    if len(set(sums.values())) != 1:
        sys.exit(f"the results differ: {sums}")


if __name__ == "__main__":
    main()
