#!/usr/bin/env bash
# The binary as its users meet it: real clients, real processes, a real browser.
#
#   tests/run.sh FOLDER-OF-BINARIES PYTHON
#
# PYTHON has what python/requirements-test.txt lists. All suites run, whatever the first ones say.
set -euo pipefail

binaries=$1
python=$2
tests=$(dirname "$0")
scratch=$(mktemp -d)
server=
# shellcheck disable=SC2329 # called by the trap
end() {
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$scratch"
}
trap end EXIT

failed=0
suite() {
  echo "== $1"
  shift
  "$@" || failed=1
}

# A server on a free port, in a home of its own; it says where it is in HOME/server.json.
serve() {
  "$binaries/trimtab" up --home "$scratch/home" --listen 127.0.0.1:0 >"$scratch/server.log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    if [[ -s $scratch/home/server.json ]]; then
      url=$(sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' "$scratch/home/server.json")
      if [[ -n $url ]]; then return 0; fi
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  echo "the server did not start:"
  tail -n 20 "$scratch/server.log"
  return 1
}

if serve; then
  suite "the unmodified MLflow client" "$python" "$tests/mlflow_client.py" "$url"
else
  failed=1
  echo "0 passed, 1 failed"
fi
suite "the same calls to a genuine MLflow server" "$python" "$tests/mlflow_differential.py" "$binaries/trimtab" "$python"
suite "the same rows to MLflow's own scoring server" "$python" "$tests/serving_differential.py" "$binaries/trimtab" "$python"
suite "ONNX in the server, workers where it cannot" "$python" "$tests/onnx.py" "$binaries/trimtab" "$python"
suite "locked environments, side by side" "$python" "$tests/environments.py" "$binaries/trimtab" "$python"
suite "serving under load: swaps, kills, deadlines, queues" "$python" "$tests/serving.py" "$binaries/trimtab" "$python"
suite "start, refuse, survive, end" "$python" "$tests/server.py" "$binaries/trimtab"
suite "pipelines: items, conditions, kills, logs without end" "$python" "$tests/pipelines.py" "$binaries/trimtab"
suite "the pool: priorities, quotas, GPUs, memory, cost" "$python" "$tests/compute.py" "$binaries/trimtab"
suite "killed under eight writers" "$python" "$tests/durability.py" "$binaries/trimtab"
suite "moving in and out" "$python" "$tests/moving.py" "$binaries/trimtab"
suite "gates, people, canaries" "$python" "$tests/gates.py" "$binaries/trimtab" "$python"
suite "gates in other CI systems" "$python" "$tests/ci_files.py" "$binaries/trimtab" "$python"
suite "code checks, webhooks, statuses" "$python" "$tests/ci.py" "$binaries/trimtab" "$python"
suite "the pages in a browser" "$tests/browser.sh" "$binaries" "$python"
suite "the loop on real data, and its pages" "$python" "$tests/loop.py" "$binaries/trimtab" "$python"
exit "$failed"
