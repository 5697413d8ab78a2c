//! Serves the pages over a made-up story: `cargo run -p web --example story -- 127.0.0.1:5056`.
//!
//! It prints where it is; port 0 means any that is free. After the address, `empty` serves no story, and `live` lets
//! something happen every second.

#![allow(clippy::print_stdout)] // the address is the output

#[path = "../tests/story/mod.rs"]
mod story;

use domain::{Event, ModelName, VersionNumber};
use std::time::Duration;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:5056".into());
    let how = args.next();
    let story = if how.as_deref() == Some("empty") { story::empty() } else { story::told().await };
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}", listener.local_addr()?);
    let served = axum::serve(listener, web::router(story.state()));
    if how.as_deref() == Some("live") {
        tokio::spawn(async move { go_on(&story).await });
    }
    served.await
}

/// Crashes of a worker: in the open incident, in none, in a thread that is new.
async fn go_on(story: &story::Story) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for n in 0u64.. {
        ticks.tick().await;
        let thread = [Some("demand-3"), None, Some("request-7")][(n % 3) as usize];
        let event = Event::WorkerCrashed { model: ModelName::new("demand"), version: VersionNumber(4), why: format!("<b>crash</b> {n}") };
        story.say("2011-06-21", thread, event).await;
    }
}
