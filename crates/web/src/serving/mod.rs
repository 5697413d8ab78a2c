//! Serving: who answers for each model, how fast, what went wrong, and a form to ask.

mod heat;

use crate::WebState;
use crate::format::count;
use crate::link;
use crate::page::{PageError, show};
use ::serving::{ModelStatus, Seen, Served, VersionStatus};
use axum::extract::{Query, State};
use axum::response::Response;
use domain::ModelName;
use domain::entity::{Incident, IncidentState};
use heat::Heat;
use ports::{Behaviour, ColumnType, Inputs};
use serde::{Deserialize, Serialize};
use stats::latency::Histogram;

/// What the gateway tells of a model.
pub struct ServedModel {
    pub status: ModelStatus,
    pub seen: Seen,
    /// The last [`RECENT`] minutes.
    pub recent: Behaviour,
    /// `None`: nothing answers.
    pub served: Option<Served>,
}

/// Minutes that count as now.
pub const RECENT: u32 = 5;
/// Width of the bar that shows who answers.
const SPLIT: f64 = 320.0;

#[derive(Deserialize)]
pub(crate) struct Asked {
    model: Option<String>,
}

#[derive(Serialize)]
struct Page {
    models: Vec<Row>,
    chosen: Option<Chosen>,
    recent: u32,
}

/// A line of the list.
#[derive(Serialize)]
struct Row {
    name: String,
    href: String,
    is_chosen: bool,
    /// The champion, `–` without one.
    version: String,
    state: &'static str,
    recent: Figures,
    requests: String,
}

/// Figures of some time.
#[derive(Serialize)]
struct Figures {
    requests: String,
    p50: String,
    p90: String,
    p99: String,
    errors: String,
    is_bad: bool,
    missing: String,
    restarts: String,
}

#[derive(Serialize)]
struct Chosen {
    name: String,
    href: String,
    /// Why nothing answers.
    silent: bool,
    versions: Vec<Version>,
    split: Vec<Part>,
    split_width: f64,
    total: Figures,
    recent: Figures,
    failures: Vec<(String, String)>,
    missing: Vec<(String, String)>,
    heat: Option<Heat>,
    watched: Vec<Watched>,
    form: Option<Form>,
}

#[derive(Serialize)]
struct Version {
    number: String,
    href: String,
    role: &'static str,
    rows: String,
    p50: String,
    p99: String,
    workers: String,
    crashes: u64,
    dropped: Option<u64>,
}

/// A version's part of the rows that were answered.
#[derive(Serialize)]
struct Part {
    x: String,
    width: String,
    class: &'static str,
    text: String,
}

/// A condition of the file, and the incident that it opened.
#[derive(Serialize)]
struct Watched {
    text: String,
    incident: Option<(String, String)>,
}

/// What a request is made of.
#[derive(Serialize)]
struct Form {
    post: String,
    fields: Vec<Field>,
    /// Rows as JSON, where the signature names no columns.
    free: bool,
    command: String,
}

#[derive(Serialize)]
struct Field {
    name: String,
    kind: &'static str,
    input: &'static str,
    is_optional: bool,
}

/// `GET /serving`.
pub(crate) async fn page(State(state): State<WebState>, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, asked.model.as_deref())).await?;
    show("serving.html", "Serving", "serving", &page)
}

fn read(state: &WebState, asked: Option<&str>) -> Result<Page, PageError> {
    let models = state.facts.serving();
    let chosen = match asked {
        Some(name) => {
            Some(models.iter().find(|model| model.status.model.as_str() == name).ok_or_else(|| PageError::missing("served model", name))?)
        }
        None => models.first(),
    };
    let name = chosen.map(|model| model.status.model.clone());
    let rows = models.iter().map(|model| row(model, name.as_ref() == Some(&model.status.model)));
    Ok(Page { models: rows.collect(), chosen: chosen.map(|model| detail(state, model)).transpose()?, recent: RECENT })
}

fn row(model: &ServedModel, is_chosen: bool) -> Row {
    let champion = model.status.versions.iter().find(|version| version.role == "champion");
    let waits = champion.and_then(|champion| champion.workers).is_some_and(|workers| workers.ready == 0);
    Row {
        name: model.status.model.to_string(),
        href: link::serving(&model.status.model),
        is_chosen,
        version: champion.map_or("–".into(), |champion| format!("version {}", champion.version)),
        state: match (champion, waits) {
            (None, _) => "silent",
            (Some(_), true) => "waiting",
            (Some(_), false) => "serving",
        },
        recent: figures(&model.recent),
        requests: count(model.seen.total.requests),
    }
}

