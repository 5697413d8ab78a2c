//! What the year was like: with the loop, and without it.

use crate::app::App;
use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use domain::entity::{Window, WindowKind};
use domain::{Event, Recorded, Timestamp, Verdict};
use ports::{World, scalar_at};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The story in figures. `mae`: mean absolute error in rides an hour; from April on, as the first month is like the training data.
#[derive(Debug, Serialize)]
pub struct Report {
    pub frozen_mae: Option<f64>,
    pub loop_mae: Option<f64>,
    pub months: Vec<Month>,
    pub retrainings: u64,
    pub promotions: u64,
    pub refusals: u64,
    pub incidents: u64,
    pub escalations: u64,
    pub events: u64,
}

/// One month.
#[derive(Debug, Serialize)]
pub struct Month {
    pub month: String,
    pub predictions: u64,
    pub frozen_mae: Option<f64>,
    pub loop_mae: Option<f64>,
    /// Features that moved beyond every window of the reference, in any week that began in the month.
    pub drifted: Vec<String>,
    /// What the loop did, and why.
    pub story: Vec<String>,
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

fn month_of(at: Timestamp) -> String {
    at.to_string()[..7].to_owned()
}

/// Reads the whole year back from the row log and the event log.
pub async fn make(app: &App, model: &str, from: Timestamp) -> anyhow::Result<Report> {
    let labels = labels(app, model).await?;
    let mut frozen: BTreeMap<String, Mean> = BTreeMap::new();
    let mut looped: BTreeMap<String, Mean> = BTreeMap::new();
    let stream = format!("prediction/{model}");
    app.sealer.seal(&stream, app.ports.clock.event_now()).await?;
    for segment in app.ports.rows.segments(&stream)? {
        let rows = app.ports.rows.read(&segment).await?;
        let column = |name: &str| rows.column_by_name(name).with_context(|| format!("predictions without {name}"));
        let (times, versions) =
            (column("_time")?.as_primitive::<TimestampMillisecondType>(), column("version")?.as_primitive::<Int64Type>());
        let (roles, predictions) = (column("role")?.as_string::<i32>(), column("prediction")?);
        for row in 0..rows.num_rows() {
            let at = Timestamp::from_ms(times.value(row));
            let (Some(label), Some(prediction)) = (labels.get(&at), scalar_at(predictions, row).as_f64()) else { continue };
            let error = (label - prediction).abs();
            if versions.value(row) == 1 {
                frozen.entry(month_of(at)).or_default().add(error);
            }
            if roles.value(row) == "champion" {
                looped.entry(month_of(at)).or_default().add(error);
            }
        }
    }
    let events = all_events(app)?;
    let world = World::new(app.ports.store.snapshot()?);
    let windows = world.scope::<Window>(model)?;
    let first = month_of(from);
    let mean = |of: &BTreeMap<String, Mean>| {
        let later = of.iter().filter(|(month, _)| **month > first);
        let (sum, count) = later.fold((0.0, 0), |(sum, count), (_, mean)| (sum + mean.sum, count + mean.count));
        (count > 0).then(|| sum / count as f64)
    };
    let count = |is: fn(&Event) -> bool| events.iter().filter(|recorded| is(&recorded.event)).count() as u64;
    let months: BTreeSet<String> = looped.keys().cloned().collect();
    Ok(Report {
        frozen_mae: mean(&frozen),
        loop_mae: mean(&looped),
        retrainings: count(|event| matches!(event, Event::RetrainRequested { .. })),
        // The first champion had nobody to beat.
        promotions: count(|event| matches!(event, Event::ChampionPromoted { previous: Some(_), .. })),
        refusals: count(|event| matches!(event, Event::GateDecided { verdict, .. } if *verdict != Verdict::Pass)),
        incidents: count(|event| matches!(event, Event::IncidentOpened { .. })),
        escalations: count(|event| matches!(event, Event::IncidentEscalated { .. })),
        events: events.len() as u64,
        months: months
            .into_iter()
            .map(|month| Month {
                predictions: looped.get(&month).map_or(0, |mean| mean.count),
                frozen_mae: frozen.get(&month).and_then(Mean::value),
                loop_mae: looped.get(&month).and_then(Mean::value),
                drifted: drifted(&windows, &month),
                story: story(&events, &month),
                month,
            })
            .collect(),
    })
}

async fn labels(app: &App, model: &str) -> anyhow::Result<BTreeMap<Timestamp, f64>> {
    let stream = format!("label/{model}");
    app.sealer.seal(&stream, app.ports.clock.event_now()).await?;
    let mut labels = BTreeMap::new();
    for segment in app.ports.rows.segments(&stream)? {
        let rows = app.ports.rows.read(&segment).await?;
        let times = rows.column_by_name("_time").context("labels without a time")?.as_primitive::<TimestampMillisecondType>();
        let values = rows.column_by_name("label").context("labels without a value")?;
        for row in 0..rows.num_rows() {
            if let Some(value) = scalar_at(values, row).as_f64() {
                labels.insert(Timestamp::from_ms(times.value(row)), value);
            }
        }
    }
    Ok(labels)
}

fn all_events(app: &App) -> anyhow::Result<Vec<Recorded>> {
    let mut events: Vec<Recorded> = Vec::new();
    loop {
        let page = app.ports.store.events(events.last().map_or(0, |last| last.seq), 1000)?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

fn drifted(windows: &[Window], month: &str) -> Vec<String> {
    // A window that was cut short by a change of champion says nothing of a whole week.
    let counts = |window: &&Window| window.kind == WindowKind::Input && window.whole && month_of(window.range.from) == month;
    let inputs = windows.iter().filter(counts);
    let moved = inputs.flat_map(|window| &window.drift).filter(|drift| drift.verdict == Verdict::Fail);
    let names: BTreeSet<String> = moved.map(|drift| drift.feature.clone()).collect();
    names.into_iter().collect()
}

/// One line for each thing that the loop did in a month.
fn story(events: &[Recorded], month: &str) -> Vec<String> {
    let inside = events.iter().filter(|recorded| month_of(recorded.at) == month);
    inside.filter_map(|recorded| line(&recorded.event).map(|text| format!("{} {text}", &recorded.at.to_string()[5..10]))).collect()
}

fn line(event: &Event) -> Option<String> {
    let number = |value: &Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
    Some(match event {
        Event::IncidentOpened { incident, why, .. } => format!("incident {incident}: {why}"),
        Event::RetrainRequested { .. } => "retraining asked for".into(),
        Event::GateDecided { challenger, champion: Some(champion), verdict, challenger_figure, champion_figure, .. } => format!(
            "gate {}: version {challenger} {} against version {champion} {}",
            verdict.word(),
            number(challenger_figure),
            number(champion_figure)
        ),
        Event::ChampionPromoted { version, .. } => format!("version {version} is champion"),
        Event::RetrainUnhelpful { why, .. } => format!("retraining did not help: {why}"),
        Event::IncidentResolved { incident, .. } => format!("{incident} resolved"),
        Event::IncidentEscalated { incident, .. } => format!("{incident} escalated to people"),
        _ => return None,
    })
}

/// A line that fits a terminal; `trimtab why` tells the whole.
fn shorten(line: &str) -> String {
    const WIDTH: usize = 110;
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let short: String = line.chars().take(WIDTH - 1).collect();
    format!("{short}…")
}

impl Report {
    /// The table for people.
    pub fn print(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        writeln!(out, "\nmonth    frozen MAE  loop MAE  inputs that moved, and what the loop did")?;
        for month in &self.months {
            let moved = if month.drifted.is_empty() { "nothing moved".to_owned() } else { format!("moved: {}", month.drifted.join(", ")) };
            writeln!(out, "{}  {:>10}  {:>8}  {moved}", month.month, figure(month.frozen_mae), figure(month.loop_mae))?;
            for line in &month.story {
                writeln!(out, "{:31}{}", "", shorten(line))?;
            }
        }
        writeln!(
            out,
            "\nApril to December: {} rides an hour off without the loop, {} with it.",
            figure(self.frozen_mae),
            figure(self.loop_mae)
        )?;
        writeln!(
            out,
            "{} incidents, {} retrainings, {} promotions, {} refusals, {} escalations; {} events in the log.",
            self.incidents, self.retrainings, self.promotions, self.refusals, self.escalations, self.events
        )
    }
}
