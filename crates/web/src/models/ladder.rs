//! A model's versions, newest first, with what decides between them.

use crate::WebState;
use crate::format::{figure, maybe, time};
use crate::gate::{Bar, bar};
use crate::link;
use crate::page::PageError;
use crate::plot::{Scale, Tick, line, place};
use crate::versions::role;
use domain::Verdict;
use domain::entity::{Deployment, GateReport, ModelVersion, RegisteredModel};
use ports::World;
use serde::Serialize;

/// Versions that are shown.
const RUNGS: usize = 100;
const SIZE: (f64, f64) = (920.0, 220.0);
/// top, right, bottom, left
const ROOM: (f64, f64, f64, f64) = (24.0, 20.0, 28.0, 58.0);

#[derive(Debug, Serialize)]
pub(crate) struct Ladder {
    pub rungs: Vec<Rung>,
    pub left_out: usize,
    pub picture: Option<Picture>,
}

/// A version.
#[derive(Debug, Serialize)]
pub(crate) struct Rung {
    number: u64,
    href: String,
    role: Option<&'static str>,
    aliases: Vec<String>,
    stage: Option<String>,
    verdict: Option<&'static str>,
    why: String,
    challenger: String,
    champion: String,
    against: Option<u64>,
    bar: Option<Bar>,
    run: Option<(String, String)>,
    trained_until: String,
    created: String,
}

/// The gates' figures, version by version: the challenger's, and the champion's on the same rows.
#[derive(Debug, Serialize)]
pub(crate) struct Picture {
    metric: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    line: String,
    marks: Vec<Mark>,
    y_ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
struct Mark {
    x: String,
    y: String,
    /// The champion's figure.
    other: Option<String>,
    verdict: &'static str,
    text: String,
    href: String,
    title: String,
}

pub(crate) fn ladder(state: &WebState, world: &World, model: &RegisteredModel, deployment: &Deployment) -> Result<Ladder, PageError> {
    let mut versions = world.scope::<ModelVersion>(model.name.as_str())?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    let left_out = versions.len().saturating_sub(RUNGS);
    versions.truncate(RUNGS);
    let reports = world.scope::<GateReport>(model.name.as_str())?;
    let report_of = |version: &ModelVersion| reports.iter().find(|report| report.challenger == version.version);
    let mut rungs = Vec::new();
    for version in &versions {
        let report = report_of(version);
        let run = version.run.as_ref().map(|id| state.runs.run(id)).transpose()?.flatten();
        let aliases = model.aliases.iter().filter(|(_, number)| **number == version.version).map(|(alias, _)| alias.clone());
        let decisive = report.and_then(|report| report.checks.iter().find(|check| check.interval.is_some()));
        rungs.push(Rung {
            number: version.version.0,
            href: link::version(&version.model, version.version),
            role: role(deployment, version.version),
            aliases: aliases.collect(),
            stage: (version.stage != "None" && !version.stage.is_empty()).then(|| version.stage.clone()),
            verdict: report.map(|report| report.verdict.word()),
            why: report.map_or(String::new(), |report| report.why.clone()),
            challenger: maybe(report.and_then(|report| report.figure.challenger)),
            champion: maybe(report.and_then(|report| report.figure.champion)),
            against: report.and_then(|report| report.champion).map(|number| number.0),
            bar: decisive
                .and_then(|check| bar(check.interval.as_ref()?, check.challenger.zip(check.champion).map(|(new, old)| new - old), None)),
            run: run.map(|run| (run.name, link::run(&run.id))),
            trained_until: version.trained_until.map_or(crate::format::NONE.into(), time),
            created: time(version.created),
        });
    }
    let judged: Vec<&GateReport> = versions.iter().rev().filter_map(report_of).collect();
    Ok(Ladder { picture: picture(&judged), rungs, left_out })
}

fn picture(reports: &[&GateReport]) -> Option<Picture> {
    let known: Vec<(&GateReport, f64)> =
        reports.iter().filter_map(|report| Some((*report, report.figure.challenger.filter(|value| value.is_finite())?))).collect();
    if known.len() < 2 {
        return None;
    }
    let (top, right, bottom, left) = (ROOM.0, SIZE.0 - ROOM.1, SIZE.1 - ROOM.2, ROOM.3);
    let x = Scale::new([0.0, (known.len() - 1) as f64].into_iter(), false, (left + 16.0, right - 16.0))?;
    let values = known.iter().flat_map(|(report, value)| [Some(*value), report.figure.champion]).flatten();
    let y = Scale::new(values, false, (bottom - 8.0, top))?;
    let mark = |(at, (report, value)): (usize, &(&GateReport, f64))| {
        let against = report.figure.champion.map_or(String::new(), |value| format!(" against {} of the champion", figure(value)));
        Some(Mark {
            x: place(x.at(at as f64)?),
            y: place(y.at(*value)?),
            other: report.figure.champion.and_then(|value| y.at(value)).map(place),
            verdict: report.verdict.word(),
            text: format!("v{}", report.challenger),
            href: link::version(&report.model, report.challenger),
            title: format!(
                "version {}: {} {}{against}: {}",
                report.challenger,
                report.figure.metric,
                figure(*value),
                report.verdict.word()
            ),
        })
    };
    let passed = known.iter().enumerate().filter(|(_, (report, _))| report.verdict == Verdict::Pass);
    Some(Picture {
        metric: known.first()?.0.figure.metric.clone(),
        width: SIZE.0,
        height: SIZE.1,
        left,
        right,
        top,
        bottom,
        line: line(passed.map(|(at, (_, value))| Some((x.at(at as f64)?, y.at(*value)?)))),
        marks: known.iter().enumerate().filter_map(mark).collect(),
        y_ticks: y.ticks(4),
    })
}
