//! Serves the pages over a made-up story: `cargo run -p web --example story -- 127.0.0.1:5056`.
//!
//! It prints where it is; port 0 means any that is free. After the address, `empty` serves no story, `live` lets something
//! happen every second, and `runs=10000` adds an experiment of so many runs.

#![allow(clippy::print_stdout)] // the address is the output

#[path = "../tests/story/mod.rs"]
mod story;

use domain::entity::Metric;
use domain::{Event, ModelName, RunWrite, Span, Timestamp, VersionNumber};
use ports::{RunLog, RunStore};
use std::time::Duration;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:5056".into());
    let how: Vec<String> = args.collect();
    let is = |word: &str| how.iter().any(|asked| asked == word);
    let story = if is("empty") { story::empty() } else { story::told().await };
    if let Some(n) = how.iter().find_map(|asked| asked.strip_prefix("runs=")?.parse().ok()) {
        story.many(n).await;
    }
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}", listener.local_addr()?);
    let served = axum::serve(listener, web::router(story.state()));
    if is("live") {
        tokio::spawn(async move { go_on(&story).await });
    }
    served.await
}

/// Crashes of a worker: in the open incident, in none, in a thread that is new. And a run that logs a step a second.
async fn go_on(story: &story::Story) {
    let start = Timestamp::parse("2011-06-20T23:00:00Z").unwrap_or(Timestamp::from_ms(0));
    let going = story::many::going(start);
    let has_runs = story.store.run(&story::many::id(0)).is_ok_and(|found| found.is_some());
    if has_runs {
        story.commit("2011-06-20", None, |batch| batch.run_writes.push(RunWrite::CreateRun(going.clone()))).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for n in 0u64.. {
        ticks.tick().await;
        let thread = [Some("demand-3"), None, Some("request-7")][(n % 3) as usize];
        let event = Event::WorkerCrashed { model: ModelName::new("demand"), version: VersionNumber(4), why: format!("<b>crash</b> {n}") };
        story.say("2011-06-21", thread, event).await;
        if has_runs {
            let point = |key: &str, value: f64| Metric {
                key: key.into(),
                value,
                time: start + Span::from_ms(n as i64 * 1000),
                step: n as i64,
                model_id: None,
                dataset_name: None,
                dataset_digest: None,
            };
            let metrics = vec![point("loss", 3.0 / (1.0 + n as f64 / 9.0)), point("val_mae", 60.0 / (1.0 + n as f64 / 20.0))];
            if story.store.log(&going.id, RunLog { metrics, ..RunLog::default() }).await.is_err() {
                return;
            }
        }
    }
}
