#!/usr/bin/env bash
# The pages in a real browser, over the made-up story of crates/web.
#
#   tests/browser.sh FOLDER-OF-BINARIES PYTHON [FOLDER-FOR-PICTURES]
#
# Needs Chromium: as root on Debian it is installed. Where there is none, this says so, and fails if CI=true.
set -euo pipefail

binaries=$1
python=$2
pictures=${3:-}
tests=$(dirname "$0")

find_chromium() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name"; then return 0; fi
  done
  return 1
}

if ! chromium=$(find_chromium); then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    echo "== Chromium is not there: installing Debian's"
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null || true
  fi
  if ! chromium=$(find_chromium); then
    echo "== NO CHROMIUM: the pages were NOT tested in a browser (install chromium)"
    if [[ ${CI:-} == true ]]; then echo "0 passed, 1 failed"; exit 1; fi
    exit 0
  fi
fi

scratch=$(mktemp -d)
"$binaries/examples/story" 127.0.0.1:0 live runs=10000 >"$scratch/story.log" 2>&1 &
story=$!
trap 'kill "$story" 2>/dev/null || true; rm -rf "$scratch"' EXIT
url=
for _ in $(seq 300); do
  url=$(grep -m1 -o 'http://[0-9.:]*' "$scratch/story.log" || true)
  if [[ -n $url ]] || ! kill -0 "$story" 2>/dev/null; then break; fi
  sleep 0.1
done
if [[ -z $url ]]; then
  echo "the story's server did not start:"
  cat "$scratch/story.log"
  exit 1
fi
"$python" "$tests/browser.py" "$chromium" "$url" ${pictures:+"$pictures"}
