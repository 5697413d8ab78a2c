#![allow(clippy::unwrap_used)]
//! The rules of an incident by small stories: what happens is one word each, what is said one line each.

use super::*;

/// Weeks of seven days from 1 March; `Week 0` is judged on day 8, a day after its end.
fn day(n: i64) -> Timestamp {
    Timestamp::parse("2011-03-01").unwrap() + Span::days(n)
}

fn week(n: i64) -> Range {
    Range::new(day(7 * n), day(7 * n + 7))
}

fn action() -> IncidentAction {
    IncidentAction { run: "retrain".into(), auto: true, cooldown: Span::days(1), max_per_week: 3, escalate_after: 2 }
}

struct Story {
    case: Case,
    action: Option<IncidentAction>,
    closed: Vec<Incident>,
}

impl Story {
    fn new(action: Option<IncidentAction>) -> Self {
        let case = Case {
            model: ModelName::new("demand"),
            champion: VersionNumber(1),
            bad: Vec::new(),
            incident: None,
            asked: Vec::new(),
            incidents: 0,
        };
        Story { case, action, closed: Vec::new() }
    }

    fn act(&mut self, act: impl FnOnce(&mut Case, &Policy) -> Vec<Event>) -> Vec<String> {
        let policy = Policy { rule: "mae > 1.5 * best.mae for 2 windows", windows: 2, action: self.action.as_ref() };
        let said = act(&mut self.case, &policy);
        if let Some(closed) = self.case.incident.take_if(|incident| incident.state != IncidentState::Open) {
            self.closed.push(closed);
        }
        said.iter().filter(|event| event.name() != "AlertRaised").map(told).collect()
    }

    /// A window is judged a day after its end.
    fn window(&mut self, n: i64, verdict: Verdict, whole: bool) -> Vec<String> {
        let judged = Judged { range: week(n), whole, verdict, why: "mae 44.1" };
        self.act(|case, policy| case.window(policy, &judged, week(n).to + Span::days(1)))
    }

    fn bad(&mut self, n: i64) -> Vec<String> {
        self.window(n, Verdict::Fail, true)
    }

    fn good(&mut self, n: i64) -> Vec<String> {
        self.window(n, Verdict::Pass, true)
    }

    fn cut(&mut self, n: i64) -> Vec<String> {
        self.window(n, Verdict::Inconclusive, false)
    }

    fn run(&self) -> PipelineRunId {
        self.case.incident.as_ref().unwrap().attempts.last().unwrap().pipeline_run.clone()
    }

    fn refused(&mut self) -> Vec<String> {
        let run = self.run();
        let nothing = Nothing { run: &run, challenger: None, outcome: RetrainOutcome::Refused, why: "38.8 against 39.3" };
        self.act(|case, policy| case.came_to_nothing(policy, &nothing, day(0)))
    }

    fn promoted(&mut self, version: u64) {
        let run = self.run();
        self.case.promoted(Some(&run), VersionNumber(version), "33.0 against 44.1");
        // The new champion's monitor has counted nothing yet.
        self.case.champion = VersionNumber(version);
        self.case.bad.clear();
    }

