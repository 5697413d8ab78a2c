#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn queue(text: &str) -> Queue {
    let spec: ComputeSpec = toml::from_str(text).unwrap();
    Queue::new(Pool::new(&spec, Amount { cpu: 4, mem_bytes: 8 << 30, gpu: 0 }, &[]).unwrap())
}

fn ask(job: &str, cpu: u32) -> Ask {
    Ask { job: job.into(), amount: Amount { cpu, mem_bytes: 0, gpu: 0 }, queue: "default".into(), team: None }
}

fn of(team: &str, ask: Ask) -> Ask {
    Ask { team: Some(team.into()), ..ask }
}

fn started(queue: &mut Queue) -> Vec<String> {
    queue.take().into_iter().map(|grant| grant.job).collect()
}

#[test]
fn priority_then_share_then_age() {
    let mut queue = queue("cpu = 2\n[queue.urgent]\npriority = 10\n[team.a]\n[team.b]\nshare = 2.0");
    for job in [of("a", ask("a1", 1)), of("a", ask("a2", 1)), of("b", ask("b1", 1)), Ask { queue: "urgent".into(), ..ask("now", 1) }] {
        queue.push(job).unwrap();
    }
    assert_eq!(started(&mut queue), ["now", "a1"]);
    queue.remove("now");
    assert_eq!(started(&mut queue), ["b1"], "team a holds half of the pool, team b nothing");
    queue.remove("a1");
    assert_eq!(started(&mut queue), ["a2"]);
}

#[test]
fn a_large_job_is_not_overtaken_for_ever_but_what_does_not_hold_it_up_goes_on() {
    let mut queue = queue("cpu = 4");
    queue.push(ask("first", 3)).unwrap();
    assert_eq!(started(&mut queue), ["first"]);
    queue.push(ask("large", 4)).unwrap();
    queue.push(ask("small", 1)).unwrap();
    assert_eq!(started(&mut queue), [""; 0], "beside the small one the large one would not fit");
    assert_eq!(
        queue.waiting().iter().map(|waiting| waiting.why.as_str()).collect::<Vec<_>>(),
        ["4 cpu are not free", "job large goes first"]
    );
    queue.remove("first");
    assert_eq!(started(&mut queue), ["large"]);
    queue.remove("large");
    assert_eq!(started(&mut queue), ["small"]);
    // A job of three leaves room for one beside it.
    queue.push(ask("three", 3)).unwrap();
    queue.push(ask("two", 2)).unwrap();
    queue.remove("small");
    assert_eq!(started(&mut queue), ["three"]);
    queue.push(ask("one", 1)).unwrap();
    assert_eq!(started(&mut queue), ["one"], "job two needs 2 of 4: there is room for 1 beside it when three ends");
}

#[test]
fn a_greater_priority_takes_the_promise_over() {
    let mut queue = queue("cpu = 1\n[queue.urgent]\npriority = 1");
    queue.push(ask("first", 1)).unwrap();
    assert_eq!(started(&mut queue), ["first"]);
    queue.push(ask("usual", 1)).unwrap();
    assert_eq!(started(&mut queue), [""; 0]);
    queue.push(Ask { queue: "urgent".into(), ..ask("now", 1) }).unwrap();
    assert_eq!(started(&mut queue), [""; 0]);
    queue.remove("first");
    assert_eq!(started(&mut queue), ["now"]);
    queue.remove("now");
    assert_eq!(started(&mut queue), ["usual"]);
}

#[test]
fn quotas_hold_up_their_own_team_alone() {
    let mut queue = queue("cpu = 4\n[team.a]\ncpu = 1");
    queue.push(of("a", ask("a1", 1))).unwrap();
    queue.push(of("a", ask("a2", 1))).unwrap();
    queue.push(ask("other", 3)).unwrap();
    assert_eq!(started(&mut queue), ["a1", "other"]);
    assert_eq!(queue.waiting()[0].why, "team a holds all it may: the job asks for 1 cpu");
    assert_eq!(queue.push(of("a", ask("a3", 2))).unwrap_err().code, "job/over_quota");
    assert_eq!(queue.push(ask("huge", 5)).unwrap_err().code, "job/too_large");
    assert_eq!(queue.push(of("a", ask("a2", 1))).unwrap_err().code, "job/running");
}

#[test]
fn serving_keeps_its_reserve_and_gpus_have_one_holder() {
    let mut queue = queue("cpu = 4\ngpu = [\"x\", \"y\"]\nreserve = { cpu = 1, mem = \"1GiB\" }");
    assert_eq!(queue.pool().total, Amount { cpu: 3, mem_bytes: 7 << 30, gpu: 2 });
    let gpu = |job: &str, gpu| Ask { amount: Amount { cpu: 1, mem_bytes: 0, gpu }, ..ask(job, 1) };
    for job in [gpu("one", 1), gpu("other", 1), gpu("third", 1)] {
        queue.push(job).unwrap();
    }
    let grants = queue.take();
    assert_eq!(grants.iter().map(|grant| grant.gpus.join(",")).collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(queue.waiting()[0].why, "1 gpu are not free");
    queue.remove("one");
    assert_eq!(queue.take()[0].gpus, ["x"]);
}

proptest! {
    /// Any mix of jobs, ended in any order: the pool and quotas are kept, no GPU is held twice, every job starts, and none waits longer
    /// than until all that ran at its promise has ended.
    #[test]
    fn every_job_starts_and_nothing_is_held_twice(
        jobs in proptest::collection::vec((1u32..5, 0u64..4, 0u32..3, 0usize..3, 0usize..3), 1..60),
        order in proptest::collection::vec(any::<u16>(), 1..40),
        burst in 1usize..6,
    ) {
        let mut queue = queue("cpu = 4\nmem = \"4GiB\"\ngpu = 2\n[queue.q1]\npriority = 1\n[queue.q2]\npriority = -1\n[team.t1]\ncpu = 4\n[team.t2]\nshare = 3.0\ngpu = 2");
        let mut left = jobs.iter().enumerate().map(|(n, (cpu, gib, gpu, line, team))| Ask {
            job: format!("j{n}"),
            amount: Amount { cpu: *cpu, mem_bytes: gib << 30, gpu: *gpu },
            queue: ["default", "q1", "q2"][*line].into(),
            team: [None, Some("t1"), Some("t2")][*team].map(str::to_owned),
        });
        let (mut running, mut done) = (Vec::new(), 0);
        for turn in 0..10_000 {
            for ask in left.by_ref().take(burst) { queue.push(ask).unwrap(); }
            for grant in queue.take() { running.push(grant.job); }
            prop_assert!(queue.used().fits(queue.pool().total));
            prop_assert!(queue.used_by(Some("t1")).cpu <= 4);
            let held: Vec<String> = queue.running().flat_map(|(_, gpus)| gpus.to_vec()).collect();
            prop_assert_eq!(held.len(), held.iter().collect::<BTreeSet<_>>().len());
            prop_assert!(queue.running().all(|(ask, gpus)| ask.amount.gpu as usize == gpus.len()));
            if running.is_empty() { break }
            let ended = running.remove(order[turn % order.len()] as usize % running.len());
            queue.remove(&ended);
            done += 1;
        }
        prop_assert_eq!(done, jobs.len(), "{:?}", queue.waiting());
    }
}
