//! Which step is next. Pure, and incremental: an end costs what hangs on it, however long the pipeline is.

use crate::graph;
use domain::entity::{PipelineStep, RunState, StepState};
use domain::spec::{PipelineSpec, step_of};
use indexmap::IndexMap;
use std::collections::{BTreeSet, VecDeque};

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Its needs are done.
    Start(String),
    /// A step with `each` whose needs are done: find its items, then tell [`Schedule::expanded`].
    Expand(String),
    /// All items of the step are over: collect what they made, then tell [`Schedule::ended`].
    Gather(String),
    /// It can never run; the step that is to blame. Its state is set already.
    Skip { step: String, state: StepState, blame: String },
    /// The steps are over, the exit steps begin; how the run stands.
    Exit(RunState),
    /// Nothing more will happen.
    Over(RunState),
}

struct Node {
    name: String,
    state: StepState,
    is_exit: bool,
    /// Has `each`.
    is_mapped: bool,
    limit: usize,
    /// Of each group, one must be done.
    needs: Vec<Vec<usize>>,
    /// Nodes that need this one.
    feeds: Vec<usize>,
    /// The step with `each` that it is an item of.
    parent: Option<usize>,
    /// Items that are not over, of which so many are under way, and those that wait for their turn.
    left: usize,
    busy: usize,
    waiting: VecDeque<usize>,
}

/// How far a pipeline run has come.
pub struct Schedule {
    nodes: Vec<Node>,
    by_name: IndexMap<String, usize>,
    /// Nodes to look at again.
    look: BTreeSet<usize>,
    acts: VecDeque<Act>,
    running: usize,
    cancelled: bool,
    exit: Option<RunState>,
    is_over: bool,
}

impl Schedule {
    /// From the states that the steps have; items of a step with `each` are known by their names.
    pub fn new(spec: &PipelineSpec, steps: &IndexMap<String, PipelineStep>) -> Self {
        let mut schedule = Schedule {
            nodes: Vec::with_capacity(spec.step.len() + spec.on_exit.len()),
            by_name: IndexMap::new(),
            look: BTreeSet::new(),
            acts: VecDeque::new(),
            running: 0,
            cancelled: false,
            exit: None,
            is_over: false,
        };
        let state_of = |name: &str| match steps.get(name).map(|step| step.state).unwrap_or_default() {
            StepState::Running => StepState::Waiting,
            state => state,
        };
        for (is_exit, (name, step)) in spec.step.iter().map(|step| (false, step)).chain(spec.on_exit.iter().map(|step| (true, step))) {
            let at = schedule.add(name, state_of(name), is_exit);
            schedule.nodes[at].is_mapped = !step.each.is_empty();
            schedule.nodes[at].limit = step.max_parallel.map_or(usize::MAX, |limit| limit.max(1) as usize);
        }
        for (name, step) in spec.step.iter().chain(&spec.on_exit) {
            let at = schedule.by_name[name];
            for group in graph::needs(spec, step) {
                let group: Vec<usize> = group.iter().filter_map(|needed| schedule.by_name.get(needed).copied()).collect();
                for needed in &group {
                    schedule.nodes[*needed].feeds.push(at);
                }
                schedule.nodes[at].needs.push(group);
            }
        }
        schedule.look = (0..schedule.nodes.len()).collect();
        schedule
    }

    fn add(&mut self, name: &str, state: StepState, is_exit: bool) -> usize {
        let at = self.nodes.len();
        self.by_name.insert(name.to_owned(), at);
        self.nodes.push(Node {
            name: name.into(),
            state,
            is_exit,
            is_mapped: false,
            limit: usize::MAX,
            needs: Vec::new(),
            feeds: Vec::new(),
            parent: None,
            left: 0,
            busy: 0,
            waiting: VecDeque::new(),
        });
        at
    }

