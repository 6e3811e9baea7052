//! Precedence, and what is refused.

use clap::Parser as _;

use super::*;

const HANDLER: &str = "[[handler]]\nrole = \"x\"\ncommand = [\"sh\", \"-c\", \"true\"]\n";

fn environment(name: &str) -> Option<OsString> {
    match name {
        "PATH" => std::env::var_os("PATH"),
        "DEPLOY_TOKEN" => Some("from-the-environment".into()),
        _ => None,
    }
}

fn load_with(file: &str, flags: &[&str]) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("worker.toml");
    std::fs::write(&path, file).unwrap();
    std::fs::write(folder.path().join("key"), "st_worker_from_key_file\n").unwrap();
    let path = path.to_str().unwrap();
    let arguments = ["stint-worker", "--config", path];
    let flags = Flags::parse_from(arguments.iter().chain(flags));
    Config::load(&flags, &environment)
}

fn problem(file: &str, flags: &[&str]) -> String {
    match load_with(file, flags) {
        Ok(config) => match config.worker() {
            Ok(_) => panic!("it should be refused"),
            Err(error) => error.to_string(),
        },
        Err(error) => format!("{error:#}"),
    }
}

fn basics(more: &str) -> String {
    format!("url = \"http://file:1\"\napi_key = \"st_worker_in_the_file\"\n{more}\n{HANDLER}")
}

#[test]
fn the_example_file_is_valid() {
    let text = include_str!("../../stint-worker.example.toml");
    let file = File::parse(text).unwrap();
    assert!(!file.handler.is_empty());
}

#[test]
fn flags_win_over_the_file() {
    let file = basics("name = \"file\"\ncapacity = 3\nlog_format = \"json\"");
    let config = load_with(&file, &[]).unwrap();
    assert_eq!((config.name.as_str(), config.capacity), ("file", 3));
    assert_eq!(config.log_format, LogFormat::Json);
    let flags = [
        "--name",
        "flag",
        "--url",
        "http://flag:2",
        "--api-key",
        "st_worker_by_flag",
    ];
    let config = load_with(&file, &flags).unwrap();
    assert_eq!((config.name.as_str(), config.capacity), ("flag", 3));
    assert_eq!(config.url, "http://flag:2");
    assert_eq!(config.api_key.expose_secret(), "st_worker_by_flag");
    assert!(config.worker().is_ok());
}

#[test]
fn a_key_file_is_read_from_beside_the_configuration() {
    let file = format!("url = \"http://file:1\"\napi_key_file = \"key\"\n{HANDLER}");
    let config = load_with(&file, &[]).unwrap();
    assert_eq!(config.api_key.expose_secret(), "st_worker_from_key_file");
}

#[test]
fn contradictions_are_refused_with_a_sentence() {
    assert!(problem(HANDLER, &[]).contains("no platform is named"));
    let no_key = format!("url = \"http://file:1\"\n{HANDLER}");
    assert!(problem(&no_key, &[]).contains("no API key"));
    assert!(problem(&basics("api_key_file = \"key\""), &[]).contains("keep one"));
    let twice = ["--api-key", "st_worker_x", "--api-key-file", "key"];
    assert!(problem(&basics(""), &twice).contains("given twice"));
    assert!(problem(&basics("lease_seconds = 12"), &[]).contains("two heartbeats"));
    assert!(problem(&basics(HANDLER), &[]).contains("same tasks"));
    let bare = "url = \"http://file:1\"\napi_key = \"st_worker_in_the_file\"\n";
    assert!(problem(bare, &[]).contains("no handler"));
}

#[test]
fn handlers_are_checked() {
    let with = |more: &str| problem(&format!("{}{more}", basics("")), &[]);
    assert!(with("timeout_seconds = 0").contains("at least 1"));
    assert!(with("env = { STINT_TASK_ID = \"1\" }").contains("set by the worker"));
    assert!(with("pass_env = [\"STINT_API_KEY\"]").contains("its own key"));
    assert!(with("env = { A = \"1\" }\npass_env = [\"A\"]").contains("given twice"));
    assert!(with("secrets = { A = \"abc\" }").contains("fewer than 6"));
    assert!(with("secrets = { A = { env = \"NOT_SET\" } }").contains("NOT_SET is not set"));
    assert!(with("secrets = { A = { file = \"gone\" } }").contains("cannot be read"));
    assert!(with("[[handler]]\ncommand = []").contains("command is empty"));
    assert!(with("[[handler]]\ncommand = [\"no-such-program\"]").contains("is not there"));
}

#[test]
fn an_unknown_key_is_an_error_that_names_its_line_and_shows_no_secret() {
    let text = problem(&basics("capacty = 3"), &[]);
    assert!(
        text.contains("line 3") && text.contains("capacty"),
        "{text}"
    );
    let text = problem(
        &basics("").replace("command", "secrets = { A = [\"hunter2\"] }\ncommand"),
        &[],
    );
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("a secret is text"), "{text}");
}

#[test]
fn secrets_are_found_and_masked() {
    let file = format!(
        "{}secrets = {{ A = \"in-the-file-itself\", B = {{ file = \"key\" }}, C = {{ env = \"DEPLOY_TOKEN\" }} }}",
        basics("")
    );
    let config = load_with(&file, &[]).unwrap();
    let handler = &config.handlers[0].1;
    assert_eq!(
        handler.secrets["B"].expose_secret(),
        "st_worker_from_key_file"
    );
    assert_eq!(handler.secrets["C"].expose_secret(), "from-the-environment");
    let text =
        "st_worker_in_the_file in-the-file-itself st_worker_from_key_file from-the-environment";
    assert_eq!(config.mask.hide(text), "*** *** *** ***");
    assert!(!format!("{config:?}").contains("in-the-file-itself"));
}
