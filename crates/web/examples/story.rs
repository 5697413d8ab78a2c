//! Serves the pages over a made-up story: `cargo run -p web --example story -- 127.0.0.1:5056`; `empty` after the address serves none.

#[path = "../tests/story/mod.rs"]
mod story;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:5056".into());
    let story = if args.next().as_deref() == Some("empty") { story::empty() } else { story::told().await };
    let listener = tokio::net::TcpListener::bind(&address).await?;
    axum::serve(listener, web::router(story.state())).await
}
