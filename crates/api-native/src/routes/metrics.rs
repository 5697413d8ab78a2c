//! OpenMetrics.

use crate::Api;
use crate::error::ApiError;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use domain::Fault;
use domain::entity::{LineageState, Notification};
use ports::{Failure, World};
use serving::{ModelStatus, Seen, VersionStatus};
use stats::latency::{BUCKETS, Histogram, end_us};
use std::fmt::Write;

pub(super) async fn metrics(State(api): State<Api>) -> Result<impl IntoResponse, ApiError> {
    let text = api.apart(|api| text(&api)).await?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// Notifications that are not delivered and not given up.
pub(super) fn notifications_waiting(world: &World) -> Result<usize, Fault> {
    let all = world.list::<Notification>()?;
    let waits = |one: &&Notification| one.delivered.is_none() && (one.attempts == 0 || one.next_try.is_some());
    Ok(all.iter().filter(waits).count())
}

fn text(api: &Api) -> Result<String, Fault> {
    let head = *api.store.head().borrow();
    let models = api.gateway.status();
    let mut page = Metrics::default();
    let mut of_model = |name: &str, help: &str, value: fn(&ModelStatus) -> u64| {
        page.family(name, "counter", help, models.iter().map(|model| (vec![("model", model.model.to_string())], value(model))));
    };
    of_model("trimtab_predictions", "Rows answered by champions.", |model| model.answered);
    of_model("trimtab_prediction_failures", "Requests without an answer.", |model| model.failed);
    of_model("trimtab_predictions_unlogged", "Rows answered that the prediction log lost.", |model| model.unlogged);
    of_model("trimtab_feature_misses", "Feature values that were null when they were looked up.", |model| model.feature_misses);
    let versions: Vec<(&ModelStatus, &VersionStatus)> =
        models.iter().flat_map(|model| model.versions.iter().map(move |version| (model, version))).collect();
    let mut of_version = |name: &str, help: &str, shadows_only: bool, value: fn(&VersionStatus) -> u64| {
        let shown = versions.iter().filter(|(_, version)| !shadows_only || version.role == "shadow");
        let samples = shown
            .map(|(model, version)| (vec![("model", model.model.to_string()), ("version", version.version.to_string())], value(version)));
        page.family(name, "counter", help, samples);
    };
    of_version("trimtab_shadow_answers", "Rows answered by shadows.", true, |version| version.answered);
    of_version("trimtab_shadow_failures", "Rows that shadows did not answer.", true, |version| version.failed);
    of_version("trimtab_shadow_drops", "Requests that were not copied to a shadow because its queue was full.", true, |version| {
        version.dropped
    });
    of_version("trimtab_worker_crashes", "Crashes of model workers.", false, |version| version.crashes);
    behaviour(api, &models, &mut page);
    let waiting = notifications_waiting(&api.world()?)? as u64;
    page.family("trimtab_notifications_waiting", "gauge", "Notifications not delivered yet.", [(vec![], waiting)]);
    if let Some(lineage) = api.world()?.get::<LineageState>("lineage")? {
        page.family("trimtab_lineage_told", "counter", "Lineage events that were taken.", [(vec![], lineage.told)]);
        page.family("trimtab_lineage_dropped", "counter", "Lineage events that nobody took.", [(vec![], lineage.dropped)]);
    }
    page.family("trimtab_event_head", "gauge", "The newest event.", [(vec![], head)]);
    let lags = api.reactor.progress().into_iter().map(|(name, at)| (vec![("reader", name)], head.saturating_sub(at)));
    page.family("trimtab_reader_lag", "gauge", "Events that a reader has not dealt with.", lags);
    Ok(page.end())
}

/// How serving behaves.
fn behaviour(api: &Api, models: &[ModelStatus], page: &mut Metrics) {
    let seen: Vec<(&ModelStatus, Seen)> = models.iter().filter_map(|model| Some((model, api.gateway.seen(&model.model).ok()?))).collect();
    let of = |model: &ModelStatus| vec![("model", model.model.to_string())];
    let with = |model: &ModelStatus, label, value: &str| vec![("model", model.model.to_string()), (label, value.to_owned())];
    page.family(
        "trimtab_requests",
        "counter",
        "Requests, answered or not.",
        seen.iter().map(|(model, seen)| (of(model), seen.total.requests)),
    );
    let failures = seen
        .iter()
        .flat_map(|(model, seen)| Failure::ALL.map(|failure| (with(model, "kind", failure.word()), seen.total.failures[failure as usize])));
    page.family("trimtab_request_failures", "counter", "Requests without an answer, by why; refused: the caller's mistake.", failures);
    let missing =
        seen.iter().flat_map(|(model, seen)| seen.missing.iter().map(move |(name, count)| (with(model, "feature", name), *count)));
    page.family("trimtab_feature_missing", "counter", "Null values by feature.", missing);
    let latencies = seen.iter().map(|(model, seen)| (of(model), &seen.total.latency));
    page.histogram("trimtab_request_seconds", "From a request to its answer, features and log included.", latencies);
    let lanes = seen.iter().flat_map(|(model, seen)| {
        seen.lanes.iter().map(move |lane| {
            let labels = [("model", model.model.to_string()), ("version", lane.version.to_string()), ("role", lane.role.to_owned())];
            (labels.to_vec(), &lane.latency)
        })
    });
    page.histogram("trimtab_version_seconds", "What each version took of it.", lanes);
    let workers = models.iter().flat_map(|model| {
        let counted = model.versions.iter().filter_map(|version| Some((version.version, version.workers?)));
        counted.flat_map(move |(version, workers)| {
            [("ready", workers.ready), ("starting", workers.starting)].map(|(state, count)| {
                let labels = [("model", model.model.to_string()), ("version", version.to_string()), ("state", state.to_owned())];
                (labels.to_vec(), u64::from(count))
            })
        })
    });
    page.family("trimtab_workers", "gauge", "Worker processes of versions.", workers);
}

/// A page in the making.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (Vec<(&'static str, String)>, u64)>) {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let mut text = format!("# TYPE {name} {kind}\n# HELP {name} {help}\n");
        for (labels, value) in samples {
            let labels: Vec<String> = labels.into_iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(&value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            writeln!(text, "{name}{suffix}{labels} {value}").expect("writing to a string cannot fail");
        }
        self.0.push_str(&text);
    }

    /// Buckets end where a latency has doubled.
    fn histogram<'a>(&mut self, name: &str, help: &str, samples: impl Iterator<Item = (Vec<(&'static str, String)>, &'a Histogram)>) {
        let mut text = format!("# TYPE {name} histogram\n# HELP {name} {help}\n");
        for (labels, seen) in samples {
            let labels: Vec<String> = labels.into_iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(&value))).collect();
            let labels = labels.join(",");
            let mut below = 0;
            for (bucket, count) in seen.counts().iter().enumerate() {
                below += count;
                if bucket % 4 == 0 && bucket + 1 < BUCKETS {
                    let end = end_us(bucket) / 1e6;
                    writeln!(text, "{name}_bucket{{{labels},le=\"{end}\"}} {below}").expect("writing to a string cannot fail");
                }
            }
            writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {below}").expect("writing to a string cannot fail");
            let sum = seen.sum_us() as f64 / 1e6;
            writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {below}").expect("writing to a string cannot fail");
        }
        self.0.push_str(&text);
    }

    fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