    /// From now on nothing starts but the exit steps.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        // What was not yet handed out does not begin any more.
        for act in std::mem::take(&mut self.acts) {
            match &act {
                Act::Start(name) | Act::Expand(name) if !self.nodes[self.by_name[name]].is_exit => {
                    let at = self.by_name[name];
                    self.running -= 1;
                    self.nodes[at].state = StepState::Waiting;
                    if let Some(parent) = self.nodes[at].parent {
                        self.nodes[parent].busy -= 1;
                        self.turn(parent);
                    }
                }
                _ => self.acts.push_back(act),
            }
        }
    }

    /// A started, expanded or gathered step has come to its end.
    pub fn ended(&mut self, name: &str, state: StepState) {
        let Some(&at) = self.by_name.get(name) else { return };
        if self.nodes[at].state == StepState::Running {
            self.running -= 1;
        }
        self.set(at, state);
    }

    /// The items of a step that was to be expanded, by their states; none of them is fine.
    pub fn expanded(&mut self, name: &str, items: &[(String, StepState)]) {
        let Some(&at) = self.by_name.get(name) else { return };
        for (item, state) in items {
            let state = if *state == StepState::Running { StepState::Waiting } else { *state };
            let is_exit = self.nodes[at].is_exit;
            let child = self.add(item, state, is_exit);
            self.nodes[child].parent = Some(at);
            if !state.is_over() {
                self.nodes[at].left += 1;
                self.nodes[at].waiting.push_back(child);
            }
        }
        self.turn(at);
    }

    fn set(&mut self, at: usize, state: StepState) {
        self.nodes[at].state = state;
        self.look.extend(self.nodes[at].feeds.iter().copied());
        if let Some(parent) = self.nodes[at].parent {
            self.nodes[parent].left -= 1;
            self.nodes[parent].busy -= 1;
            self.turn(parent);
        }
    }

    /// Items whose turn it is; all over means gathering.
    fn turn(&mut self, parent: usize) {
        while !self.cancelled && self.nodes[parent].busy < self.nodes[parent].limit {
            let Some(child) = self.nodes[parent].waiting.pop_front() else { break };
            self.nodes[parent].busy += 1;
            self.start(child, Act::Start);
        }
        let is_over = self.nodes[parent].left == 0 || (self.cancelled && self.nodes[parent].busy == 0);
        if is_over && self.nodes[parent].state == StepState::Running {
            self.acts.push_back(Act::Gather(self.nodes[parent].name.clone()));
        }
    }

    fn start(&mut self, at: usize, act: fn(String) -> Act) {
        self.running += 1;
        self.nodes[at].state = StepState::Running;
        self.acts.push_back(act(self.nodes[at].name.clone()));
    }

    /// A need that can no longer be met: the state that follows, and the step to blame.
    fn blame(&self, at: usize) -> Option<(StepState, usize)> {
        for group in &self.nodes[at].needs {
            let state = |needed: &usize| self.nodes[*needed].state;
            if group.iter().all(|needed| state(needed).is_over() && !state(needed).is_done()) {
                let failed = group.iter().find(|needed| state(needed) != StepState::Skipped);
                return match failed {
                    Some(failed) => Some((StepState::UpstreamFailed, *failed)),
                    None => group.first().map(|skipped| (StepState::Skipped, *skipped)),
                };
            }
        }
        None
    }

    /// A group is met by its best alternative: those before it are over without success.
    fn is_met(&self, group: &[usize]) -> bool {
        let best = group.iter().map(|needed| self.nodes[*needed].state).find(|state| !state.is_over() || state.is_done());
        best.is_some_and(StepState::is_done)
    }

    /// What to do now; empty while steps are under way.
    pub fn acts(&mut self) -> Vec<Act> {
        while let Some(at) = self.look.pop_first() {
            let node = &self.nodes[at];
            if node.state != StepState::Waiting || node.parent.is_some() || (node.is_exit && self.exit.is_none()) {
                continue;
            }
            if let Some((state, blamed)) = self.blame(at) {
                let blame = self.nodes[blamed].name.clone();
                self.acts.push_back(Act::Skip { step: self.nodes[at].name.clone(), state, blame });
                self.set(at, state);
                continue;
            }
            let may = !self.cancelled || node.is_exit;
            if may && node.needs.iter().all(|group| self.is_met(group)) {
                let act = if node.is_mapped { Act::Expand } else { Act::Start };
                self.start(at, act);
            }
        }
        if self.acts.is_empty() && self.running == 0 && !self.is_over {
            let state = self.state();
            if self.exit.is_none() && self.nodes.iter().any(|node| node.is_exit && !node.state.is_over()) {
                self.exit = Some(state);
                self.look.extend((0..self.nodes.len()).filter(|at| self.nodes[*at].is_exit));
                let mut acts = vec![Act::Exit(state)];
                acts.extend(self.acts());
                return acts;
            }
            self.is_over = true;
            self.acts.push_back(Act::Over(state));
        }
        self.acts.drain(..).collect()
    }

    fn state(&self) -> RunState {
        let own = || self.nodes.iter().filter(|node| node.parent.is_none());
        let is_left = || own().any(|node| !node.is_exit && !node.state.is_over());
        match () {
            _ if (self.cancelled && is_left()) || own().any(|node| node.state == StepState::Cancelled) => RunState::Cancelled,
            _ if own().any(|node| matches!(node.state, StepState::Failed | StepState::UpstreamFailed)) => RunState::Failed,
            _ => RunState::Succeeded,
        }
    }

    /// The items of a step with `each`, in their order.
    pub fn items_of<'a>(steps: &'a IndexMap<String, PipelineStep>, name: &'a str) -> impl Iterator<Item = &'a PipelineStep> {
        let count = steps.get(name).and_then(|step| step.items.as_ref()).map_or(0, Vec::len);
        (0..count).filter_map(move |number| steps.get(&item_name(name, number)))
    }
}

/// `fit[2]`.
pub fn item_name(step: &str, number: usize) -> String {
    format!("{}[{number}]", step_of(step))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
