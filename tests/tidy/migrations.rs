//! A migration runs while the release before still works: it locks no busy table for long.

use crate::files;

/// The last migration of the first release. Those up to it only ever meet an empty database.
const FIRST_RELEASE: &str = "0015";

/// Statements that stop others for as long as a table is large, and what does the same without.
const LOCKING: &[(&[&str], &[&str], &str)] = &[
    (
        &["create", "index"],
        &["concurrently"],
        "writes wait until the index is built: say `concurrently`, in a file that begins with `-- no-transaction`",
    ),
    (
        &["add", "constraint"],
        &["not valid", "using index"],
        "everything waits until all rows are checked: add it `not valid`, and validate it in the next migration",
    ),
    (
        &["references"],
        &["not valid", "create table"],
        "everything waits until all rows are checked: add the key `not valid`, and validate it in the next migration",
    ),
    (
        &["alter column", "type"],
        &[],
        "the table is written anew: add a column, fill it in small steps, and drop the old one a release later",
    ),
    (
        &["set not null"],
        &[],
        "all rows are read under a lock: add a check that is `not valid`, validate it, then set it",
    ),
    (
        &["add column", "default", "("],
        &[],
        "a default that is computed for each row writes the table anew: leave it out, and fill it in small steps",
    ),
    (&["vacuum full"], &[], "the table is written anew"),
    (&["lock table"], &[], "everything waits"),
    (
        &["truncate"],
        &[],
        "everything waits, and the release before may need the rows",
    ),
    (
        &["drop column"],
        &[],
        "the release before may still read it: drop it a release later, and say so in this list",
    ),
    (
        &["drop table"],
        &[],
        "the release before may still read it: drop it a release later, and say so in this list",
    ),
    (
        &["rename"],
        &[],
        "the release before knows the old name: add a new one, and drop the old one a release later",
    ),
];

/// What is wrong with a migration, statement by statement.
fn faults(text: &str) -> Vec<String> {
    let without_comments: Vec<&str> = text
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect();
    let text = without_comments.join("\n").to_lowercase();
    let mut made = Vec::new();
    let mut found = Vec::new();
    for statement in text.split(';') {
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(table) = statement.strip_prefix("create table ") {
            made.push(
                table
                    .split([' ', '('])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        // What is made here is empty, and nobody knows it yet.
        let is_new = |word: &str| {
            made.iter()
                .any(|table| word.trim_matches(['(', ')', ',']) == table)
        };
        if statement.split(' ').any(is_new) {
            continue;
        }
        for (marks, cures, why) in LOCKING {
            let has = |mark: &&str| statement.contains(*mark);
            if marks.iter().all(has) && !cures.iter().any(has) {
                found.push(format!("`{statement}`: {why}"));
            }
        }
    }
    found
}

#[test]
fn a_migration_locks_no_busy_table() {
    let migrations = files()
        .into_iter()
        .filter(|(path, _)| path.starts_with("migrations/"));
    for (path, text) in migrations {
        let number = path
            .trim_start_matches("migrations/")
            .split('_')
            .next()
            .unwrap_or_default();
        if number > FIRST_RELEASE {
            assert_eq!(faults(&text), Vec::<String>::new(), "{path}");
        }
    }
}

#[test]
fn a_statement_that_locks_a_busy_table_is_found() {
    for locking in [
        "create index tasks_title on tasks (tenant_id, title);",
        "create unique index tasks_title on tasks (tenant_id, title);",
        "alter table tasks add constraint tasks_title check (title <> '');",
        "alter table tasks add column parent uuid references tasks (id);",
        "alter table tasks alter column priority type integer;",
        "alter table tasks alter column role set not null;",
        "alter table tasks add column mark uuid default gen_random_uuid();",
        "-- Frees space.\nvacuum full tasks;",
        "lock table tasks in share mode;",
        "truncate tasks;",
        "alter table tasks drop column title;",
        "drop table tasks;",
        "alter table tasks rename column title to name;",
    ] {
        assert_eq!(faults(locking).len(), 1, "{locking}");
    }
    for harmless in [
        "create index concurrently tasks_title on tasks (tenant_id, title);",
        "create table notes (id uuid primary key); create index notes_id on notes (id);",
        "alter table tasks add column note text;",
        "alter table tasks add column weight integer not null default 1;",
        "alter table tasks add constraint tasks_title check (title <> '') not valid;",
        "alter table tasks validate constraint tasks_title;",
    ] {
        assert_eq!(faults(harmless), Vec::<String>::new(), "{harmless}");
    }
}
