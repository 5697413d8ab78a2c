#![allow(clippy::unwrap_used)]
use super::*;
use domain::Span;
use std::path::PathBuf;

pub(crate) fn sh(id: &str, script: &str, folder: &std::path::Path) -> JobSpec {
    JobSpec {
        id: JobId(format!("{id}-{}", std::process::id())),
        command: vec!["sh".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), std::env::var("PATH").unwrap())],
        dir: folder.into(),
        log: folder.join(format!("{id}.log")),
        cpu: 1,
        mem_bytes: None,
        gpu: 0,
        queue: "default".into(),
        team: None,
        what: id.into(),
        timeout: None,
        heartbeat: None,
    }
}

pub(crate) fn is_alive(pid_file: PathBuf) -> bool {
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

#[tokio::test]
async fn exit_output_and_environment_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pool = LocalPool::new(2, 1 << 30);
    let mut job = sh("exit", "echo out; echo $SECRET >&2; env | grep ^HOME=", folder.path());
    job.env.push(("SECRET".into(), "given".into()));
    let end = pool.run(job.clone()).await.unwrap();
    assert_eq!((end.exit, end.signal, end.stderr_tail.as_str()), (Some(1), None, "given"), "there is no HOME");
    let log = std::fs::read_to_string(&job.log).unwrap();
    assert!(log.contains("out\n") && log.contains("given\n"), "{log}");
}

#[tokio::test]
async fn a_timeout_ends_the_whole_tree_and_daemons_too() {
    let folder = tempfile::tempdir().unwrap();
    let pool = LocalPool::new(2, 1 << 30);
    let mut job = sh("tree", "setsid sleep 300 & echo $! > daemon; sleep 300 & echo $! > child; wait", folder.path());
    job.timeout = Some(Span::from_ms(300));
    let end = pool.run(job).await.unwrap();
    assert!(end.timed_out);
    assert!(!is_alive(folder.path().join("daemon")) && !is_alive(folder.path().join("child")));
}

#[tokio::test]
async fn cancel_ends_a_job_that_ignores_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    let pool = std::sync::Arc::new(LocalPool::new(1, 1 << 30));
    let job = sh("stubborn", "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done", folder.path());
    let running = tokio::spawn({
        let (pool, job) = (pool.clone(), job.clone());
        async move { pool.run(job).await }
    });
    let pid = folder.path().join("pid");
    while std::fs::read_to_string(&pid).map_or(true, |text| text.trim().is_empty()) {
        tokio::task::yield_now().await;
    }
    pool.cancel(&job.id).await;
    let end = running.await.unwrap().unwrap();
    assert!(end.cancelled && end.signal == Some(9));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn reaping_a_job_ends_its_parts_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let start = |id: &JobId| {
        let mut command = std::process::Command::new("sleep");
        command.arg("60").env_clear().env(members::COOKIE, &id.0);
        command.spawn().unwrap()
    };
    let job = JobId(format!("{}.1", folder.path().display()));
    let neighbour = JobId(format!("{}0", job.0));
    let (mut part, mut other) = (start(&job.part("trial-0")), start(&neighbour));
    LocalPool::new(1, 1 << 30).reap(&job).await.unwrap();
    assert!(!part.wait().unwrap().success());
    assert!(other.try_wait().unwrap().is_none(), "job 10 is no part of job 1");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn what_asks_for_too_much_is_refused_and_what_takes_too_much_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pool = LocalPool::new(1, 64 << 20);
    let mut job = sh("large", "true", folder.path());
    job.cpu = 2;
    assert!(matches!(pool.run(job).await, Err(ComputeError::Refused(refusal)) if refusal.code == "job/too_large"));
    let mut job = sh("greedy", "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 5", folder.path());
    job.mem_bytes = Some(20 << 20);
    let end = pool.run(job).await.unwrap();
    assert!(end.out_of_memory == Some(OutOfMemory::OwnLimit) && end.signal == Some(9), "{end:?}");
    let end = pool.run(sh("shot", "kill -9 $$", folder.path())).await.unwrap();
    assert!(end.out_of_memory.is_none() && end.signal == Some(9), "{end:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_the_callers_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = sh("missing", "", folder.path());
    job.command = vec!["no-such-program".into()];
    let refused = LocalPool::new(1, 1 << 30).run(job).await;
    assert!(matches!(refused, Err(ComputeError::Refused(refusal)) if refusal.what.contains("no-such-program")));
}

#[tokio::test]
async fn endless_lines_and_invalid_text_are_kept_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let job = sh("noise", "head -c 3000000 /dev/zero >&2; printf '\\377\\376end' >&2; exit 1", folder.path());
    let end = LocalPool::new(1, 1 << 30).run(job.clone()).await.unwrap();
    assert!(end.stderr_tail.ends_with("end") && end.stderr_tail.len() <= 3 * output::TAIL_BYTES);
    assert_eq!(std::fs::metadata(job.log).unwrap().len(), 3_000_005);
}

