//! One port for HTTP/1.1 and for HTTP/2 by prior knowledge, which gRPC speaks: a connection's first bytes tell them apart.

use axum::extract::ConnectInfo;
use axum::middleware::AddExtension;
use axum::{Extension, Router};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::Layer;

/// How HTTP/2 begins; no method of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// How long its few bytes may take.
const PREFACE_WITHIN: Duration = Duration::from_secs(2);
/// Requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 256;

/// A connection to its end, or after the answers that are under way.
macro_rules! until_stopped {
    ($connection:ident, $stopping:ident) => {{
        let mut connection = $connection;
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { drop($stopping.wait_for(|stop| *stop).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }};
}

/// Answers until it is asked to stop, and then what is under way.
pub async fn serve(mut listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let connections = TaskTracker::new();
    loop {
        let (stream, address) = tokio::select! {
            // It waits and tries again where there are no more files to open.
            accepted = axum::serve::Listener::accept(&mut listener) => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        // Answers are small and waited for: without this, some wait 40 ms for an acknowledgement that is being delayed.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with delayed answers");
        }
        let service = Extension(ConnectInfo(address)).layer(router.clone());
        connections.spawn(answer(stream, TowerToHyperService::new(service), stopping.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

type Service = TowerToHyperService<AddExtension<Router, ConnectInfo<SocketAddr>>>;

async fn answer(stream: TcpStream, service: Service, mut stopping: watch::Receiver<bool>) {
    let is_second = tokio::select! {
        is_second = is_http2(&stream) => is_second,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    let ended = match is_second {
        Ok(true) => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let connection = pin!(builder.max_concurrent_streams(STREAMS).serve_connection(TokioIo::new(stream), service));
            until_stopped!(connection, stopping)
        }
        Ok(false) => {
            let connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            until_stopped!(connection, stopping)
        }
        Err(error) => return tracing::debug!(%error, "a connection ended before it asked anything"),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Looks at the first bytes without taking them. Who begins like HTTP/2 and does not go on is taken for HTTP/1.1: a look never sees the end
/// of a connection behind bytes that nobody took.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let until = Instant::now() + PREFACE_WITHIN;
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        // The rest is on its way; that it came cannot be waited for, since what is there makes every look ready.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn told(said: &[u8], closes: bool) -> io::Result<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(said).await.unwrap();
        if closes {
            client.shutdown().await.unwrap();
        }
        is_http2(&listener.accept().await.unwrap().0).await
    }

    #[tokio::test]
    async fn the_first_bytes_tell() {
        assert!(told(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false).await.unwrap());
        assert!(!told(b"POST /invocations HTTP/1.1\r\n", false).await.unwrap());
        assert!(told(b"", true).await.is_err(), "nothing was asked");
        // The end behind a byte that nobody takes is not seen: such a connection is not looked at for ever.
        assert!(!told(b"P", true).await.unwrap());
        assert!(!told(b"PRI", false).await.unwrap());
    }
}
