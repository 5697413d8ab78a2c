#![allow(clippy::unwrap_used)]
use super::*;
use crate::LocalPool;
use crate::tests::{is_alive, sh};
use ports::{ComputeBackend, LimitsBy, OutOfMemory};

/// A cgroup file system and a `/proc` made of plain files: they show what is read and written, and do nothing.
struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    fn new(groups: &str, controllers: &str, processes: &str) -> Fake {
        let root = tempfile::tempdir().unwrap();
        let fake = Fake { root };
        let pid = std::process::id();
        fs::create_dir_all(fake.proc().join("self")).unwrap();
        fs::create_dir_all(fake.proc().join(pid.to_string())).unwrap();
        fs::create_dir_all(fake.own()).unwrap();
        fs::write(fake.proc().join("self/cgroup"), groups).unwrap();
        let mount = format!("35 24 0:30 / {} rw - cgroup2 none rw\n", fake.root.path().join("mount").display());
        fs::write(fake.proc().join("self/mountinfo"), mount).unwrap();
        // The twentieth field after the name is when it was started.
        let stat = format!("{pid} (a) b) S {}77 0", "0 ".repeat(18));
        fs::write(fake.proc().join(pid.to_string()).join("stat"), stat).unwrap();
        for (file, text) in [("controllers", controllers), ("procs", processes), ("subtree_control", ""), ("type", "domain")] {
            fs::write(fake.own().join(format!("cgroup.{file}")), text).unwrap();
        }
        fake
    }

    fn proc(&self) -> PathBuf {
        self.root.path().join("proc")
    }

    fn own(&self) -> PathBuf {
        self.root.path().join("mount/unit.service")
    }

    fn open(&self) -> Result<Tree, String> {
        Tree::open(&self.proc())
    }
}

fn mine() -> String {
    std::process::id().to_string()
}

#[test]
fn why_there_are_no_control_groups_is_said() {
    let cases = [
        ("4:memory:/\n", "memory pids", mine(), "this system has no cgroup v2"),
        ("4:cpu,memory:/\n0::/unit.service\n", "memory", mine(), "memory is under cgroup v1"),
        ("0::/unit.service\n", "hugetlb", mine(), "hands on no controller for memory (it has: hugetlb)"),
        ("0::/elsewhere\n", "memory", mine(), "hands on no controller for memory (it has: none)"),
        ("0::/unit.service\n", "cpu memory pids", format!("{}\n1\n2\n", mine()), "2 other processes live in"),
    ];
    for (groups, controllers, processes, expected) in cases {
        let why = Fake::new(groups, controllers, &processes).open().err().unwrap_or_else(|| panic!("{groups}: not refused"));
        assert!(why.contains(expected), "{why}");
    }
    assert!(Tree::open(Path::new("/nowhere")).is_err());
}

#[test]
fn the_server_moves_into_a_leaf_and_a_job_gets_what_it_asked_for() {
    let fake = Fake::new("0::/unit.service\n", "cpuset cpu memory pids", &mine());
    let dead = fake.own().join("trimtab-1-5.3");
    let alive = fake.own().join(format!("trimtab-{}-77.9", mine()));
    for group in [&dead, &alive] {
        fs::create_dir(group).unwrap();
        fs::write(group.join("cgroup.kill"), "").unwrap();
    }
    let tree = fake.open().unwrap();
    let read = |file: &str| fs::read_to_string(fake.own().join(file)).unwrap();
    let mark = format!("trimtab-{}-77", mine());
    assert_eq!((read(&format!("{mark}.server/cgroup.procs")), read("cgroup.subtree_control")), ("0".into(), "+pids".into()));
    assert_eq!(fs::read_to_string(dead.join("cgroup.kill")).unwrap(), "1", "its server is gone");
    assert_eq!(fs::read_to_string(alive.join("cgroup.kill")).unwrap(), "", "its server is this one");
    let limits = Limits { memory_bytes: Some(1 << 20), cpu: 3 };
    let group = Group::make(tree.folder.join("job"), &limits, true, true).unwrap();
    for (file, text) in [("memory.max", "1048576"), ("memory.swap.max", "0"), ("memory.oom.group", "1"), ("cpu.weight", "300")] {
        assert_eq!(read(&format!("job/{file}")), text, "{file}");
    }
    let told = [
        ("memory.events", "low 0\nhigh 0\nmax 40\noom 1\noom_kill 2\noom_group_kill 1\n"),
        ("memory.peak", "1000000\n"),
        ("memory.stat", "anon 5\nfile 400000\nfile_mapped 7\ninactive_file 300000\n"),
        ("memory.current", "700000\n"),
        ("cpu.stat", "usage_usec 1234567\nuser_usec 5\n"),
        ("pids.events", "max 2\n"),
    ];
    for (file, text) in told {
        fs::write(group.folder().join(file), text).unwrap();
    }
    assert_eq!(group.out_of_memory(), Some(OutOfMemory::OwnLimit));
    assert_eq!((group.peak_bytes(), group.memory_bytes(), group.cpu_ms()), (Some(600_000), 400_000, Some(1234)));
    assert_eq!(group.too_many_processes(), Some(10_000));
    fs::write(group.folder().join("memory.events"), "max 0\noom 0\noom_kill 1\n").unwrap();
    assert_eq!(group.out_of_memory(), Some(OutOfMemory::Machine));
}

/// The real thing, where this process may use it; `tests/control_groups.sh` makes a machine where it may.
#[tokio::test]
async fn the_kernel_holds_a_job_to_its_limits() {
    let pool = LocalPool::new(2, 1 << 30);
    let Ok(tree) = &pool.groups else {
        let must = std::env::var_os("TRIMTAB_TEST_CONTROL_GROUPS").is_some();
        assert!(!must, "{}", pool.state().limits.why);
        return;
    };
    let groups = || {
        let names = fs::read_dir(&tree.folder).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(PREFIX) && !name.ends_with(LEAF)).count()
    };
    assert_eq!(pool.state().limits.by, LimitsBy::ControlGroups);
    let folder = tempfile::tempdir().unwrap();
    // The one that takes too much is a grandchild of the job, and its leader would live on.
    let mut job =
        sh("greedy", "cat /proc/self/cgroup; (sh -c 'x=$(head -c 90000000 /dev/zero | tr \"\\0\" x); sleep 5'); sleep 30", folder.path());
    job.mem_bytes = Some(40 << 20);
    let end = pool.run(job.clone()).await.unwrap();
    assert_eq!((end.out_of_memory, end.signal), (Some(OutOfMemory::OwnLimit), Some(9)), "{end:?}");
    assert!(end.peak_memory_bytes.is_some_and(|peak| (30 << 20..=40 << 20).contains(&peak)), "{end:?}");
    let log = fs::read_to_string(&job.log).unwrap();
    assert!(log.contains(PREFIX), "it began in its group: {log}");
    // A daemon in a session of its own, without the cookie, is the job's all the same.
    let end = pool.run(sh("daemon", "env -i setsid sleep 300 & echo $! > daemon; kill -9 $$", folder.path())).await.unwrap();
    assert_eq!((end.out_of_memory, end.signal), (None, Some(9)), "{end:?}");
    assert!(!is_alive(folder.path().join("daemon")));
    let end = pool.run(sh("busy", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done", folder.path())).await.unwrap();
    assert!(end.is_success() && end.cpu_ms > Some(5), "{end:?}");
    assert_eq!(groups(), 0, "no group is left");
}
