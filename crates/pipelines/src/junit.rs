//! Reads JUnit reports as pytest, cargo nextest, Surefire and gates write them.
//!
//! The dialects agree on `testcase` with `classname`, `name`, `time`, and inside it `failure`, `error` or `skipped`; reruns are
//! `flakyFailure`, `flakyError`, `rerunFailure`, `rerunError` or `rerun`. A report is hostile input: its size, depth and number of
//! cases are bounded, and a document type is refused, so that no entity is ever expanded.

use domain::Refusal;
use domain::entity::{CaseState, CheckCase};
use indexmap::IndexMap;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Bytes of a report.
pub const MOST_BYTES: usize = 32 << 20;
/// Elements within each other.
const DEEPEST: usize = 64;
/// Cases of a report.
const MOST_CASES: usize = 200_000;
/// Characters of a name, and of what a case says.
const NAME: usize = 300;
const MESSAGE: usize = 600;

/// The cases of a report. A case that is told twice (its body and its teardown) is one, in the worse of its states.
///
/// ```
/// let report = br#"<testsuite><testcase classname="tests.api" name="adds" time="0.25"><failure message="1 != 2"/></testcase></testsuite>"#;
/// let cases = pipelines::junit::read(report)?;
/// assert_eq!((cases[0].name.as_str(), cases[0].time_ms), ("tests.api::adds", Some(250)));
/// assert_eq!(cases[0].message.as_deref(), Some("1 != 2"));
/// # Ok::<(), domain::Refusal>(())
/// ```
pub fn read(report: &[u8]) -> Result<Vec<CheckCase>, Refusal> {
    if report.len() > MOST_BYTES {
        return Err(broken(format!("it has {} bytes, at most {MOST_BYTES} are read", report.len())));
    }
    let text = String::from_utf8_lossy(report);
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut reading = Reading::default();
    loop {
        let event = reader.read_event();
        match event.map_err(|error| broken(format!("at byte {}: {error}", reader.error_position())))? {
            Event::Start(tag) => reading.begin(&tag, false)?,
            Event::Empty(tag) => reading.begin(&tag, true)?,
            Event::End(_) => reading.end()?,
            Event::Text(piece) => reading.say(&piece.decode().unwrap_or_default()),
            Event::CData(piece) => reading.say(&piece.decode().unwrap_or_default()),
            Event::GeneralRef(reference) => reading.say(&resolved(&reference)),
            Event::DocType(_) => return Err(broken("it has a document type; entities are not expanded".into())),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    reading.finish()
}

fn broken(what: String) -> Refusal {
    Refusal::invalid("check/report", format!("the JUnit report cannot be read: {what}"))
        .hint("let the tool write it to {out.report}, or name the file under `junit`")
}

/// `&amp;` and `&#10;` as what they are; others as they are written.
fn resolved(reference: &quick_xml::events::BytesRef<'_>) -> String {
    if let Ok(Some(char)) = reference.resolve_char_ref() {
        return char.into();
    }
    let name = reference.decode().unwrap_or_default();
    quick_xml::escape::resolve_predefined_entity(&name).map_or(format!("&{name};"), str::to_owned)
}

/// What is being read.
#[derive(Default)]
struct Reading {
    /// Names of the elements that are open.
    open: Vec<Vec<u8>>,
    /// The case that is open.
    case: Option<CheckCase>,
    /// Whether what is said belongs to a failure of it.
    listens: bool,
    cases: IndexMap<String, CheckCase>,
    /// The most failures that a suite tells of itself.
    told_bad: u64,
    has_suite: bool,
}

impl Reading {
    fn begin(&mut self, tag: &BytesStart<'_>, is_empty: bool) -> Result<(), Refusal> {
        if self.open.len() >= DEEPEST {
            return Err(broken(format!("its elements are more than {DEEPEST} deep")));
        }
        let name = tag.local_name().as_ref().to_vec();
        match name.as_slice() {
            b"testsuites" | b"testsuite" => {
                self.has_suite = true;
                let count = |name: &str| attribute(tag, name).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
                self.told_bad = self.told_bad.max(count("failures").saturating_add(count("errors")));
            }
            b"testcase" => self.case = Some(case(tag)),
            b"failure" => self.meet(tag, CaseState::Failed),
            b"error" => self.meet(tag, CaseState::Error),
            b"skipped" => self.meet(tag, CaseState::Skipped),
            b"flakyFailure" | b"flakyError" | b"rerunFailure" | b"rerunError" | b"rerun" => {
                if let Some(case) = &mut self.case {
                    case.flaky = Some("the tool ran it again".into());
                }
            }
            _ => {}
        }
        if is_empty {
            return self.close(&name);
        }
        self.open.push(name);
        Ok(())
    }

    /// A case's state gets worse, never better.
    fn meet(&mut self, tag: &BytesStart<'_>, state: CaseState) {
        let Some(case) = self.case.as_mut().filter(|case| case.state < state) else { return };
        case.state = state;
        case.message = attribute(tag, "message").map(|text| cut(text.trim(), MESSAGE)).filter(|text| !text.is_empty());
        self.listens = case.message.is_none();
    }

    fn say(&mut self, text: &str) {
        let Some(case) = self.case.as_mut().filter(|_| self.listens) else { return };
        let said = case.message.get_or_insert_default();
        if said.len() < 4 * MESSAGE {
            said.push_str(&cut(text, MESSAGE));
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        match self.open.pop() {
            Some(name) => self.close(&name),
            None => Ok(()),
        }
    }

    fn close(&mut self, name: &[u8]) -> Result<(), Refusal> {
        match name {
            b"failure" | b"error" | b"skipped" => self.listens = false,
            b"testcase" => {
                let Some(mut case) = self.case.take() else { return Ok(()) };
                self.listens = false;
                case.message = case.message.map(|text| cut(text.trim(), MESSAGE)).filter(|text| !text.is_empty());
                // One that fails in the end is not flaky for having been tried again.
                case.flaky = case.flaky.filter(|_| case.state == CaseState::Passed);
                if self.cases.len() >= MOST_CASES {
                    return Err(broken(format!("it has more than {MOST_CASES} cases")));
                }
                match self.cases.get_mut(&case.name) {
                    Some(known) if known.state >= case.state => {}
                    Some(known) => *known = case,
                    None => drop(self.cases.insert(case.name.clone(), case)),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<CheckCase>, Refusal> {
        if !self.open.is_empty() {
            return Err(broken("it ends in the middle".into()));
        }
        if !self.has_suite {
            return Err(broken("it has no `testsuite`".into()));
        }
        if self.told_bad > 0 && !self.cases.values().any(|case| case.state.is_bad()) {
            return Err(broken(format!("its suite tells of {} failures, and no case is one", self.told_bad)));
        }
        Ok(self.cases.into_values().collect())
    }
}

fn case(tag: &BytesStart<'_>) -> CheckCase {
    let text = |name: &str| attribute(tag, name).map(|text| cut(text.trim(), NAME)).filter(|text| !text.is_empty());
    let name = text("name").unwrap_or_else(|| "(no name)".into());
    let seconds = text("time").and_then(|text| text.replace(',', "").parse::<f64>().ok()).filter(|time| (0.0..1e9).contains(time));
    CheckCase {
        name: text("classname").filter(|class| *class != name).map_or(name.clone(), |class| format!("{class}::{name}")),
        state: CaseState::Passed,
        time_ms: seconds.map(|seconds| (seconds * 1e3).round() as u64),
        message: None,
        flaky: None,
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.try_get_attribute(name).ok().flatten()?;
    // A value with an entity that nobody knows is taken as it is written.
    Some(found.unescape_value().map_or_else(|_| String::from_utf8_lossy(&found.value).into_owned(), |value| value.into_owned()))
}

/// The beginning of a text, without control characters apart from line ends.
fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(most).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Reports as the tools write them, and what is in them.
    #[test]
    fn reports_of_the_tools_are_read() {
        let pytest = r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5" time="0.05">
            <testcase classname="tests.test_api" name="test_ok[1-a]" time="0.001"/>
            <testcase classname="tests.test_api" name="test_bad" time="0.002"><failure message="assert 1 == 2&#10; +  where 1 = f()">def test_bad():
&gt;   assert 1 == 2</failure></testcase>
            <testcase classname="tests.test_api" name="test_skip" time="0"><skipped type="pytest.skip" message="no GPU">x.py:3</skipped></testcase>
            <testcase classname="tests.test_api" name="test_teardown" time="0.01"/>
            <testcase classname="tests.test_api" name="test_teardown" time="0.01"><error message="failed on teardown with &quot;boom&quot;">trace</error></testcase>
            </testsuite></testsuites>"#;
        let nextest = r#"<testsuites name="nextest-run"><testsuite name="pipelines" tests="3" failures="1" errors="0">
            <testcase name="junit::tests::a" classname="pipelines" timestamp="2026-11-26T00:00:00Z" time="1.5"><flakyFailure timestamp="x" time="0.1" message="thread panicked" type="test failure"/></testcase>
            <testcase name="junit::tests::b" classname="pipelines" time="0.5"><failure type="test failure"><![CDATA[thread 'b' panicked <here>]]></failure><rerunFailure message="again"/><system-out>much</system-out></testcase>
            </testsuite></testsuites>"#;
        let told = |report: &str| -> Vec<String> {
            let cases = read(report.as_bytes()).unwrap();
            let tell = |case: CheckCase| {
                let flaky = if case.flaky.is_some() { " flaky" } else { "" };
                format!("{} {}{flaky} {}", case.name, case.state.word(), case.message.unwrap_or_default())
            };
            cases.into_iter().map(tell).collect()
        };
        assert_eq!(
            told(pytest),
            [
                "tests.test_api::test_ok[1-a] passed ",
                "tests.test_api::test_bad failed assert 1 == 2\n +  where 1 = f()",
                "tests.test_api::test_skip skipped no GPU",
                "tests.test_api::test_teardown error failed on teardown with \"boom\"",
            ]
        );
        assert_eq!(
            told(nextest),
            ["pipelines::junit::tests::a passed flaky ", "pipelines::junit::tests::b failed thread 'b' panicked <here>"]
        );
        assert_eq!(told("<testsuite/>"), Vec::<String>::new());
        assert_eq!(told("\u{feff}<testsuite><testcase name='x'/></testsuite>"), ["x passed "]);
    }

    /// Nothing of a hostile report is expanded, and none of it passes for good.
    #[test]
    fn what_is_no_report_is_refused() {
        let deep = format!("<testsuite>{}", "<a>".repeat(1000));
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>"#;
        let cases = [
            ("", "no `testsuite`"),
            ("{\"a\": 1}", "no `testsuite`"),
            ("<testsuite><testcase name='x'>", "ends in the middle"),
            ("<testsuite></testcase>", "at byte"),
            ("<testsuite failures='2'><testcase name='x'/></testsuite>", "tells of 2 failures"),
            (deep.as_str(), "64 deep"),
            (bomb, "document type"),
        ];
        for (report, text) in cases {
            let refusal = read(report.as_bytes()).unwrap_err();
            assert!(refusal.what.contains(text) && refusal.code == "check/report", "{report:.60}: {refusal:?}");
        }
        let invalid = read(b"<testsuite><testcase name='\xff\xfe'><failure message='\x1b[31m&unknown;'/></testcase></testsuite>").unwrap();
        assert_eq!(invalid[0].message.as_deref(), Some("[31m&unknown;"));
    }
}
