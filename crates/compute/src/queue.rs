//! Which waiting job starts next.
//!
//! Order: priority of the queue; then the team that holds the least of the pool for its share (its dominant share: the greatest of its parts
//! of cpu, memory and GPUs, divided by `share`); then age. The first job in this order that has no room now gets a promise: what comes after
//! it may only start if, beside all that has started since the promise, the promised job would still fit the pool. So it starts at the latest
//! when all that ran at the promise has ended, unless a job of greater priority comes, which takes the promise over. A job that waits for
//! its own team's quota holds nobody up.

use domain::Refusal;
use domain::spec::{ComputeSpec, Gpus, bytes_of};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};

/// An amount of compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub cpu: u32,
    pub mem_bytes: u64,
    pub gpu: u32,
}

impl Amount {
    fn plus(self, other: Amount) -> Amount {
        Amount {
            cpu: self.cpu.saturating_add(other.cpu),
            mem_bytes: self.mem_bytes.saturating_add(other.mem_bytes),
            gpu: self.gpu.saturating_add(other.gpu),
        }
    }

    fn minus(self, other: Amount) -> Amount {
        Amount {
            cpu: self.cpu.saturating_sub(other.cpu),
            mem_bytes: self.mem_bytes.saturating_sub(other.mem_bytes),
            gpu: self.gpu.saturating_sub(other.gpu),
        }
    }

    fn fits(self, room: Amount) -> bool {
        self.cpu <= room.cpu && self.mem_bytes <= room.mem_bytes && self.gpu <= room.gpu
    }

    /// The first of cpu, memory and GPUs that there is too little of.
    fn lacks(self, room: Amount) -> Option<String> {
        if self.cpu > room.cpu {
            return Some(format!("{} cpu", self.cpu));
        }
        if self.mem_bytes > room.mem_bytes {
            return Some(format!("{} MiB of memory", self.mem_bytes >> 20));
        }
        (self.gpu > room.gpu).then(|| format!("{} gpu", self.gpu))
    }
}

/// A job that wants to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Unique among those that wait and run.
    pub job: String,
    pub amount: Amount,
    /// An undeclared queue has priority 0.
    pub queue: String,
    pub team: Option<String>,
}

/// A job that starts, and the GPUs that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub job: String,
    pub gpus: Vec<String>,
}

/// A job that waits, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub ask: Ask,
    /// From 1, in the order in which they are looked at.
    pub position: usize,
    pub why: String,
}

/// What there is, and who may hold how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub total: Amount,
    /// The names of the GPUs; as many as `total.gpu`.
    pub gpus: Vec<String>,
    priorities: IndexMap<String, i32>,
    teams: IndexMap<String, (f64, Amount)>,
}

const ALL: Amount = Amount { cpu: u32::MAX, mem_bytes: u64::MAX, gpu: u32::MAX };

impl Pool {
    /// A pool of this machine as the file has it: totals that it does not declare are the machine's, and serving's reserve is taken off.
    pub fn new(spec: &ComputeSpec, machine: Amount, found_gpus: &[String]) -> Result<Pool, Refusal> {
        let bytes = |text: &String| bytes_of(text).map_err(|what| Refusal::invalid("compute/mem", what));
        let gpus = match &spec.gpu {
            None => found_gpus.to_vec(),
            Some(Gpus::Count(count)) => (0..*count).map(|number| number.to_string()).collect(),
            Some(Gpus::Named(names)) => names.clone(),
        };
        let mem_bytes = spec.mem.as_ref().map_or(Ok(machine.mem_bytes), bytes)?;
        let whole = Amount { cpu: spec.cpu.unwrap_or(machine.cpu), mem_bytes, gpu: gpus.len() as u32 };
        let reserve = Amount { cpu: spec.reserve.cpu, mem_bytes: spec.reserve.mem.as_ref().map_or(Ok(0), bytes)?, gpu: 0 };
        let mut teams = IndexMap::new();
        for (name, team) in &spec.team {
            let mem_bytes = team.mem.as_ref().map_or(Ok(ALL.mem_bytes), bytes)?;
            let most = Amount { cpu: team.cpu.unwrap_or(ALL.cpu), mem_bytes, gpu: team.gpu.unwrap_or(ALL.gpu) };
            teams.insert(name.clone(), (team.share, most));
        }
        let priorities = spec.queue.iter().map(|(name, queue)| (name.clone(), queue.priority)).collect();
        Ok(Pool { total: whole.minus(reserve), gpus, priorities, teams })
    }

