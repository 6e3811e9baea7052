//! A worker in a dozen lines: shouts the text of every task with the role `shout`.
//!
//! With a platform at hand and a key of scope worker or admin:
//!
//! ```sh
//! STINT_URL=http://127.0.0.1:7000 STINT_API_KEY=st_worker_... cargo run --example shout
//! ```

use serde::Deserialize;
use stint_worker::{Failure, Match, Shutdown, TaskRun, Worker};

#[derive(Deserialize)]
struct Input {
    text: String,
}

async fn shout(run: TaskRun) -> Result<serde_json::Value, Failure> {
    let input: Input = run.input()?;
    run.log("clearing my throat");
    Ok(serde_json::json!({ "shouted": input.text.to_uppercase() }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let (url, key) = (std::env::var("STINT_URL")?, std::env::var("STINT_API_KEY")?);
    let worker = Worker::builder(url, key)
        .name("shouter")
        .capacity(4)
        .handler(Match::role("shout"), shout)
        .build()?;
    worker.run(Shutdown::on_signals()?).await?;
    Ok(())
}
