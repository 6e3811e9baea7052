//! The tour of the README does what it says: its blocks run in order, in one shell, against a platform.

use std::process::Command;

use serde_json::Value;

use stint_tests::processes::{ADMIN_KEY, Stage};

/// Printed after each block, so that the answers can be told apart.
const END: &str = "--- end of block ---";

/// The commands of the tour, each with the answer that the README shows for it.
fn tour(readme: &str) -> Vec<(String, Value)> {
    let mut blocks = Vec::new();
    let mut rest = readme;
    while let Some((_, after)) = rest.split_once("```sh\n") {
        let (commands, after) = after.split_once("\n```\n").expect("a block ends");
        rest = after;
        // Only blocks with an answer right behind them belong to the tour.
        if let Some(answer) = after.strip_prefix("```json\n") {
            let (answer, after) = answer.split_once("\n```\n").expect("a block ends");
            rest = after;
            let answer = serde_json::from_str(answer).expect("an answer is JSON");
            blocks.push((commands.to_owned(), answer));
        }
    }
    blocks
}

/// Whether an answer is what the README shows; `…` stands for anything.
fn fits(shown: &Value, found: &Value) -> bool {
    match (shown, found) {
        (Value::String(text), _) if text == "…" => true,
        (Value::Object(shown), Value::Object(found)) => {
            shown.len() == found.len()
                && shown
                    .iter()
                    .all(|(key, value)| found.get(key).is_some_and(|found| fits(value, found)))
        }
        (Value::Array(shown), Value::Array(found)) => {
            shown.len() == found.len()
                && shown
                    .iter()
                    .zip(found)
                    .all(|(shown, found)| fits(shown, found))
        }
        _ => shown == found,
    }
}

#[tokio::test]
async fn the_tour_of_the_readme_answers_what_it_shows() {
    let readme = include_str!("../../README.md");
    let blocks = tour(readme);
    assert!(blocks.len() >= 5, "the tour was found");
    let stage = Stage::new();
    let platform = stage.platform().await;
    let script: String = blocks
        .iter()
        .map(|(commands, _)| format!("{commands}\necho '{END}'\n"))
        .collect();
    let url = platform.url.clone();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("BASE", url)
            .env("KEY", ADMIN_KEY)
            .output()
    });
    let output = run
        .await
        .expect("it ran")
        .expect("bash, curl and jq are installed");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for ((commands, shown), found) in blocks.iter().zip(printed.split(END)) {
        let found: Value = serde_json::from_str(found)
            .unwrap_or_else(|error| panic!("{commands}\n{found}\n{error}"));
        assert!(
            fits(shown, &found),
            "{commands}\nis shown as {shown:#}\nand answered {found:#}"
        );
    }
}