    /// Refuses what can never start here.
    pub fn check(&self, ask: &Ask) -> Result<(), Refusal> {
        if let Some(lack) = ask.amount.lacks(self.total) {
            let Amount { cpu, mem_bytes, gpu } = self.total;
            let what = format!("the job asks for {lack}; the pool has {cpu} cpu, {} MiB of memory and {gpu} gpu for jobs", mem_bytes >> 20);
            return Err(Refusal::invalid("job/too_large", what).hint("lower the step's `need`, or give the pool more under [compute]"));
        }
        let quota = ask.team.as_ref().and_then(|team| Some((team, self.teams.get(team)?)));
        if let Some((team, (_, most))) = quota
            && let Some(lack) = ask.amount.lacks(*most)
        {
            let what = format!("the job asks for {lack}, more than team {team} may ever hold");
            return Err(Refusal::invalid("job/over_quota", what).hint(format!("lower the step's `need`, or raise [compute.team.{team}]")));
        }
        Ok(())
    }
}

struct Running {
    ask: Ask,
    gpus: Vec<String>,
    /// Counts the starts.
    started: u64,
}

/// The jobs that wait and run.
pub struct Queue {
    pool: Pool,
    waiting: Vec<Ask>,
    running: BTreeMap<String, Running>,
    starts: u64,
    /// The job that was promised to be next, and how many starts there had been.
    promise: Option<(String, u64)>,
}

impl Queue {
    /// An empty queue before a pool.
    pub fn new(pool: Pool) -> Self {
        Queue { pool, waiting: Vec::new(), running: BTreeMap::new(), starts: 0, promise: None }
    }

    /// The pool as it is.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Changes the pool; what runs goes on.
    pub fn set_pool(&mut self, pool: Pool) {
        self.pool = pool;
        self.promise = None;
    }

    /// A job waits from now on. Refused is what can never start.
    pub fn push(&mut self, ask: Ask) -> Result<(), Refusal> {
        self.pool.check(&ask)?;
        if self.running.contains_key(&ask.job) || self.waiting.iter().any(|waiting| waiting.job == ask.job) {
            return Err(Refusal::conflict("job/running", format!("job {} runs already", ask.job)));
        }
        self.waiting.push(ask);
        Ok(())
    }

    /// A job ended, or does not want to start any more.
    pub fn remove(&mut self, job: &str) {
        self.running.remove(job);
        self.waiting.retain(|waiting| waiting.job != job);
        if self.promise.as_ref().is_some_and(|(promised, _)| promised == job) {
            self.promise = None;
        }
    }

    /// What all jobs hold.
    pub fn used(&self) -> Amount {
        self.running.values().fold(Amount::default(), |sum, running| sum.plus(running.ask.amount))
    }

    /// What the jobs of a team hold.
    pub fn used_by(&self, team: Option<&str>) -> Amount {
        let of_team = self.running.values().filter(|running| running.ask.team.as_deref() == team);
        of_team.fold(Amount::default(), |sum, running| sum.plus(running.ask.amount))
    }

    /// Those that run, with their GPUs.
    pub fn running(&self) -> impl Iterator<Item = (&Ask, &[String])> {
        self.running.values().map(|running| (&running.ask, running.gpus.as_slice()))
    }

    /// Those that wait, in the order in which they are looked at, each with its reason.
    pub fn waiting(&self) -> Vec<Waiting> {
        let order = self.order();
        let reason = |(at, index): (usize, &usize)| {
            let ask = &self.waiting[*index];
            Waiting { ask: ask.clone(), position: at + 1, why: self.why_not(ask).unwrap_or_else(|| "its turn".into()) }
        };
        order.iter().enumerate().map(reason).collect()
    }