    fn waiting(&self) -> String {
        self.case.incident.as_ref().and_then(|incident| incident.waiting.clone()).unwrap_or_default()
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::RetrainRequested { pipeline_run, holdout_to, auto, .. } => {
            format!("retrain {pipeline_run} to {}{}", &holdout_to.to_string()[5..10], if *auto { "" } else { " by hand" })
        }
        Event::RetrainUnhelpful { in_a_row, .. } => format!("unhelpful {in_a_row}"),
        Event::IncidentOpened { incident, .. } => format!("opened {incident}"),
        Event::IncidentResolved { incident, .. } => format!("resolved {incident}"),
        Event::IncidentEscalated { incident, .. } => format!("escalated {incident}"),
        other => panic!("{other:?}"),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_first_incident_of_the_bikeshare_year() {
    // Weeks of 29 March and 5 April are bad; retrained 13 April; versions 2 and 3 do not help; escalated 25 May.
    let mut story = Story::new(Some(action()));
    for n in 0..4 {
        assert_eq!(story.good(n), NOTHING);
    }
    assert_eq!(story.bad(4), NOTHING);
    assert_eq!(story.bad(5), ["opened demand-1", "retrain retrain-demand-1-1 to 04-12"]);
    story.promoted(2);
    assert_eq!(story.cut(6), NOTHING);
    assert_eq!(story.bad(7), NOTHING);
    assert_eq!(story.bad(8), ["unhelpful 1", "retrain retrain-demand-1-2 to 05-03"]);
    story.promoted(3);
    assert_eq!(story.cut(9), NOTHING);
    assert_eq!(story.bad(10), NOTHING);
    assert_eq!(story.bad(11), ["unhelpful 2", "escalated demand-1"]);
    let escalated = &story.closed[0];
    assert_eq!((escalated.closed.unwrap(), escalated.evidence.clone()), (Timestamp::parse("2011-05-25").unwrap(), vec![week(4), week(5)]));
    assert!(escalated.why.contains("version 2") && escalated.why.contains("version 3"), "{}", escalated.why);
    // Two further bad windows open another.
    assert_eq!(story.bad(12), NOTHING);
    assert_eq!(story.bad(13), ["opened demand-2", "retrain retrain-demand-2-1 to 06-07"]);
    story.promoted(4);
    assert_eq!(story.good(15), ["resolved demand-2"]);
    assert_eq!(story.closed[1].attempts[0].outcome, RetrainOutcome::Helped);
}

#[test]
fn the_whole_bikeshare_year() {
    // Weeks from 1 March: good, bad, cut short; after a week that asks for a retraining, promoted (+) or refused (-).
    // The verdicts are those of an independent computation on the data, which gives the same counts.
    let year = "ggggbb+.bb+.bbbb+.ggbggbggggbgbgbb-bb+.bbbb+.bb+.b";
    let mut story = Story::new(Some(action()));
    let (mut said, mut n, mut version) = (Vec::new(), 0, 1);
    for what in year.chars() {
        said.extend(match what {
            'g' => story.good(n),
            'b' => story.bad(n),
            '.' => story.cut(n),
            '-' => story.refused(),
            _ => {
                version += 1;
                story.promoted(version);
                vec![]
            }
        });
        n += i64::from(!matches!(what, '+' | '-'));
    }
    let count = |word: &str| said.iter().filter(|told| told.starts_with(word)).count();
    assert_eq!((n, count("opened"), count("retrain"), version - 1), (43, 4, 7, 6));
    assert_eq!((count("escalated"), count("resolved"), count("unhelpful")), (2, 1, 5));
    let refused = story.closed[2].attempts.iter().filter(|attempt| attempt.outcome == RetrainOutcome::Refused);
    assert_eq!(refused.count(), 1);
}

#[test]
fn windows_that_are_no_evidence_neither_count_nor_reset() {
    let mut story = Story::new(Some(action()));
    assert_eq!(story.bad(0), NOTHING);
    assert_eq!(story.window(1, Verdict::Inconclusive, true), NOTHING);
    assert_eq!(story.window(2, Verdict::Fail, false), NOTHING);
    assert_eq!(story.window(3, Verdict::Pass, false), NOTHING);
    assert_eq!(story.bad(4), ["opened demand-1", "retrain retrain-demand-1-1 to 04-05"]);
}

#[test]
fn a_good_window_resets_the_count_and_resolves() {
    let mut story = Story::new(Some(action()));
    assert_eq!((story.bad(0), story.good(1), story.bad(2)), (vec![], vec![], vec![]));
    story.bad(3);
    assert_eq!(story.good(4), ["resolved demand-1"]);
    assert_eq!(story.good(5), NOTHING);
    assert_eq!(story.closed[0].state, IncidentState::Resolved);
}

#[test]
fn a_refused_challenger_did_not_help_and_the_count_starts_afresh() {
    let mut story = Story::new(Some(action()));
    story.bad(0);
    story.bad(1);
    assert_eq!(story.refused(), ["unhelpful 1"]);
    assert_eq!(story.refused(), NOTHING, "the same refusal heard twice counts once");
    assert_eq!(story.bad(2), NOTHING);
    assert_eq!(story.bad(3), ["retrain retrain-demand-1-2 to 03-29"]);
    assert_eq!(story.refused(), ["unhelpful 2", "escalated demand-1"]);
}

#[test]
fn nothing_is_asked_while_a_retraining_is_under_way() {
    let mut story = Story::new(Some(action()));
    story.bad(0);
    story.bad(1);
    for n in 2..6 {
        assert_eq!(story.bad(n), NOTHING);
    }
    // The new champion starts with a clean count.
    story.promoted(2);
    assert_eq!(story.bad(7), NOTHING);
    assert_eq!(story.bad(8), ["unhelpful 1", "retrain retrain-demand-1-2 to 05-03"]);
}

#[test]
fn cool_down_and_weekly_cap_hold_back_until_the_next_judged_window() {
    let cool = IncidentAction { cooldown: Span::days(30), ..action() };
    let mut story = Story::new(Some(cool));
    story.bad(0);
    story.bad(1); // asked on day 15
    story.refused();
    story.bad(2);
    assert_eq!(story.bad(3), NOTHING);
    assert_eq!(story.waiting(), "cool-down until 2011-04-15T00:00:00Z");
    assert_eq!(story.cut(4), NOTHING);
    assert_eq!(story.cut(5), NOTHING);
    // Day 50 is later than day 45: an inconclusive window is occasion enough, its end is where the holdout ends.
    assert_eq!(story.cut(6), ["retrain retrain-demand-1-2 to 04-19"]);
    assert_eq!(story.waiting(), "");

    let capped = IncidentAction { cooldown: Span::from_ms(0), max_per_week: 1, ..action() };
    let asked = [day(10), day(14)];
    let id = IncidentId::new("demand-1");
    let free = |at| holds_back(&capped, &asked, at, &id);
    assert_eq!(free(day(15)).unwrap(), "2 retrainings within a week, at most 1: the next from 2011-03-22T00:00:00Z");
    assert_eq!(free(day(21)), None);
}

#[test]
fn without_auto_a_person_asks_and_without_an_action_nobody_does() {
    let by_hand = IncidentAction { auto: false, ..action() };
    let mut story = Story::new(Some(by_hand));
    story.bad(0);
    assert_eq!(story.bad(1), ["opened demand-1"]);
    assert_eq!(story.waiting(), "waiting for a person: trimtab incident retrain demand-1");
    let asked = story.act(|case, policy| case.ask_by_hand(policy, day(14), day(16), "ann").into_iter().collect());
    assert_eq!(asked, ["retrain retrain-demand-1-1 to 03-15 by hand"]);
    let again = story.act(|case, policy| case.ask_by_hand(policy, day(14), day(16), "ann").into_iter().collect());
    assert_eq!(again, NOTHING, "one is under way");

    let mut story = Story::new(None);
    story.bad(0);
    assert_eq!(story.bad(1), ["opened demand-1"]);
    assert_eq!(story.bad(2), NOTHING);
    assert_eq!(story.good(3), ["resolved demand-1"]);
}

#[test]
fn unhelpful_twice_while_cooling_down_counts_each_retraining_once() {
    let cool = IncidentAction { cooldown: Span::days(60), ..action() };
    let mut story = Story::new(Some(cool));
    story.bad(0);
    story.bad(1);
    story.promoted(2);
    story.bad(3);
    assert_eq!(story.bad(4), ["unhelpful 1"]);
    assert_eq!(story.bad(5), NOTHING);
    assert_eq!(story.case.incident.as_ref().unwrap().unhelpful, 1);
}
