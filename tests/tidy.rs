//! What the repository promises of itself: rules of the house, and generated files that are fresh.
//!
//! An exception stands in a list with its reason, and an exception that is no longer needed fails too.

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/migrations.rs"]
mod migrations;
#[path = "tidy/pages.rs"]
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _};

/// Files that run statements beside the stores, and why.
const SQL_ELSEWHERE: &[(&str, &str)] = &[
    (
        "platform/src/db/admit.rs",
        "asks the server what it can do, before there is a schema",
    ),
    ("platform/src/db/bus.rs", "NOTIFY and LISTEN touch no table"),
    ("platform/src/db/keeper/mod.rs", "makes the database"),
    (
        "platform/src/db/lanes.rs",
        "lets a connection plan anew, and asks whether it still lives",
    ),
    ("platform/src/db/migrate.rs", "makes the schema"),
    (
        "platform/src/db/plans.rs",
        "asks how large all tables are, whoever owns them",
    ),
    (
        "platform/src/db/silence.rs",
        "asks whether the server is there, and touches no table",
    ),
];

/// Who writes which tables.
const OWNERS: &[(&str, &str)] = &[
    ("activations", "activation_batches activations"),
    ("agents", "agents"),
    ("briefs", "operator_briefs operator_updates"),
    ("events", "events"),
    ("gates", "stage_gates"),
    ("handoffs", "task_handoffs"),
    ("history", "events_default execution_logs_default"),
    ("http", "request_slots"),
    ("keys", "api_keys key_lookups"),
    ("logs", "execution_logs log_heads"),
    ("messages", "task_messages"),
    ("metering", "metering_events metering_totals"),
    ("playbooks", "playbooks"),
    (
        "queue",
        "claim_requests platform_pulse task_gates task_leases task_parked task_queue task_results task_waiting",
    ),
    ("seal", "platform_facts"),
    (
        "steering",
        "steering_messages steering_sessions workflow_input_packets workflow_interventions",
    ),
    ("tasks", "task_dependencies tasks"),
    ("tenants", "tenants"),
    ("work_items", "work_item_memory_changes work_items"),
    ("workers", "worker_signals workers"),
    (
        "workflows",
        "workflow_stages workflow_step_members workflow_steps workflows",
    ),
    ("workspaces", "workspace_memory workspaces"),
];

/// Statements that write the table of another domain, and why.
const WRITTEN_BY_OTHERS: &[(&str, &str, &str)] = &[
    (
        "platform/src/history/store.rs",
        "events",
        "takes over transaction ids of another cluster after a restore",
    ),
    (
        "platform/src/history/store.rs",
        "execution_logs",
        "takes over transaction ids of another cluster after a restore",
    ),
    (
        "platform/src/queue/admit.sql",
        "events",
        "a move and its event are one statement",
    ),
    (
        "platform/src/queue/complete.sql",
        "events",
        "a hot move and its event are one statement",
    ),
    (
        "platform/src/queue/hold.sql",
        "events",
        "a move and its event are one statement",
    ),
    (
        "platform/src/queue/move_tasks.sql",
        "events",
        "a move and its event are one statement",
    ),
    (
        "platform/src/queue/place.sql",
        "events",
        "a hot move and its event are one statement",
    ),
    (
        "platform/src/queue/place.sql",
        "task_dependencies",
        "a task appears whole or not at all",
    ),
    (
        "platform/src/queue/unblock.sql",
        "task_dependencies",
        "an edge is taken out in the statement that counts it off",
    ),
    (
        "platform/src/queue/place.sql",
        "tasks",
        "a task and its drawer appear together",
    ),
    (
        "platform/src/queue/start.sql",
        "events",
        "a hot move and its event are one statement",
    ),
    (
        "platform/src/queue/unblock.sql",
        "events",
        "a move and its event are one statement",
    ),
];

