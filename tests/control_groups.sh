#!/usr/bin/env bash
# Jobs in control groups, on a machine that has them: many a build machine or container has none that may be used.
#
#   tests/control_groups.sh KERNEL TEST-BINARY [TRIMTAB]
#
# KERNEL: a vmlinuz with cgroup v2 built in, such as Debian's linux-image-cloud-amd64. TEST-BINARY: what `cargo test -p back-process --no-run`
# made. TRIMTAB: the binary; then a pipeline's steps run there too, one of which takes all the memory that the machine has.
# Needs qemu-system-x86_64, busybox (static) and cpio; runs in an emulated machine without a disk or a network.
set -euo pipefail

kernel=$1
tests=$2
trimtab=${3:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
mkdir -p "$root"/{bin,proc,sys,dev,scratch,made}
cp "$(command -v busybox)" "$root/bin/busybox"

# A binary with the libraries that it names.
bring() {
  cp "$1" "$root/made/$2"
  strip --strip-debug "$root/made/$2"
  ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -Ln "$library" "$root$library" || true
  done
}
bring "$tests" tests
if [[ -n $trimtab ]]; then bring "$trimtab" trimtab; fi

cat >"$root/made/trimtab.toml" <<'FILE'
[project]
name = "limits"
[pipeline.own.step.greedy]
run = ["sh", "-c", "x=$(head -c 300000000 /dev/zero | tr '\\0' x)"]
need = { mem = "64MiB" }
[pipeline.all.step.greedy]
run = ["sh", "-c", "x=$(cat /dev/zero | tr '\\0' x)"]
[pipeline.fork.step.bomb]
run = ["sh", "-c", "i=0; while [ $i -lt 10100 ]; do sleep 100 & i=$((i+1)); done"]
timeout = "5m"
FILE

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/scratch TMPDIR=/scratch
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs scratch /scratch
mount -t cgroup2 none /sys/fs/cgroup
verdict() { if [ "$1" = 0 ]; then echo "VERDICT ok    $2"; else echo "VERDICT FAIL  $2"; fi; }
cd /made
export TRIMTAB_TEST_CONTROL_GROUPS=1
echo "== in the root group"
./tests --test-threads=1; verdict $? "the back end's tests, in the root group"
echo "== alone in a group of its own"
echo '+memory +cpu +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/unit.service
sh -c 'echo 0 >/sys/fs/cgroup/unit.service/cgroup.procs; exec ./tests --test-threads=1'; verdict $? "the back end's tests, in a unit of its own"
if [ -x ./trimtab ]; then
  ip link set lo up
  sysctl -qw kernel.pid_max=100000
  ./trimtab up --home /scratch/home --listen 127.0.0.1:0 >/scratch/log 2>&1 &
  server=$!
  for _ in $(seq 100); do [ -s /scratch/home/server.json ] && break; sleep 0.2; done
  ./trimtab apply --home /scratch/home
  ./trimtab compute status --home /scratch/home
  ./trimtab compute status --home /scratch/home --json | grep -q control_groups; verdict $? "status says control groups"
  ./trimtab pipeline run own --home /scratch/home 2>&1 | tee /scratch/own; grep -q "needed more than the 64MiB" /scratch/own; verdict $? "its own limit"
  ./trimtab pipeline run all --home /scratch/home 2>&1 | tee /scratch/all; grep -q "the machine had no more" /scratch/all; verdict $? "the machine's memory"
  # A killed server's job goes when the next one starts.
  ./trimtab pipeline run fork --home /scratch/home >/dev/null 2>&1 &
  # Of that server alone: the next one goes on with the pipeline run, in a group of its own.
  groups() { ls -d /sys/fs/cgroup/trimtab-$server-* 2>/dev/null; }
  processes() { for group in $(groups); do cat "$group/cgroup.procs"; done | wc -l; }
  until [ "$(processes)" -gt 100 ]; do sleep 0.1; done
  kill -9 $server
  left=$(processes)
  ./trimtab compute status --home /scratch/home >/dev/null
  echo "left: $(groups)"
  [ "$left" -gt 1 ] && [ -z "$(groups)" ]; verdict $? "what a killed server left ($left processes) is gone"
  tail -n 20 /scratch/log
fi
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initrd.gz"
timeout 600 qemu-system-x86_64 -accel tcg -cpu max -m 1536 -smp 2 -kernel "$kernel" -initrd "$folder/initrd.gz" \
  -append "console=ttyS0 quiet panic=-1" -nographic -no-reboot -nic none | tr -d '\r' | tee "$folder/log"
passed=$(grep -c '^VERDICT ok' "$folder/log" || true)
failed=$(grep -c '^VERDICT FAIL' "$folder/log" || true)
# A machine that stops half-way gives no verdict on the rest.
expected=$([[ -n $trimtab ]] && echo 6 || echo 2)
if [[ $((passed + failed)) -ne $expected ]]; then echo "$expected verdicts are expected, $((passed + failed)) came"; fi
echo "$passed passed, $((expected - passed)) failed"
[[ $passed -eq $expected && $failed -eq 0 ]]
