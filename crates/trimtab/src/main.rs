//! `trimtab`: light-weight MLOps that closes the loop, in one binary.

use clap::Parser;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use trimtab::cli;

fn main() -> ExitCode {
    trimtab::memory::keep_little();
    let cli = cli::Cli::parse();
    let json = cli.common.json;
    let serves = matches!(cli.command, cli::Command::Up { .. });
    let default = if serves { "info,datafusion=warn,deltalake_core=warn,buoyant_kernel=warn" } else { "warn,deltalake_core=error" };
    let filter = EnvFilter::try_from_env("TRIMTAB_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let is_seen = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_seen).with_target(false).init();
    // Two providers are compiled in by what the table library brings; one must be chosen before the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if !matches!(cli.command, cli::Command::Up { .. } | cli::Command::Demo { .. }) {
        // A server that is up for one command leaves half of the machine to what it starts.
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        threads.worker_threads((cpus / 2).max(1));
    }
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(cli::report(&error.into(), json)),
    };
    let outcome = runtime.block_on(cli.run());
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(cli::report(&error, json)),
    }
}