/// Tables whose keys need no tenant.
const WITHOUT_TENANT: &[&str] = &[
    "_sqlx_migrations",
    "key_lookups",
    "platform_facts",
    "platform_pulse",
    "tenants",
];

/// Lines a file has at most.
const LINES_MAX: usize = 600;
/// Files that are longer, with their lengths. They only ever get shorter.
const LONG: &[(&str, usize)] = &[("tests/api/operate.rs", 606), ("tests/api/reports.rs", 640)];

/// Files with a test that plain `cargo test` passes over: the body of a child process.
const IGNORED: &[&str] = &["tests/e2e/crash.rs", "tests/faults/stale.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the repository with its path from the root, without what is built or not ours.
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    assert!(found.len() > 100, "hardly any file was found");
    found.sort();
    found
}

/// Folders that hold no sources: `.stint` is what a demo leaves.
const SKIPPED: &[&str] = &[
    ".git",
    ".stint",
    "target",
    "node_modules",
    "proptest-regressions",
];

fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder)
        .expect("the repository can be read")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&entry.path(), &format!("{path}/"), found);
            }
        } else if name == ".git" {
            // A worktree has a file in place of the folder.
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            found.push((path, text));
        }
    }
}

fn rust_files() -> Vec<(String, String)> {
    let mut files = files();
    files.retain(|(path, _)| path.ends_with(".rs"));
    files
}

