#![allow(clippy::unwrap_used)]
use super::*;
use domain::PipelineRunId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn spec(text: &str) -> PipelineSpec {
    toml::from_str(text).unwrap()
}

fn fresh(spec: &PipelineSpec) -> IndexMap<String, PipelineStep> {
    spec.step.keys().chain(spec.on_exit.keys()).map(|name| (name.clone(), PipelineStep::waiting(PipelineRunId::new("r"), name))).collect()
}

fn start(name: &str) -> Act {
    Act::Start(name.into())
}

#[test]
fn conditions_alternatives_and_exit() {
    let spec = spec(
        r#"
        step.a = { run = "x", when = "params.big", out = { m = "m" } }
        step.b = { run = "x", out = { m = "m" } }
        step.use = { run = "x", in = { m = "a.m | b.m" } }
        step.only_a = { run = "x", after = ["a"] }
        on_exit.tell = { run = "x" }
        "#,
    );
    let mut schedule = Schedule::new(&spec, &fresh(&spec));
    assert_eq!(schedule.acts(), [start("a"), start("b")]);
    schedule.ended("b", StepState::Succeeded);
    assert_eq!(schedule.acts(), [], "the better alternative may still come");
    schedule.ended("a", StepState::Skipped);
    let skip = Act::Skip { step: "only_a".into(), state: StepState::Skipped, blame: "a".into() };
    assert_eq!(schedule.acts(), [start("use"), skip]);
    schedule.ended("use", StepState::Failed);
    assert_eq!(schedule.acts(), [Act::Exit(RunState::Failed), start("tell")]);
    schedule.ended("tell", StepState::Succeeded);
    assert_eq!(schedule.acts(), [Act::Over(RunState::Failed)]);
    assert_eq!(schedule.acts(), []);
}

#[test]
fn items_run_as_many_at_a_time_as_allowed_and_are_gathered() {
    let spec = spec(
        r#"
        step.fit = { run = "x", each = { r = ["a", "b", "c"] }, max_parallel = 2, out = { m = "m" } }
        step.use = { run = "x", in = { m = "fit.m" } }
        "#,
    );
    let mut schedule = Schedule::new(&spec, &fresh(&spec));
    assert_eq!(schedule.acts(), [Act::Expand("fit".into())]);
    let items: Vec<_> = (0..3).map(|number| (item_name("fit", number), StepState::Waiting)).collect();
    schedule.expanded("fit", &items);
    assert_eq!(schedule.acts(), [start("fit[0]"), start("fit[1]")]);
    schedule.ended("fit[1]", StepState::Succeeded);
    assert_eq!(schedule.acts(), [start("fit[2]")]);
    schedule.ended("fit[0]", StepState::Succeeded);
    schedule.ended("fit[2]", StepState::Failed);
    assert_eq!(schedule.acts(), [Act::Gather("fit".into())]);
    schedule.ended("fit", StepState::Failed);
    let skip = Act::Skip { step: "use".into(), state: StepState::UpstreamFailed, blame: "fit".into() };
    assert_eq!(schedule.acts(), [skip]);
    assert_eq!(schedule.acts(), [Act::Over(RunState::Failed)]);
}

