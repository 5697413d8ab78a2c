//! Checks: what a report says of the code that it is about, and which cases cannot be relied on. Pure.

use domain::entity::{CacheEntry, StepState};
use domain::entity::{CaseState, CheckCase, CheckCounts, CheckHistory, CheckReport, FlakyCase, PipelineStep, Reported};
use domain::spec::StepSpec;
use domain::{Fault, Refusal};
use ports::World;
use std::collections::HashMap;

/// The output that holds a check's report, and its file unless the step names another.
pub const REPORT: &str = "report";
const FILE: &str = "junit.xml";
/// Cases that are kept of a report; of the rest it is told how many there were.
const KEPT: usize = 2_000;
/// Reports that a check's past holds, and flaky cases.
const REMEMBERED: usize = 200;
const FLAKY_REMEMBERED: usize = 1_000;
/// Reports of the same code that a new one is compared with.
pub(crate) const COMPARED: usize = 20;
/// Failures whose messages are in an error.
const TOLD: usize = 5;
/// Failures that are named in an error's first line.
const NAMED: usize = 3;

/// A check as the command that it is, with its report among the outputs; other steps as they are.
pub fn as_command(mut step: StepSpec) -> StepSpec {
    if !step.check.is_empty() {
        step.run.clone_from(&step.check);
        step.output.entry(REPORT.into()).or_insert_with(|| FILE.into());
    }
    step
}

/// Refuses a check that could not be read.
pub(crate) fn check(name: &str, step: &StepSpec) -> Result<(), Refusal> {
    if step.check.is_empty() {
        return match &step.junit {
            None => Ok(()),
            Some(_) => Err(Refusal::invalid("step/check", format!("step {name} has `junit`, but is no check"))
                .hint("write `check = [...]` instead of `run = [...]`")),
        };
    }
    if step.sweep.is_some() {
        return Err(Refusal::invalid("step/check", format!("step {name} is a check: it cannot be a sweep too")));
    }
    let hole = format!("{{out.{REPORT}}}");
    let is_told = step.check.iter().any(|argument| argument.contains(&hole));
    match &step.junit {
        None if !is_told => Err(Refusal::invalid("step/check", format!("nothing tells the check {name} where its JUnit report goes"))
            .hint("check = [\"pytest\", \"--junitxml\", \"{out.report}\"]; or name the file that the tool writes: junit = \"target/nextest/ci/junit.xml\"")),
        Some(_) if is_told => Err(Refusal::invalid("step/check", format!("step {name} has both `{hole}` and `junit`")).hint("one is enough")),
        Some(path) if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") => {
            Err(Refusal::invalid("step/check", format!("`junit = \"{path}\"` leads out of the project's folder")))
        }
        _ => Ok(()),
    }
}

/// Marks what is flaky in a report, given earlier ones of the same check, the newest first; and brings the past up to date.
///
/// A case is flaky if the same code let it pass and fail: in another attempt of this pipeline run, or in another pipeline run.
pub fn judge(report: &mut CheckReport, earlier: &[CheckReport], history: &mut CheckHistory) {
    let now: HashMap<String, CaseState> = report.cases.iter().map(|case| (case.name.clone(), case.state)).collect();
    let mut seen: HashMap<&str, (CaseState, String)> = HashMap::new();
    for other in earlier.iter().filter(|other| other.code == report.code) {
        let place = if other.pipeline_run == report.pipeline_run {
            format!("attempt {}", other.attempt)
        } else {
            format!("{}, attempt {}", other.pipeline_run, other.attempt)
        };
        for case in other.cases.iter().filter(|case| now.get(&case.name).is_some_and(|now| is_other(*now, case.state))) {
            seen.entry(&case.name).or_insert_with(|| (case.state, place.clone()));
        }
    }
    for case in &mut report.cases {
        if let Some((state, place)) = seen.get(case.name.as_str()) {
            let was = if state.is_bad() { "failed" } else { "passed" };
            case.flaky = Some(format!("{was} in {place}, the same code"));
        }
        if case.flaky.is_some() {
            let known = history.flaky.entry(case.name.clone()).or_insert(FlakyCase { times: 0, last: report.at });
            known.times += 1;
            known.last = report.at;
        }
    }
    while history.flaky.len() > FLAKY_REMEMBERED {
        let oldest = history.flaky.iter().min_by_key(|(_, known)| known.last).map(|(name, _)| name.clone());
        oldest.and_then(|name| history.flaky.shift_remove(&name));
    }
    report.counts = CheckCounts::of(&report.cases);
    report.cases.sort_by_key(|case| (!case.state.is_bad(), case.flaky.is_none()));
    report.left_out = report.cases.len().saturating_sub(KEPT) as u64;
    report.cases.truncate(KEPT);
    // Heard of twice, as after a crash, it is one report.
    history.reports.retain(|known| (&known.pipeline_run, known.attempt) != (&report.pipeline_run, report.attempt));
    history.reports.push(Reported {
        pipeline_run: report.pipeline_run.clone(),
        attempt: report.attempt,
        code: report.code.clone(),
        at: report.at,
        counts: report.counts,
    });
    let over = history.reports.len().saturating_sub(REMEMBERED);
    history.reports.drain(..over);
}