/// A source without its tests and comments.
fn product(text: &str) -> String {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("--")
    };
    code.lines()
        .filter(|line| !is_comment(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn statements_are_in_stores() {
    let mut elsewhere = BTreeSet::new();
    for (path, text) in rust_files() {
        let name = path.rsplit('/').next().expect("a path has a name");
        let is_store =
            name == "store.rs" || name.ends_with("_store.rs") || path.contains("/store/");
        let is_product = ["platform/src", "worker/src", "protocol/src"]
            .iter()
            .any(|folder| path.starts_with(folder));
        if is_store || !is_product {
            continue;
        }
        let code = product(&text);
        // What is in a `.sql` file may be called from the operation beside it.
        let marks = [
            "query!(",
            "query_as!(",
            "query_scalar!(",
            "query(",
            "query_as(",
            "query_scalar(",
            "raw_sql(",
        ];
        let has_sql = marks
            .iter()
            .any(|mark| code.contains(&format!("sqlx::{mark}")));
        if has_sql {
            elsewhere.insert(path);
        }
    }
    let allowed: BTreeSet<String> = SQL_ELSEWHERE
        .iter()
        .map(|(path, _)| (*path).to_owned())
        .collect();
    assert_eq!(
        elsewhere, allowed,
        "files with statements beside the stores"
    );
}

#[test]
fn every_table_is_written_by_its_owner_alone() {
    let owners: BTreeMap<&str, &str> = OWNERS
        .iter()
        .flat_map(|(owner, tables)| tables.split(' ').map(move |table| (table, *owner)))
        .collect();
    let mut by_others = BTreeSet::new();
    let mut written = BTreeSet::new();
    for (path, text) in files() {
        let Some(within) = path.strip_prefix("platform/src/") else {
            continue;
        };
        let domain = within.split('/').next().expect("a path has parts");
        for table in tables_written(&product(&text)) {
            let Some(owner) = owners.get(table.as_str()) else {
                continue;
            };
            if *owner != domain {
                by_others.insert((path.clone(), table.clone()));
            }
            written.insert(table);
        }
    }
    let allowed: BTreeSet<(String, String)> = WRITTEN_BY_OTHERS
        .iter()
        .map(|(path, table, _)| ((*path).to_owned(), (*table).to_owned()))
        .collect();
    assert_eq!(
        by_others, allowed,
        "tables that others than their owners write"
    );
    let known: BTreeSet<String> = owners.keys().map(|table| (*table).to_owned()).collect();
    assert_eq!(written, known, "tables that are written");
}

/// The tables that statements in a text insert into, update or delete from.
fn tables_written(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches('"'))
        .collect();
    let mut tables = BTreeSet::new();
    for window in words.windows(3) {
        let table = match window {
            ["insert", "into", table] | ["delete", "from", table] => table,
            ["update", table, _] => table,
            _ => continue,
        };
        let name = table.trim_end_matches([',', ';', ')', '(', '"']);
        tables.insert(name.split('(').next().unwrap_or(name).to_owned());
    }
    tables
}

#[test]
fn every_source_is_compiled() {
    let sources: BTreeMap<String, String> = rust_files().into_iter().collect();
    let is_root = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        matches!(
            parts.as_slice(),
            [_, "src", "lib.rs" | "main.rs"]
                | [_, "build.rs"]
                | [_, "examples", _]
                | [_, "examples", _, "main.rs"]
                | ["tests", _, "main.rs"]
                | ["tests", "tidy.rs"]
        )
    };
    let mut open: Vec<String> = sources
        .keys()
        .filter(|path| is_root(path))
        .cloned()
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        let text = &sources[&path];
        let (folder, file) = path.rsplit_once('/').expect("no source lies in the root");
        let is_top = ["mod.rs", "lib.rs", "main.rs"].contains(&file);
        let stem = file.trim_end_matches(".rs");
        let below = if is_top {
            folder.to_owned()
        } else {
            format!("{folder}/{stem}")
        };
        for line in text.lines() {
            let line = line.trim();
            let declared = line
                .strip_suffix(';')
                .and_then(|line| line.rsplit_once("mod "));
            let Some((before, module)) = declared else {
                continue;
            };
            if !before.is_empty() && !before.starts_with("pub") {
                continue;
            }
            for candidate in [
                format!("{below}/{module}.rs"),
                format!("{below}/{module}/mod.rs"),
            ] {
                if sources.contains_key(&candidate) {
                    open.push(candidate);
                }
            }
        }
        seen.insert(path);
    }
    let dead: Vec<&String> = sources
        .keys()
        .filter(|path| !seen.contains(*path))
        .collect();
    assert!(dead.is_empty(), "no `mod` leads to {dead:?}");
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let ignore = concat!("#[ign", "ore");
    let mut ignored = Vec::new();
    for (path, text) in files() {
        for mark in marks {
            assert!(!text.contains(mark), "{mark} in {path}");
        }
        if text.contains(ignore) {
            ignored.push(path);
        }
    }
    assert_eq!(ignored, IGNORED, "files with tests that are not run");
}

#[test]
fn nothing_names_a_registry_or_the_desk_it_was_written_at() {
    let words = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
        concat!("/wo", "rk/"),
        concat!("shared/", "design"),
    ];
    for (path, text) in files() {
        if path.ends_with(".lock") || path.ends_with("package-lock.json") {
            continue;
        }
        for word in words {
            assert!(!text.contains(word), "{word} in {path}");
        }
    }
}

#[test]
fn files_stay_short() {
    let long: Vec<(String, usize)> = rust_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines >= LINES_MAX)
        .collect();
    for (path, lines) in &long {
        let allowed = LONG.iter().find(|(known, _)| known == path);
        assert!(
            allowed.is_some_and(|(_, most)| lines <= most),
            "{path} has {lines} lines: split it by its ideas"
        );
    }
    for (path, _) in LONG {
        assert!(
            long.iter().any(|(known, _)| known == path),
            "{path} is short now: take it off the list"
        );
    }
}