#[test]
fn no_items_are_a_success_and_what_was_done_is_not_done_again() {
    let spec = spec(r#"step.fit = { run = "x", each = { r = "params.r" } }"#);
    let mut schedule = Schedule::new(&spec, &fresh(&spec));
    schedule.acts();
    schedule.expanded("fit", &[]);
    assert_eq!(schedule.acts(), [Act::Gather("fit".into())]);
    let mut schedule = Schedule::new(&spec, &fresh(&spec));
    schedule.acts();
    schedule.expanded("fit", &[("fit[0]".into(), StepState::Succeeded), ("fit[1]".into(), StepState::Running)]);
    assert_eq!(schedule.acts(), [start("fit[1]")]);
}

#[test]
fn a_cancelled_run_starts_nothing_but_its_exit_steps() {
    let spec = spec(
        r#"
        step.a = { run = "x" }
        step.fit = { run = "x", each = { r = ["a", "b"] }, max_parallel = 1 }
        step.c = { run = "x", after = ["a"] }
        on_exit.tell = { run = "x" }
        "#,
    );
    let mut schedule = Schedule::new(&spec, &fresh(&spec));
    schedule.acts();
    schedule.expanded("fit", &[("fit[0]".into(), StepState::Waiting), ("fit[1]".into(), StepState::Waiting)]);
    assert_eq!(schedule.acts(), [start("fit[0]")]);
    schedule.cancel();
    schedule.ended("fit[0]", StepState::Cancelled);
    schedule.ended("a", StepState::Succeeded);
    assert_eq!(schedule.acts(), [Act::Gather("fit".into())]);
    schedule.ended("fit", StepState::Cancelled);
    assert_eq!(schedule.acts(), [Act::Exit(RunState::Cancelled), start("tell")]);
    schedule.ended("tell", StepState::Failed);
    assert_eq!(schedule.acts(), [Act::Over(RunState::Cancelled)]);
}

/// A pipeline, and what becomes of each step when it runs.
#[derive(Clone, Debug)]
struct Made {
    spec: PipelineSpec,
    outcomes: BTreeMap<String, StepState>,
    items: BTreeMap<String, usize>,
}

prop_compose! {
    fn made()(size in 1usize..12, links in proptest::collection::vec(any::<u16>(), 0..30), fate in proptest::collection::vec(0u8..8, 60), kinds in proptest::collection::vec(0u8..6, 12), exits in 0usize..3) -> Made {
        let name = |i: usize| format!("s{i}");
        let mut spec = PipelineSpec::default();
        let mut items = BTreeMap::new();
        for i in 0..size {
            let after = links.iter().filter(|link| **link as usize % size == i && i > 0).map(|link| {
                let (one, other) = ((*link as usize / size) % i, (*link as usize / size / 7) % i);
                if link % 3 == 0 { format!("{} | {}", name(one), name(other)) } else { name(one) }
            });
            let mut step = domain::spec::StepSpec { run: vec!["x".into()], after: after.collect(), ..Default::default() };
            if kinds[i] == 0 {
                step.each.insert("r".into(), domain::spec::Items::List(Vec::new()));
                step.max_parallel = Some(1 + (fate[i] as u32 % 3));
                items.insert(name(i), fate[i + 12] as usize % 5);
            }
            spec.step.insert(name(i), step);
        }
        for i in 0..exits {
            spec.on_exit.insert(format!("e{i}"), domain::spec::StepSpec { run: vec!["x".into()], ..Default::default() });
        }
        let mut names: Vec<String> = spec.step.keys().chain(spec.on_exit.keys()).cloned().collect();
        names.extend(items.iter().flat_map(|(step, count)| (0..*count).map(|number| item_name(step, number))));
        let outcomes = names.into_iter().zip(fate.iter().cycle().skip(24)).map(|(name, fate)| (name, match fate {
            0 => StepState::Failed,
            1 => StepState::Skipped,
            2 => StepState::Cached,
            _ => StepState::Succeeded,
        })).collect();
        Made { spec, outcomes, items }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Random graphs with conditions, items, failures, cancels, and crashes at any moment: the run ends; no step starts before its needs,
    /// or twice after it was done; items keep their limit; exit steps run last, and whatever happened.
    #[test]
    fn every_run_comes_to_its_end(made in made(), order in proptest::collection::vec(any::<u16>(), 64), crash in proptest::option::of(0usize..40), cancel in proptest::option::of(0usize..40)) {
        let spec = &made.spec;
        let mut stored = fresh(spec);
        let mut done: BTreeSet<String> = BTreeSet::new();
        let mut schedule = Schedule::new(spec, &stored);
        let mut under_way: Vec<Act> = Vec::new();
        let mut is_cancelled = false;
        let over = 'run: {
            for tick in 0..2000 {
                if crash == Some(tick) {
                    // The process dies: what was under way waits again; what was committed stays.
                    under_way.clear();
                    for step in stored.values_mut().filter(|step| step.state == StepState::Running) { step.state = StepState::Waiting; }
                    schedule = Schedule::new(spec, &stored);
                    if is_cancelled { schedule.cancel(); }
                }
                if cancel == Some(tick) { schedule.cancel(); is_cancelled = true; }
                for act in schedule.acts() {
                    match act {
                        Act::Over(state) => break 'run Some(state),
                        Act::Skip { step, state, .. } => stored[&step].state = state,
                        Act::Exit(_) => prop_assert!(under_way.is_empty()),
                        Act::Start(ref name) | Act::Expand(ref name) => {
                            prop_assert!(done.iter().all(|done| done != name), "{name} is done and starts again");
                            if let Some(step) = spec.step.get(step_of(name)) {
                                prop_assert!(!is_cancelled, "{name} starts though the run is cancelled");
                                for group in graph::needs(spec, step) {
                                    prop_assert!(group.iter().any(|needed| stored[needed].state.is_done()), "{name} starts before its needs");
                                }
                            }
                            if let Some(step) = stored.get_mut(name) { step.state = StepState::Running; }
                            under_way.push(act);
                        }
                        Act::Gather(_) => under_way.push(act),
                    }
                }
                for (step, declared) in &spec.step {
                    let busy = under_way.iter().filter(|act| matches!(act, Act::Start(name) if name.contains('[') && step_of(name) == step)).count();
                    prop_assert!(declared.max_parallel.is_none_or(|limit| busy <= limit as usize));
                }
                if under_way.is_empty() { continue }
                let act = under_way.remove(order[tick % order.len()] as usize % under_way.len());
                match act {
                    Act::Start(name) => {
                        let state = made.outcomes[&name];
                        stored[&name].state = state;
                        if state.is_done() { done.insert(name.clone()); }
                        schedule.ended(&name, state);
                    }
                    Act::Expand(name) => {
                        let mut items = Vec::new();
                        for number in 0..made.items[&name] {
                            let item = item_name(&name, number);
                            let step = stored.entry(item.clone()).or_insert_with(|| PipelineStep::waiting(PipelineRunId::new("r"), &item));
                            items.push((item, step.state));
                        }
                        stored[&name].items = Some(vec![Default::default(); items.len()]);
                        schedule.expanded(&name, &items);
                    }
                    Act::Gather(name) => {
                        let items: Vec<StepState> = Schedule::items_of(&stored, &name).map(|item| item.state).collect();
                        let state = if items.contains(&StepState::Failed) { StepState::Failed }
                            else if is_cancelled && items.iter().any(|state| !state.is_over()) { StepState::Cancelled }
                            else { StepState::Succeeded };
                        stored[&name].state = state;
                        if state.is_done() { done.insert(name.clone()); }
                        schedule.ended(&name, state);
                    }
                    _ => {}
                }
            }
            None
        };
        prop_assert!(over.is_some(), "the run does not end");
        for exit in spec.on_exit.keys() { prop_assert!(stored[exit].state.is_over(), "{exit} did not run"); }
        let failed = spec.step.keys().any(|step| matches!(stored[step].state, StepState::Failed | StepState::UpstreamFailed));
        let left = spec.step.keys().any(|step| !stored[step].state.is_over());
        if !is_cancelled { prop_assert!(!left); }
        if over == Some(RunState::Succeeded) { prop_assert!(!failed && !left); }
        if over == Some(RunState::Cancelled) { prop_assert!(is_cancelled); }
    }
}
