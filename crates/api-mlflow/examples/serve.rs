//! Serves the MLflow API on a home of its own: `cargo run -p api-mlflow --example serve [HOME]`. Prints the address.
#![allow(clippy::print_stdout)]

use api_mlflow::{MlflowApi, prepare, router};
use back_objects::Objects;
use back_sqlite::Sqlite;
use domain::Timestamp;
use ports::Clock;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

struct SystemClock;

impl Clock for SystemClock {
    fn event_now(&self) -> Timestamp {
        self.wall_now()
    }

    #[allow(clippy::disallowed_methods)] // The example wires itself, so it owns the clock.
    fn wall_now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ms(since.as_millis() as i64)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let home = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&home)?;
    let store = Sqlite::open(&home.join("meta.db"))?;
    let artifacts = Objects::local(&home.join("artifacts"))?;
    let api = MlflowApi { store: store.clone(), runs: store, artifacts, clock: Arc::new(SystemClock) };
    prepare(&api).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router(api).into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