#[test]
fn paths_in_documents_exist() {
    let root = root();
    let folders: BTreeSet<String> = fs::read_dir(&root)
        .expect("the repository can be read")
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "target")
        .collect();
    let mut missing = Vec::new();
    for (path, text) in files() {
        if !path.ends_with(".md") {
            continue;
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_part =
            |letter: char| letter.is_ascii_alphanumeric() || "_-./*<>{}$:~@".contains(letter);
        for word in text.split(|letter: char| !is_part(letter)) {
            let word = word.trim_end_matches(['.', ':', '/']);
            let is_pattern = word.contains(['*', '<', '{', '$', ':', '~']);
            let first = word.split('/').next().unwrap_or_default();
            let is_path = (word.contains('/') && folders.contains(first))
                || (word.ends_with(".md") && word.len() > 3 && !word.starts_with('/'));
            if !is_path || is_pattern {
                continue;
            }
            let here = root.join(folder).join(word);
            if !root.join(word).exists() && !here.exists() {
                missing.push(format!("{word} in {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such files: {missing:#?}");
}

fn with_migrated_database(look: impl AsyncFnOnce(PgConnection)) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            let url = stint_tests::database_url().await;
            look(
                PgConnection::connect(&url)
                    .await
                    .expect("the database answers"),
            )
            .await;
        });
}

#[test]
fn every_table_has_an_owner_and_a_tenant_in_its_keys() {
    with_migrated_database(async |mut db| {
        let tables: BTreeSet<String> = sqlx::query_scalar(
            "select relname::text from pg_class
             where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname <> '_sqlx_migrations'",
        )
        .fetch_all(&mut db)
        .await
        .expect("the catalogue can be read")
        .into_iter()
        .collect();
        let known: BTreeSet<String> = OWNERS
            .iter()
            .flat_map(|(_, tables)| tables.split(' ').map(str::to_owned))
            .collect();
        assert_eq!(tables, known, "tables and their owners");

        let keys = sqlx::query(
            "select i.indexrelid::regclass::text as name, t.relname::text as table_name,
                    exists (select from pg_attribute a
                            where a.attrelid = i.indrelid and a.attnum = any(i.indkey) and a.attname = 'tenant_id') as has_tenant
             from pg_index i join pg_class t on t.oid = i.indrelid
             where t.relnamespace = 'public'::regnamespace and i.indisunique
             union all
             select c.conname::text, t.relname::text,
                    exists (select from pg_attribute a
                            where a.attrelid = c.conrelid and a.attnum = any(c.conkey) and a.attname = 'tenant_id')
             from pg_constraint c join pg_class t on t.oid = c.conrelid
             where t.relnamespace = 'public'::regnamespace and c.contype = 'f'",
        )
        .fetch_all(&mut db)
        .await
        .expect("the catalogue can be read");
        assert!(keys.len() > 20, "hardly any key was found");
        let mut without = BTreeSet::new();
        for key in &keys {
            let (name, table): (String, String) = (key.get("name"), key.get("table_name"));
            if !key.get::<bool, _>("has_tenant") {
                assert!(
                    WITHOUT_TENANT.contains(&table.as_str()),
                    "{name} of {table} does not contain tenant_id"
                );
                without.insert(table);
            }
        }
        let allowed: BTreeSet<String> = WITHOUT_TENANT
            .iter()
            .map(|table| (*table).to_owned())
            .collect();
        assert_eq!(without, allowed, "tables whose keys need no tenant");
    });
}

#[test]
fn cached_queries_fit_the_migrated_database() {
    let cached: Vec<(String, String)> = files()
        .into_iter()
        .filter(|(path, _)| path.starts_with(".sqlx/") && path.ends_with(".json"))
        .collect();
    assert!(cached.len() > 50, "the cache of queries is nearly empty");
    with_migrated_database(async |mut db| {
        for (path, text) in cached {
            let cached: serde_json::Value = serde_json::from_str(&text).expect("the cache is JSON");
            let query = cached["query"].as_str().expect("a cached query").to_owned();
            let query = sqlx::AssertSqlSafe(query).into_sql_str();
            let prepared = (&mut db).prepare(query).await;
            assert!(prepared.is_ok(), "{path}: {:?}", prepared.err());
        }
    });
}
