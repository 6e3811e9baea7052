//! Pages that are printed from the sources are fresh.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use clap::CommandFactory as _;
use stint_platform::config::Config;
use stint_platform::tasks::MOVES;
use stint_protocol::{ErrorCode, ReasonCode, TaskMove, TaskState};
use stint_tests::bless;

use crate::root;

#[test]
fn the_matrix_of_states_is_fresh() {
    let mut page = String::from(
        "# States of a task\n\nWhich move leads from which state to which. Printed from the table of moves \
         in `platform/src/tasks/state.rs`;\nan empty cell is a move that is refused with \
         `INVALID_STATE_TRANSITION`.\nA move to ready ends in pending while the run of the task is paused, \
         or has no room for it.\n\n",
    );
    page.push_str("| move \\ from |");
    for state in TaskState::ALL {
        write!(page, " {state} |").expect("a text takes everything");
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(TaskState::ALL.len()));
    page.push('\n');
    for made in TaskMove::ALL {
        write!(page, "| **{made}** |").expect("a text takes everything");
        for state in TaskState::ALL {
            let targets: Vec<&str> = MOVES
                .iter()
                .filter(|(from, by, _)| from == state && by == made)
                .map(|(.., to)| to.as_str())
                .collect();
            write!(page, " {} |", targets.join(" or ")).expect("a text takes everything");
        }
        page.push('\n');
    }
    bless::matches("docs/states.md", &page);
}

#[test]
fn the_page_of_errors_is_fresh() {
    let source = fs::read_to_string(root().join("protocol/src/errors.rs")).expect("it is there");
    let sentences = sentences_by_word(&source);
    let sentence = |word: &str| {
        sentences
            .get(word)
            .unwrap_or_else(|| panic!("{word} has no sentence in protocol/src/errors.rs"))
    };
    let mut page = String::from(
        "# Errors\n\nEvery refusal has the same body: `error.code` and `error.details.reason_code` are for \
         programs,\n`error.message` and `error.recovery_hint` for people, and `meta.request_id` finds the line \
         in the log.\n\n## Codes\n\n| code | status | meaning |\n|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let meaning = sentence(code.as_str());
        let (status, meaning) = meaning
            .split_once(": ")
            .expect("a code's sentence begins with its status");
        assert_eq!(status, code.status().to_string(), "{code}");
        writeln!(page, "| `{code}` | {status} | {} |", capitalised(meaning))
            .expect("a text takes everything");
    }
    page.push_str("\n## Reasons\n\n| reason | meaning |\n|---|---|\n");
    for reason in ReasonCode::ALL {
        writeln!(page, "| `{reason}` | {} |", sentence(reason.as_str()))
            .expect("a text takes everything");
    }
    bless::matches("docs/errors.md", &page);
}

/// The doc comment above each `Variant = "word"`.
fn sentences_by_word(source: &str) -> BTreeMap<String, String> {
    let mut sentences = BTreeMap::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        if let Some((_, word)) = line.split_once(" = \"")
            && let Some(word) = word.strip_suffix("\",")
        {
            sentences.insert(word.to_owned(), comment.join(" "));
        }
        comment.clear();
    }
    sentences
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

#[test]
fn the_page_of_settings_is_fresh() {
    let command = Config::command();
    let mut page = String::from(
        "# Settings of the platform\n\nEach can be given as a flag or in the environment; the flag wins. \
         Printed from `platform/src/config.rs`.\n\n| flag | environment | default | what it is |\n|---|---|---|---|\n",
    );
    for argument in command.get_arguments() {
        let Some(flag) = argument
            .get_long()
            .filter(|flag| !["help", "version"].contains(flag))
        else {
            continue;
        };
        let environment = argument
            .get_env()
            .unwrap_or_else(|| panic!("--{flag} cannot be set in the environment"))
            .to_string_lossy();
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let help = argument
            .get_long_help()
            .or(argument.get_help())
            .unwrap_or_else(|| panic!("--{flag} has no help"))
            .to_string()
            .replace('\n', " ")
            .replace('|', "\\|");
        writeln!(
            page,
            "| `--{flag}` | `{environment}` | {} | {help} |",
            defaults.join(", ")
        )
        .expect("a text takes everything");
    }
    bless::matches("docs/CONFIG.md", &page);
}