fn figures(seen: &Behaviour) -> Figures {
    let share = |rate: Option<f64>| rate.map_or("–".into(), percent);
    Figures {
        requests: count(seen.requests),
        p50: quantile(&seen.latency, 0.5),
        p90: quantile(&seen.latency, 0.9),
        p99: quantile(&seen.latency, 0.99),
        errors: share(seen.error_rate()),
        is_bad: seen.errors() > 0,
        missing: share(seen.missing_rate()),
        restarts: count(seen.restarts),
    }
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".into(),
        percent if percent < 0.01 => "< 0.01 %".into(),
        percent if percent < 10.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// A latency for people.
fn quantile(seen: &Histogram, q: f64) -> String {
    seen.quantile(q).map_or("–".into(), latency)
}

fn latency(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 10_000.0 => format!("{:.1} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

fn detail(state: &WebState, model: &ServedModel) -> Result<Chosen, PageError> {
    let (name, seen) = (&model.status.model, &model.seen);
    let world = state.world()?;
    let project = world.project()?;
    let spec = project.as_ref().and_then(|project| project.spec.model.get(name.as_str())?.serve.as_ref());
    let incidents = world.scope::<Incident>(name.as_str())?;
    let open = |text: &str| incidents.iter().find(|one| one.system && one.state == IncidentState::Open && one.rule == text);
    let watched = spec.map_or(&[][..], |serve| &serve.watch).iter().map(|text| Watched {
        text: text.clone(),
        incident: open(text).map(|incident| (incident.id.to_string(), link::incident(&incident.id))),
    });
    Ok(Chosen {
        name: name.to_string(),
        href: link::model(name),
        silent: model.served.is_none(),
        versions: model.status.versions.iter().map(|version| version_of(name, seen, version)).collect(),
        split: split(model),
        split_width: SPLIT,
        total: figures(&seen.total),
        recent: figures(&model.recent),
        failures: ports::Failure::ALL
            .into_iter()
            .map(|failure| (failure.word().to_owned(), seen.total.failures[failure as usize]))
            .filter(|(_, failed)| *failed > 0)
            .map(|(word, failed)| (word, count(failed)))
            .collect(),
        missing: seen.missing.iter().map(|(feature, missing)| (feature.clone(), count(*missing))).collect(),
        heat: heat::of(&seen.minutes, seen.now),
        watched: watched.collect(),
        form: model.served.as_ref().map(|served| form(name, served)),
    })
}

fn version_of(model: &ModelName, seen: &Seen, version: &VersionStatus) -> Version {
    let lane = seen.lanes.iter().find(|lane| lane.version == version.version && lane.role == version.role);
    let q = |q| lane.map_or("–".into(), |lane| quantile(&lane.latency, q));
    Version {
        number: version.version.to_string(),
        href: link::version(model, version.version),
        role: version.role,
        rows: count(lane.map_or(0, |lane| lane.rows)),
        p50: q(0.5),
        p99: q(0.99),
        workers: match version.workers {
            None => "within the server".into(),
            Some(workers) if workers.starting > 0 => format!("{}, {} starting", workers.ready, workers.starting),
            Some(workers) => workers.ready.to_string(),
        },
        crashes: version.crashes,
        dropped: (version.role == "shadow").then_some(version.dropped),
    }
}

/// Who answered, by rows since the start: those that answer callers.
fn split(model: &ServedModel) -> Vec<Part> {
    let answering = model.status.versions.iter().filter(|version| version.role != "shadow");
    let lanes: Vec<(&VersionStatus, u64)> = answering
        .map(|version| {
            let lane = model.seen.lanes.iter().find(|lane| lane.version == version.version && lane.role == version.role);
            (version, lane.map_or(0, |lane| lane.rows))
        })
        .filter(|(_, rows)| *rows > 0)
        .collect();
    let all: u64 = lanes.iter().map(|(_, rows)| rows).sum();
    let mut at = 0.0;
    let part = |(version, rows): &(&VersionStatus, u64)| {
        let width = *rows as f64 / all as f64 * SPLIT;
        let share = percent(*rows as f64 / all as f64);
        let text = format!("{} {}: {share} of {} rows", version.role, version.version, count(all));
        let class = if version.role == "canary" { "canary" } else { "taken" };
        let part = Part { x: format!("{at:.1}"), width: format!("{:.1}", (width - 1.5).max(1.0)), class, text };
        at += width;
        part
    };
    lanes.iter().map(part).collect()
}

fn form(model: &ModelName, served: &Served) -> Form {
    let text = |name: &str| Field { name: name.into(), kind: "key", input: "text", is_optional: false };
    let fields: Vec<Field> = match (&served.signature.inputs, served.keys.is_empty()) {
        (_, false) => served.keys.iter().map(|key| text(key)).collect(),
        (Inputs::Columns(columns), true) => {
            columns.iter().filter_map(|column| Some(field(column.name.as_deref()?, &column.kind, column.is_optional))).collect()
        }
        _ => Vec::new(),
    };
    let example: Vec<String> = fields.iter().take(3).map(|field| format!("{}=...", field.name)).collect();
    let asks = if example.is_empty() { "--rows rows.json".into() } else { example.join(" ") };
    Form {
        post: format!("/serve/{}/invocations", link::part(model.as_str())),
        free: fields.is_empty(),
        command: format!("trimtab serve call {model} {asks}"),
        fields,
    }
}

fn field(name: &str, kind: &ColumnType, is_optional: bool) -> Field {
    let (kind, input) = match kind {
        ColumnType::Boolean => ("boolean", "checkbox"),
        ColumnType::Integer | ColumnType::Long => ("whole number", "number"),
        ColumnType::Float | ColumnType::Double => ("number", "number"),
        ColumnType::String | ColumnType::Other(_) => ("text", "text"),
    };
    Field { name: name.into(), kind, input, is_optional }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_and_shares_are_told_as_people_read_them() {
        assert_eq!([12.3, 1_234.0, 45_678.0, 1_234_567.0].map(latency), ["12 µs", "1.2 ms", "46 ms", "1.2 s"]);
        assert_eq!([0.0, 0.00001, 0.0123, 0.5].map(percent), ["0 %", "< 0.01 %", "1.23 %", "50 %"]);
    }
}
