//! The MLflow API on the in-memory stores: what `tests/mlflow_differential.py` can be pointed at while the API is worked on.
//!
//! `cargo run -p api-mlflow --example mlflow_memory` says on standard output where it listens; what is logged to it is gone
//! when it ends.

use api_mlflow::MlflowApi;
use domain::Timestamp;
use ports::Clock;
use ports::memory::{MemoryArtifacts, MemoryStore};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// The machine's clock: nothing is replayed here.
struct Now;

impl Clock for Now {
    fn event_now(&self) -> Timestamp {
        // This example is a binary of its own, and has no other clock.
        #[allow(clippy::disallowed_methods)]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_ms(now.map_or(0, |since| since.as_millis() as i64))
    }

    fn wall_now(&self) -> Timestamp {
        self.event_now()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new();
    let api = MlflowApi { store: store.clone(), runs: store, artifacts: MemoryArtifacts::new(), clock: Arc::new(Now) };
    api_mlflow::prepare(&api).await?;
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    axum::serve(listener, api_mlflow::router(api).into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