#[tokio::test]
async fn a_log_keeps_its_beginning_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let job = sh("long", "echo begin; head -c 150000000 /dev/zero | tr '\\0' x; echo end", folder.path());
    LocalPool::new(1, 1 << 30).run(job.clone()).await.unwrap();
    let log = std::fs::read_to_string(job.log).unwrap();
    assert!(log.len() <= 65 << 20 && log.starts_with("begin\n") && log.ends_with("end\n"), "{} bytes", log.len());
    let note = log.lines().find(|line| line.starts_with('[')).unwrap();
    let left_out: usize = note.split([' ', '[']).nth(1).unwrap().parse().unwrap();
    assert_eq!(left_out + log.len() - note.len() - 2, 150_000_000 + 10, "every byte is there or counted");
}

#[tokio::test]
async fn a_job_that_is_silent_for_too_long_is_ended_and_one_that_talks_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let pool = LocalPool::new(1, 1 << 30);
    let mut job = sh("dead", "echo once; sleep 60", folder.path());
    job.heartbeat = Some(Span::from_ms(400));
    let end = pool.run(job).await.unwrap();
    assert!(end.silent && !end.timed_out && !end.is_success());
    let mut job = sh("alive", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.15; done", folder.path());
    job.heartbeat = Some(Span::from_ms(600));
    let end = pool.run(job).await.unwrap();
    assert!(end.is_success() && !end.silent, "{end:?}");
}

#[tokio::test]
async fn a_job_that_gets_no_log_is_a_fault_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("lingerer");
    std::fs::copy("/bin/sh", &program).unwrap();
    let mut job = sh("no-log", "", folder.path());
    job.command = vec![program.to_string_lossy().into_owned(), "-c".into(), "echo said".into()];
    job.log = folder.path().into();
    let refused = LocalPool::new(1, 1 << 30).run(job).await;
    assert!(matches!(&refused, Err(ComputeError::Fault(fault)) if fault.to_string().starts_with("opening the log")), "{refused:?}");
    let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    assert_eq!(stats.filter(|stat| stat.contains("(lingerer)")).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_says_nothing_has_no_log_and_the_first_word_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let pool = LocalPool::new(1, 1 << 30);
    for (id, script, said) in [("silent", "true", None), ("talker", "echo a; echo b >&2", Some(4))] {
        // Its folder is made with it.
        let job = sh(id, script, &folder.path().join("logs"));
        let (dir, log) = (folder.path().to_owned(), job.log.clone());
        assert!(pool.run(JobSpec { dir, ..job }).await.unwrap().is_success());
        assert_eq!(std::fs::metadata(log).ok().map(|meta| meta.len()), said, "{id}");
    }
}

#[tokio::test]
async fn what_a_short_job_used_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let job = sh("busy", "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done", folder.path());
    let end = LocalPool::new(1, 1 << 30).run(job).await.unwrap();
    assert!(end.cpu_ms.unwrap() > 0, "{end:?}");
}

/// A pool with one cpu, two GPUs, an urgent queue and a team with a quota; what runs in it is real.
#[tokio::test]
async fn jobs_start_by_priority_and_gpus_have_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let pool = std::sync::Arc::new(LocalPool::new(3, 1 << 30));
    let spec = ComputeSpec {
        cpu: Some(1),
        gpu: Some(domain::spec::Gpus::Named(vec!["GPU-a".into(), "GPU-b".into()])),
        queue: [("urgent".to_owned(), domain::spec::QueueSpec { priority: 9 })].into(),
        ..ComputeSpec::default()
    };
    pool.configure(&spec).unwrap();
    let start = |job: JobSpec| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.run(job).await.unwrap() })
    };
    let say = |id: &str| sh(id, &format!("echo {id}:$CUDA_VISIBLE_DEVICES >> order; test -f go || sleep 0.2"), folder.path());
    let first = start(JobSpec { gpu: 1, ..say("first") });
    while pool.state().running.is_empty() {
        tokio::task::yield_now().await;
    }
    let (usual, urgent) = (start(say("usual")), start(JobSpec { queue: "urgent".into(), gpu: 2, ..say("urgent") }));
    while pool.state().waiting.len() < 2 {
        tokio::task::yield_now().await;
    }
    let state = pool.state();
    assert_eq!((state.cpu_used, state.cpu, state.gpu_used, state.gpus.len()), (1, 1, 1, 2));
    let waiting: Vec<_> = state.waiting.iter().map(|job| (job.what.as_str(), job.why.as_deref().unwrap())).collect();
    assert_eq!(waiting, [("urgent", "1 cpu are not free"), ("usual", "1 cpu are not free")]);
    for job in [first, urgent, usual] {
        assert!(job.await.unwrap().is_success());
    }
    let order = std::fs::read_to_string(folder.path().join("order")).unwrap();
    assert_eq!(order, "first:GPU-a\nurgent:GPU-a,GPU-b\nusual:\n", "a job without GPUs sees none");
    assert_eq!(pool.state().cpu_used, 0);
}

#[test]
fn a_kill_is_the_machines_only_if_the_job_held_most_of_it() {
    let cases =
        [(Some(60), Some(100), OutOfMemory::Machine), (Some(40), Some(100), OutOfMemory::Perhaps), (None, Some(100), OutOfMemory::Perhaps)];
    for (peak, machine, expected) in cases {
        assert_eq!(whose_kill(peak, machine), expected);
    }
}
