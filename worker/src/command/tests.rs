//! Real processes.

use std::time::Instant;

use secrecy::SecretString;
use stint_protocol::ClaimedTask;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::handler::tests::nowhere;
use crate::lease::Progress;
use crate::lease::tests::claimed_task;
use crate::logs::Stream;
use crate::logs::tests::{Lines, sink};
use crate::mask::Mask;

struct Bench {
    handler: CommandHandler,
    mask: Mask,
    task: ClaimedTask,
    stopped: CancellationToken,
    messages: Vec<PendingMessage>,
    folder: tempfile::TempDir,
}

fn bench(script: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    Bench {
        handler: CommandHandler {
            program: "sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            secrets: BTreeMap::new(),
            timeout: None,
            kill_grace: Duration::from_millis(300),
            limits: Limits::default(),
            work_dir: folder.path().join("attempts"),
            keep_folders: false,
            worker_name: "bench".to_owned(),
        },
        mask: Mask::default(),
        task: claimed_task(),
        stopped: CancellationToken::new(),
        messages: Vec::new(),
        folder,
    }
}

impl Bench {
    async fn run(&self) -> (HandlerResult, Vec<(Stream, String)>) {
        let (logs, mut lines): (_, Lines) = sink(&self.mask);
        let (sender, messages) = mpsc::unbounded_channel();
        for message in &self.messages {
            sender.send(message.clone()).unwrap();
        }
        let run = TaskRun {
            task: self.task.clone(),
            client: nowhere(),
            logs,
            progress: Progress::default(),
            stopped: self.stopped.clone(),
            messages: Mutex::new(messages),
        };
        let result = Arc::new(self.handler.clone()).run(run).await;
        (result, lines.take())
    }

    async fn failure(&self) -> Failure {
        self.run().await.0.expect_err("the command should fail")
    }
}

fn category(failure: &Failure) -> &str {
    failure.category.as_deref().unwrap()
}

/// Whether a process is there and not a zombie.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}