    /// Starts what may start now.
    pub fn take(&mut self) -> Vec<Grant> {
        let mut grants = Vec::new();
        // After each start the shares are others, and so may be the order.
        while let Some(index) = self.next() {
            let ask = self.waiting.remove(index);
            if self.is_promised(&ask) {
                self.promise = None;
            }
            let held: BTreeSet<&String> = self.running.values().flat_map(|running| &running.gpus).collect();
            let free = self.pool.gpus.iter().filter(|gpu| !held.contains(gpu));
            let gpus: Vec<String> = free.take(ask.amount.gpu as usize).cloned().collect();
            self.starts += 1;
            grants.push(Grant { job: ask.job.clone(), gpus: gpus.clone() });
            self.running.insert(ask.job.clone(), Running { ask, gpus, started: self.starts });
        }
        grants
    }

    /// The first in order that may start; the first that has no room gets the promise.
    fn next(&mut self) -> Option<usize> {
        let mut is_first = true;
        for index in self.order() {
            let ask = &self.waiting[index];
            if self.why_not(ask).is_none() {
                return Some(index);
            }
            // Of one priority the promised job is looked at first: another one here has a greater priority.
            if self.over_quota(ask).is_none() && std::mem::take(&mut is_first) && !self.is_promised(ask) {
                self.promise = Some((ask.job.clone(), self.starts));
            }
        }
        None
    }

    fn is_promised(&self, ask: &Ask) -> bool {
        self.promise.as_ref().is_some_and(|(job, _)| *job == ask.job)
    }

    fn priority(&self, ask: &Ask) -> i32 {
        self.pool.priorities.get(&ask.queue).copied().unwrap_or(0)
    }

    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.waiting.len()).collect();
        let mut shares: BTreeMap<Option<&str>, f64> = BTreeMap::new();
        for ask in &self.waiting {
            shares.entry(ask.team.as_deref()).or_insert_with(|| self.share_of(ask.team.as_deref()));
        }
        order.sort_by(|a, b| {
            let (a, b) = (&self.waiting[*a], &self.waiting[*b]);
            let by_share = || shares[&a.team.as_deref()].total_cmp(&shares[&b.team.as_deref()]);
            self.priority(b).cmp(&self.priority(a)).then_with(|| self.is_promised(b).cmp(&self.is_promised(a))).then_with(by_share)
        });
        order
    }

    /// How much of the pool a team holds for its share: 0 for nothing.
    fn share_of(&self, team: Option<&str>) -> f64 {
        let (used, total) = (self.used_by(team), self.pool.total);
        let part = |used: u64, total: u64| if total == 0 { 0.0 } else { used as f64 / total as f64 };
        let dominant =
            part(used.cpu.into(), total.cpu.into()).max(part(used.mem_bytes, total.mem_bytes)).max(part(used.gpu.into(), total.gpu.into()));
        let share = team.and_then(|team| self.pool.teams.get(team)).map_or(1.0, |(share, _)| *share);
        dominant / share.max(f64::MIN_POSITIVE)
    }

    fn over_quota(&self, ask: &Ask) -> Option<String> {
        let team = ask.team.as_deref()?;
        let (_, most) = self.pool.teams.get(team)?;
        let lack = ask.amount.lacks(most.minus(self.used_by(Some(team))))?;
        Some(format!("team {team} holds all it may: the job asks for {lack}"))
    }

    /// Why a job cannot start now; `None`: it can.
    fn why_not(&self, ask: &Ask) -> Option<String> {
        if let Some(why) = self.over_quota(ask) {
            return Some(why);
        }
        if let Some(lack) = ask.amount.lacks(self.pool.total.minus(self.used())) {
            return Some(format!("{lack} are not free"));
        }
        let (promised, since) = self.promise.as_ref().filter(|(promised, _)| *promised != ask.job)?;
        let promised = self.waiting.iter().find(|waiting| waiting.job == *promised)?;
        if self.priority(ask) > self.priority(promised) {
            return None;
        }
        let later = self.running.values().filter(|running| running.started > *since);
        let beside = later.fold(promised.amount.plus(ask.amount), |sum, running| sum.plus(running.ask.amount));
        (!beside.fits(self.pool.total)).then(|| format!("job {} goes first", promised.job))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