fn is_other(now: CaseState, before: CaseState) -> bool {
    let tells = |state: CaseState| state != CaseState::Skipped;
    tells(now) && tells(before) && now.is_bad() != before.is_bad()
}

/// What a check fails for, if it fails: the names of the first failures, then what they say.
pub fn complaint(report: &CheckReport) -> Option<String> {
    let counts = report.counts;
    if counts.cases == 0 {
        return Some("its JUnit report has no case: nothing was checked".into());
    }
    if counts.bad() == 0 {
        return None;
    }
    let bad: Vec<&CheckCase> = report.cases.iter().filter(|case| case.state.is_bad()).collect();
    let names: Vec<&str> = bad.iter().take(NAMED).map(|case| case.name.as_str()).collect();
    let more = counts.bad() - names.len() as u64;
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let mut text = format!("{} of {} cases failed: {}{more}", counts.bad(), counts.cases, names.join(", "));
    for case in bad.iter().take(TOLD) {
        let said = case.message.as_deref().unwrap_or(case.state.word());
        let flaky = case.flaky.as_ref().map_or(String::new(), |why| format!(" (flaky: {why})"));
        text.push_str(&format!("\n  {}{flaky}: {}", case.name, said.lines().next().unwrap_or_default()));
    }
    Some(text)
}

