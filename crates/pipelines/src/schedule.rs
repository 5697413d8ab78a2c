//! Which step is next. Pure: the same states give the same answer.

use crate::check::edges;
use domain::entity::{RunState, StepState};
use domain::spec::PipelineSpec;
use indexmap::IndexMap;
use std::collections::HashMap;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Next {
    /// Steps whose needs are done, in the order of the file.
    pub start: Vec<String>,
    /// Steps that can never run, and the step that is to blame.
    pub skip: Vec<(String, String)>,
    /// The state of the pipeline run if nothing more will happen.
    pub over: Option<RunState>,
}

/// Looks at the states of all steps. Independent branches finish when one fails; what depends on the failure is skipped.
pub fn next(spec: &PipelineSpec, states: &IndexMap<String, StepState>, cancelled: bool) -> Next {
    let mut next = Next::default();
    let edges = edges(spec);
    let mut needs: HashMap<&str, Vec<&str>> = HashMap::new();
    edges.iter().for_each(|edge| needs.entry(&edge.step).or_default().push(&edge.needs));
    let needs_of = |step: &str| needs.get(step).map_or(&[][..], Vec::as_slice);
    let mut states = states.clone();
    loop {
        let mut changed = false;
        for step in spec.step.keys() {
            if states.get(step).copied().unwrap_or_default() != StepState::Waiting {
                continue;
            }
            let blocked = needs_of(step).iter().find(|needed| {
                let state = states.get(**needed).copied().unwrap_or_default();
                state.is_over() && !state.is_done()
            });
            if let Some(needed) = blocked {
                next.skip.push((step.clone(), (*needed).to_owned()));
                states.insert(step.clone(), StepState::Skipped);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let state_of = |step: &str| states.get(step).copied().unwrap_or_default();
    if !cancelled {
        let ready = |step: &&String| needs_of(step).iter().all(|needed| state_of(needed).is_done());
        next.start = spec.step.keys().filter(|step| state_of(step) == StepState::Waiting).filter(ready).cloned().collect();
    }
    let running = spec.step.keys().any(|step| state_of(step) == StepState::Running);
    if next.start.is_empty() && !running {
        next.over = Some(match () {
            _ if spec.step.keys().all(|step| state_of(step).is_done()) => RunState::Succeeded,
            _ if cancelled || spec.step.keys().any(|step| state_of(step) == StepState::Cancelled) => RunState::Cancelled,
            _ => RunState::Failed,
        });
    }
    next
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::spec::StepSpec;
    use proptest::prelude::*;

    proptest! {
        /// Random graphs with random failures: every run ends, no step starts before its needs, exactly what hangs on a failure is skipped.
        #[test]
        fn every_graph_comes_to_its_end(size in 1usize..12, links in proptest::collection::vec(any::<u16>(), 0..40), fails in any::<u16>()) {
            let name = |i: usize| format!("s{i}");
            let mut spec = PipelineSpec::default();
            for i in 0..size {
                let after = links.iter().filter(|link| **link as usize % size == i && i > 0).map(|link| name((*link as usize / size) % i)).collect();
                spec.step.insert(name(i), StepSpec { run: vec!["x".into()], after, ..StepSpec::default() });
            }
            let mut states: IndexMap<String, StepState> = IndexMap::new();
            for _ in 0..=size {
                let todo = next(&spec, &states, false);
                for (step, _) in &todo.skip { states.insert(step.clone(), StepState::Skipped); }
                if let Some(over) = todo.over {
                    let failed = states.values().any(|state| *state == StepState::Failed);
                    prop_assert_eq!(over, if failed { RunState::Failed } else { RunState::Succeeded });
                    prop_assert_eq!(states.len(), size);
                    return Ok(());
                }
                prop_assert!(!todo.start.is_empty());
                for step in todo.start {
                    for needs in &spec.step[&step].after { prop_assert!(states[needs].is_done()); }
                    let index: usize = step[1..].parse().unwrap();
                    states.insert(step, if fails >> index & 1 == 1 { StepState::Failed } else { StepState::Succeeded });
                }
            }
            prop_assert!(false, "the run does not end");
        }
    }
}