async fn ends_soon(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_running(pid) {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

#[tokio::test]
async fn messages_are_lines_of_a_file_which_the_command_can_wait_for() {
    let wait = "until [ \"$(wc -l < $STINT_MESSAGES_FILE)\" -eq 2 ]; do sleep 0.01; done";
    let mut bench = bench(&format!("{wait}; cat $STINT_MESSAGES_FILE"));
    bench.messages = [(1, "slower"), (2, "faster")]
        .map(|(seq, words)| PendingMessage {
            id: stint_protocol::MessageId::new(),
            task_id: bench.task.id,
            attempt: 1,
            seq,
            message: words.to_owned(),
            urgency: stint_protocol::Urgency::Important,
            sent_at: bench.task.created_at,
        })
        .to_vec();
    let (result, lines) = bench.run().await;
    assert_eq!(result.unwrap().value()["message"], "faster");
    assert!(lines[0].1.contains("slower"), "{lines:?}");
}

#[tokio::test]
async fn the_task_is_on_stdin_and_the_last_json_line_is_the_output() {
    let bench = bench("echo hello; cat; echo; echo note >&2; pwd >/dev/null");
    let (result, lines) = bench.run().await;
    let output: serde_json::Value = result.unwrap().value();
    assert_eq!(output["id"], bench.task.id.to_string());
    assert_eq!(output["input"]["text"], "hello");
    assert!(lines.contains(&(Stream::Stdout, "hello".to_owned())));
    assert!(lines.contains(&(Stream::Stderr, "note".to_owned())));
    assert!(
        !lines.iter().any(|(_, line)| line.contains("attempt")),
        "the output is not logged"
    );
}

#[tokio::test]
async fn the_output_file_wins_over_stdout() {
    let bench =
        bench("echo '{\"from\":\"stdout\"}'; echo '{\"from\":\"file\"}' > $STINT_OUTPUT_FILE");
    let (result, lines) = bench.run().await;
    assert_eq!(result.unwrap().text(), "{\"from\":\"file\"}");
    assert_eq!(
        lines,
        [(Stream::Stdout, "{\"from\":\"stdout\"}".to_owned())]
    );
}

#[tokio::test]
async fn a_command_that_gives_nothing_back_has_the_output_null() {
    assert_eq!(bench("echo done").run().await.0.unwrap().text(), "null");
}

#[tokio::test]
async fn a_broken_or_large_output_file_fails_the_attempt() {
    let failure = bench("echo nonsense > $STINT_OUTPUT_FILE").failure().await;
    assert_eq!(category(&failure), "invalid_output");
    let failure = bench("head -c 1048576 /dev/zero > $STINT_OUTPUT_FILE")
        .failure()
        .await;
    assert_eq!(category(&failure), "output_too_large");
    let failure = bench("mkfifo $STINT_OUTPUT_FILE").failure().await;
    assert_eq!(category(&failure), "invalid_output");
    let large = "printf '{\"a\":\"'; head -c 1048576 /dev/zero | tr '\\0' x; echo '\"}'";
    assert_eq!(category(&bench(large).failure().await), "output_too_large");
}

#[tokio::test]
async fn exit_codes_become_categories() {
    let failure = bench("echo one >&2; echo two >&2; exit 3").failure().await;
    assert_eq!(
        (category(&failure), failure.recoverable),
        ("handler_error", None)
    );
    assert_eq!(
        failure.message,
        "the command ended with exit code 3: one\ntwo"
    );
    let failure = bench("exit 75").failure().await;
    assert_eq!(
        (category(&failure), failure.recoverable),
        ("transient_error", Some(true))
    );
    let failure = bench("kill -SEGV $$").failure().await;
    assert_eq!(category(&failure), "crashed");
    assert!(failure.message.contains("SIGSEGV"), "{}", failure.message);
    let mut missing = bench("");
    missing.handler.program = "no-such-program".to_owned();
    assert_eq!(category(&missing.failure().await), "resource_unavailable");
}

#[tokio::test]
async fn the_environment_holds_only_what_is_configured() {
    let mut bench = bench("env; echo input=$(cat $STINT_TASK_INPUT_FILE)");
    bench
        .handler
        .env
        .insert("COLOUR".to_owned(), "green".to_owned());
    bench.handler.pass_env = vec!["CARGO_PKG_NAME".to_owned(), "NOT_SET_ANYWHERE".to_owned()];
    bench
        .handler
        .secrets
        .insert("TOKEN".to_owned(), SecretString::from("hunter2hunter2"));
    bench.mask.add("hunter2hunter2").unwrap();
    let (result, lines) = bench.run().await;
    assert!(result.is_ok());
    let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    for expected in [
        "COLOUR=green",
        "CARGO_PKG_NAME=stint-worker",
        "TOKEN=***",
        "STINT_ATTEMPT=1",
        "STINT_TASK_TITLE=A task",
        "STINT_TASK_TYPE=custom",
        "STINT_WORKER_NAME=bench",
        "input={\"text\":\"hello\"}",
    ] {
        assert!(lines.contains(&expected), "{expected} is not in {lines:#?}");
    }
    let names = lines
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name);
    let unexpected: Vec<&str> = names
        .filter(|name| {
            !name.starts_with("STINT_")
                && !["PATH", "HOME", "LANG", "COLOUR", "CARGO_PKG_NAME", "TOKEN", "input"]
                    .contains(name)
                // The shell sets these itself.
                && !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[tokio::test]
async fn the_folder_is_empty_and_goes_away() {
    let bench = bench("ls -A | wc -l; touch a; mkdir b; echo \"\\\"$PWD\\\"\"");
    let (result, lines) = bench.run().await;
    let cwd: String = result.unwrap().parse().unwrap();
    assert_eq!(lines[0].1.trim(), "0");
    assert!(cwd.ends_with(&format!("{}-1/work", bench.task.id)));
    assert!(!std::path::Path::new(&cwd).parent().unwrap().exists());
    assert!(bench.folder.path().join("attempts").exists());
}

#[tokio::test]
async fn stopping_ends_grandchildren_that_ignore_the_polite_signal() {
    let bench = bench(
        "sh -c 'trap \"\" TERM; echo $$ >> ../pids; while :; do sleep 0.1; done' & \
         sleep 1000 & echo $! >> ../pids; echo $$ >> ../pids; wait",
    );
    let pids_file = bench
        .handler
        .work_dir
        .join(format!("{}-1/pids", bench.task.id));
    let stop = async {
        let pids = loop {
            let pids = std::fs::read_to_string(&pids_file).unwrap_or_default();
            if pids.lines().count() == 3 {
                break pids;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        bench.stopped.cancel();
        pids
    };
    let ((result, _), pids) = tokio::join!(bench.run(), stop);
    assert!(result.is_err());
    for pid in pids.lines() {
        assert!(ends_soon(pid).await, "process {pid} outlived the attempt");
    }
}

#[tokio::test]
async fn a_command_may_end_politely_when_stopped() {
    let bench =
        bench("trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        bench.stopped.cancel();
    };
    let ((result, lines), ()) = tokio::join!(bench.run(), stop);
    assert!(result.is_err());
    assert!(
        lines.iter().any(|(_, line)| line == "cleaned up"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn dropping_an_attempt_kills_its_processes() {
    let bench = bench("echo $$ > ../pid; sleep 1000");
    let pid_file = bench
        .handler
        .work_dir
        .join(format!("{}-1/pid", bench.task.id));
    let pid = {
        let run = bench.run();
        tokio::pin!(run);
        loop {
            tokio::select! {
                _ = &mut run => panic!("it should sleep"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
            if pid.ends_with('\n') {
                break pid;
            }
        }
    };
    assert!(ends_soon(&pid).await);
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_it() {
    let bench = bench("sleep 1000 & echo $!");
    let started = Instant::now();
    let (result, _) = bench.run().await;
    let pid = result.unwrap().text().to_owned();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the pipe was not waited for"
    );
    assert!(ends_soon(&pid).await);
}

#[tokio::test]
async fn limits_hold() {
    let mut bench = bench("ulimit -n; ulimit -c; ulimit -t; ulimit -f; ulimit -v");
    bench.handler.limits = Limits {
        memory_bytes: Some(512 * 1024 * 1024),
        open_files: Some(64),
        cpu_seconds: Some(7),
        file_bytes: Some(1024 * 1024),
    };
    let (result, lines) = bench.run().await;
    let mut shown: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    shown.push(result.unwrap().text().to_owned());
    // `sh` counts files in blocks of 512 bytes and memory in KiB.
    assert_eq!(shown, ["64", "0", "7", "2048", "524288"]);
}

#[tokio::test]
async fn a_command_that_writes_too_large_a_file_crashes() {
    let mut bench = bench("exec head -c 100000 /dev/zero > big");
    bench.handler.limits.file_bytes = Some(4096);
    let failure = bench.failure().await;
    assert_eq!(category(&failure), "crashed");
    assert!(failure.message.contains("SIGXFSZ"), "{}", failure.message);
}

#[tokio::test]
async fn a_flood_of_output_does_not_hold_up_the_command() {
    let bench =
        bench("head -c 50000000 /dev/zero | tr '\\0' x; echo; yes | head -n 200000; echo 1");
    let (result, lines) = bench.run().await;
    assert_eq!(result.unwrap().text(), "1");
    assert!(lines.len() <= 10_000);
}