/// What an attempt of a step reported, or its newest one that did; for a step that was taken from the cache, what it had reported then.
pub fn report_of(world: &World, step: &PipelineStep, attempt: Option<u32>) -> Result<Option<CheckReport>, Fault> {
    if step.state == StepState::Cached && step.attempts.is_empty() {
        let Some(key) = &step.cache_key else { return Ok(None) };
        let Some(entry) = world.get::<CacheEntry>(key.as_str())? else { return Ok(None) };
        let Some(source) = world.get::<PipelineStep>(&format!("{}/{}", entry.pipeline_run, entry.step))? else { return Ok(None) };
        if source.state == StepState::Cached {
            return Ok(None);
        }
        return report_of(world, &source, None);
    }
    let numbers = step.attempts.iter().rev().map(|one| one.number).filter(|number| attempt.is_none_or(|asked| asked == *number));
    for number in numbers {
        if let Some(report) = world.get::<CheckReport>(&CheckReport::key_of(&step.pipeline_run, &step.name, number))? {
            return Ok(Some(report));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::{Digest, PipelineRunId, Timestamp};

    fn report(run: &str, attempt: u32, code: &str, cases: &str) -> CheckReport {
        let case = |word: &str| {
            let (name, state) = word.split_once('=').unwrap();
            let state = match state {
                "+" => CaseState::Passed,
                "-" => CaseState::Failed,
                _ => CaseState::Skipped,
            };
            CheckCase { name: name.into(), state, time_ms: None, message: None, flaky: None }
        };
        CheckReport {
            pipeline: "p".into(),
            pipeline_run: PipelineRunId::new(run),
            step: "s".into(),
            attempt,
            code: Digest::of(code.as_bytes()),
            at: Timestamp::from_ms(i64::from(attempt)),
            counts: CheckCounts::default(),
            cases: cases.split_whitespace().map(case).collect(),
            left_out: 0,
        }
    }

    /// Which cases are flaky in the last of some reports, each `RUN ATTEMPT CODE | CASES`.
    fn flaky(reports: &[&str]) -> Vec<String> {
        let mut history = CheckHistory { pipeline: "p".into(), step: "s".into(), reports: vec![], flaky: Default::default() };
        let mut earlier: Vec<CheckReport> = Vec::new();
        for text in reports {
            let (head, cases) = text.split_once('|').unwrap();
            let head: Vec<&str> = head.split_whitespace().collect();
            let mut now = report(head[0], head[1].parse().unwrap(), head[2], cases);
            judge(&mut now, &earlier, &mut history);
            earlier.insert(0, now);
        }
        earlier[0].cases.iter().filter_map(|case| Some(format!("{} {}", case.name, case.flaky.as_ref()?))).collect()
    }

    #[test]
    fn flaky_is_what_the_same_code_lets_pass_and_fail() {
        let none: [&str; 0] = [];
        assert_eq!(flaky(&["r1 1 x | a=+ b=-", "r1 2 x | a=+ b=-"]), none, "it fails each time");
        assert_eq!(flaky(&["r1 1 x | a=+ b=-", "r1 2 x | a=+ b=+"]), ["b failed in attempt 1, the same code"]);
        assert_eq!(flaky(&["r1 1 x | a=+ b=-", "r2 1 y | a=+ b=+"]), none, "the code was mended");
        assert_eq!(flaky(&["r1 1 x | b=+", "r2 1 x | b=-"]), ["b passed in r1, attempt 1, the same code"]);
        assert_eq!(flaky(&["r1 1 x | b=+", "r2 1 x | b=s"]), none, "a skipped case says nothing");
        assert_eq!(flaky(&["r1 1 x | b=+", "r2 1 y | b=-", "r3 1 x | b=-"]), ["b passed in r1, attempt 1, the same code"]);
    }

    #[test]
    fn the_first_failures_are_named_and_no_case_is_no_evidence() {
        let mut history = CheckHistory { pipeline: "p".into(), step: "s".into(), reports: vec![], flaky: Default::default() };
        let mut told = |cases: &str| {
            let mut report = report("r", 1, "x", cases);
            judge(&mut report, &[], &mut history);
            complaint(&report)
        };
        assert_eq!(told("a=+ b=s"), None);
        assert_eq!(told("").unwrap(), "its JUnit report has no case: nothing was checked");
        assert_eq!(told("a=+ b=- c=- d=- e=-").unwrap().lines().next().unwrap(), "4 of 5 cases failed: b, c, d, and 1 more");
        assert_eq!(history.reports.len(), 1, "the same attempt is one report");
    }

    #[test]
    fn a_check_says_where_its_report_goes() {
        let step = |check: &[&str], junit: Option<&str>| StepSpec {
            check: check.iter().map(|word| word.to_string()).collect(),
            junit: junit.map(str::to_owned),
            ..StepSpec::default()
        };
        let cases = [
            (step(&["pytest", "--junitxml={out.report}"], None), ""),
            (step(&["cargo", "nextest"], Some("target/nextest/ci/junit.xml")), ""),
            (step(&["pytest"], None), "where its JUnit report goes"),
            (step(&["pytest", "{out.report}"], Some("x.xml")), "both"),
            (step(&["pytest"], Some("../x.xml")), "leads out"),
            (step(&["pytest"], Some("/x.xml")), "leads out"),
            (step(&[], Some("x.xml")), "no check"),
        ];
        for (step, text) in cases {
            let found = check("t", &step).err().map_or(String::new(), |refusal| refusal.what);
            assert!(if text.is_empty() { found.is_empty() } else { found.contains(text) }, "{step:?}: {found}");
        }
    }
}
