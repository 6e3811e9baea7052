//! Admission of a database server: looked at before anything is written to it.
//!
//! What the platform promises rests on the server keeping its own promises. A server that may
//! lose a commit, that is only a copy, or that hands out its connections per transaction, is
//! refused at start-up with the cure, instead of failing some night.
//!
//! Statements here are plain text. A prepared one might be refused by the very pooler that we
//! want to explain.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, PgConnection, Row};
use tracing::info;

use super::PG_MAJOR_MIN;

/// Time to connect. A packet filter may swallow the attempt, which the system would notice after
/// two minutes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Time for one question. A pooler with a single connection would never answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// A pooler chooses among its connections; more than one round leaves it no luck.
const POOLER_ROUNDS: usize = 3;

/// What a start-up wants to know about a server that was admitted.
#[derive(Clone, Debug)]
pub struct AdmittedServer {
    /// As the server prints it, for example `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// All connections of the server together, for us and everybody else.
    pub connections_max: u32,
}

/// Looks at the server behind `options` and refuses one that cannot keep our promises.
pub async fn admit(options: &PgConnectOptions) -> anyhow::Result<AdmittedServer> {
    let mut db = connect(options).await?;
    let facts = Facts::ask(&mut db).await?;
    let problems = facts.problems();
    if !problems.is_empty() {
        bail!(
            "this database server cannot be used:\n- {}",
            problems.join("\n- ")
        );
    }
    let mut neighbour = connect(options).await?;
    refuse_pooler(&mut db, &mut neighbour).await?;
    for db in [db, neighbour] {
        db.close()
            .await
            .context("closing a connection to the database")?;
    }
    info!("PostgreSQL {} is fit for use", facts.version);
    Ok(AdmittedServer {
        version: facts.version,
        connections_max: facts.connections_max,
    })
}

async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let connecting = PgConnection::connect_with(options);
    let Ok(connected) = tokio::time::timeout(CONNECT_PATIENCE, connecting).await else {
        bail!(
            "{}: no answer within {} s",
            cannot_connect(options),
            CONNECT_PATIENCE.as_secs()
        );
    };
    connected.map_err(|error| {
        let next = if error.to_string().contains("unsupported startup parameter") {
            pooler_advice("it refuses a start-up parameter that PostgreSQL itself takes")
        } else {
            cannot_connect(options)
        };
        anyhow::Error::new(error).context(next)
    })
}

fn cannot_connect(options: &PgConnectOptions) -> String {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    format!(
        "cannot connect to PostgreSQL at {place} as user {}; check DATABASE_URL, and that the \
         server runs and lets this machine in",
        options.get_username()
    )
}

/// What a server says about itself.
#[derive(Clone, Debug)]
struct Facts {
    version: String,
    version_number: u32,
    fsync: String,
    synchronous_commit: String,
    full_page_writes: String,
    server_encoding: String,
    is_standby: bool,
    read_only: String,
    user: String,
    database: String,
    schema: Option<String>,
    may_create: bool,
    connections_max: u32,
}

impl Facts {
    async fn ask(db: &mut PgConnection) -> anyhow::Result<Self> {
        let row = ask(
            db,
            "select current_setting('server_version') as version,
                    current_setting('server_version_num')::int as version_number,
                    current_setting('fsync') as fsync,
                    current_setting('synchronous_commit') as synchronous_commit,
                    current_setting('full_page_writes') as full_page_writes,
                    current_setting('server_encoding') as server_encoding,
                    pg_is_in_recovery() as is_standby,
                    current_setting('transaction_read_only') as read_only,
                    current_user::text as user,
                    current_database()::text as database,
                    current_schema()::text as schema,
                    coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create,
                    current_setting('max_connections')::int as connections_max",
        )
        .await?;
        Self::read(&row).context("reading what the database server says about itself")
    }

    fn read(row: &PgRow) -> anyhow::Result<Self> {
        Ok(Self {
            version: row.try_get("version")?,
            version_number: row.try_get::<i32, _>("version_number")?.try_into()?,
            fsync: row.try_get("fsync")?,
            synchronous_commit: row.try_get("synchronous_commit")?,
            full_page_writes: row.try_get("full_page_writes")?,
            server_encoding: row.try_get("server_encoding")?,
            is_standby: row.try_get("is_standby")?,
            read_only: row.try_get("read_only")?,
            user: row.try_get("user")?,
            database: row.try_get("database")?,
            schema: row.try_get("schema")?,
            may_create: row.try_get("may_create")?,
            connections_max: row.try_get::<i32, _>("connections_max")?.try_into()?,
        })
    }

    /// Everything that is wrong, each with its cure, so that one look at the log is enough.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut problem = |text: String| problems.push(text);
        let Self { user, database, .. } = self;

        if self.version_number / 10_000 < PG_MAJOR_MIN {
            problem(format!(
                "it is PostgreSQL {}, and {PG_MAJOR_MIN} or later is needed; upgrade it",
                self.version
            ));
        }
        let off = |value: &str| value == "off";
        if off(&self.fsync) {
            problem(format!(
                "fsync is off, so a power cut can destroy it; {}",
                turn_on("fsync")
            ));
        }
        if off(&self.full_page_writes) {
            let cure = turn_on("full_page_writes");
            problem(format!(
                "full_page_writes is off, so a power cut can tear a page; {cure}"
            ));
        }
        if off(&self.synchronous_commit) {
            problem(format!(
                "synchronous_commit is off, so acknowledged work can be lost; {}. If it was set \
                 for the role or the database: alter role \"{user}\" reset synchronous_commit; \
                 alter database \"{database}\" reset synchronous_commit",
                turn_on("synchronous_commit"),
            ));
        }
        if self.is_standby {
            problem("it is a standby, which cannot be written to; use the primary".to_owned());
        } else if self.read_only == "on" {
            problem(format!(
                "transactions are read-only by default; use the primary, or run: begin read \
                 write; alter role \"{user}\" reset default_transaction_read_only; commit (or \
                 the same for the database or the server)"
            ));
        }
        if self.server_encoding != "UTF8" {
            problem(format!(
                "database {database} is encoded in {}, and UTF8 is needed; create another with: \
                 create database stint encoding 'UTF8' template template0",
                self.server_encoding
            ));
        }
        match &self.schema {
            None => problem(format!(
                "no schema of the search_path exists, so tables have no place; run: create schema \
                 stint authorization \"{user}\"; alter role \"{user}\" set search_path = stint"
            )),
            Some(schema) if !self.may_create => problem(format!(
                "user {user} may not create tables in schema {schema} of database {database}; run \
                 as its owner: grant create on schema \"{schema}\" to \"{user}\""
            )),
            Some(_) => {}
        }
        problems
    }
}

fn turn_on(setting: &str) -> String {
    format!("run: alter system set {setting} = on; select pg_reload_conf()")
}

/// Refuses a pooler that gives a session another server connection for each transaction.
///
/// We ask for something, then a neighbour opens a transaction, and then we ask again. A pooler
/// lends our connection to the neighbour in between, and gives us another one afterwards, or
/// none at all.
async fn refuse_pooler(db: &mut PgConnection, neighbour: &mut PgConnection) -> anyhow::Result<()> {
    for _ in 0..POOLER_ROUNDS {
        let before = backend(db).await?;
        execute(neighbour, "begin").await?;
        let lent = backend(neighbour).await?;
        let after = tokio::time::timeout(ANSWER_PATIENCE, backend(db)).await;
        execute(neighbour, "rollback").await?;
        let Ok(after) = after else {
            bail!(pooler_advice(
                "a session gets no answer while another has a transaction open"
            ));
        };
        if before == lent || before != after? {
            bail!(pooler_advice(
                "one session was served by several server connections"
            ));
        }
    }
    Ok(())
}

fn pooler_advice(seen: &str) -> String {
    format!(
        "DATABASE_URL leads to a connection pooler that does not keep a session together ({seen}). \
         The platform pools its connections itself and needs whole sessions, for LISTEN, advisory \
         locks and prepared statements. Point DATABASE_URL directly to the PostgreSQL server, or \
         to a pool in session mode (PgBouncer: pool_mode = session, ignore_startup_parameters = \
         extra_float_digits; hosted services often offer it on another port)"
    )
}

async fn backend(db: &mut PgConnection) -> anyhow::Result<i32> {
    Ok(ask(db, "select pg_backend_pid() as pid")
        .await?
        .try_get("pid")?)
}

async fn ask(db: &mut PgConnection, sql: &'static str) -> anyhow::Result<PgRow> {
    sqlx::raw_sql(sql)
        .fetch_one(db)
        .await
        .context("asking the database server about itself")
}

async fn execute(db: &mut PgConnection, sql: &'static str) -> anyhow::Result<()> {
    sqlx::raw_sql(sql)
        .execute(db)
        .await
        .with_context(|| format!("running {sql}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Facts {
        Facts {
            version: "15.18".to_owned(),
            version_number: 150_018,
            fsync: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            server_encoding: "UTF8".to_owned(),
            is_standby: false,
            read_only: "off".to_owned(),
            user: "stint".to_owned(),
            database: "stint".to_owned(),
            schema: Some("public".to_owned()),
            may_create: true,
            connections_max: 100,
        }
    }

    fn only_problem(facts: &Facts) -> String {
        let mut problems = facts.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }

    #[test]
    fn a_fit_server_has_no_problems() {
        assert_eq!(fit().problems(), Vec::<String>::new());
        let replicated = Facts {
            synchronous_commit: "remote_apply".to_owned(),
            ..fit()
        };
        assert_eq!(replicated.problems(), Vec::<String>::new());
    }

    #[test]
    fn an_older_server_is_refused_naming_both_versions() {
        let facts = Facts {
            version: "14.9".to_owned(),
            version_number: 140_009,
            ..fit()
        };
        let problem = only_problem(&facts);
        assert!(
            problem.contains("14.9") && problem.contains("15"),
            "{problem}"
        );
    }

    #[test]
    fn a_server_that_can_lose_commits_is_refused_naming_the_setting() {
        let off = || "off".to_owned();
        let refused = [
            (
                "fsync",
                Facts {
                    fsync: off(),
                    ..fit()
                },
            ),
            (
                "synchronous_commit",
                Facts {
                    synchronous_commit: off(),
                    ..fit()
                },
            ),
            (
                "full_page_writes",
                Facts {
                    full_page_writes: off(),
                    ..fit()
                },
            ),
        ];
        for (setting, facts) in refused {
            let problem = only_problem(&facts);
            assert!(
                problem.contains(&format!("alter system set {setting} = on")),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_copy_is_refused_once_though_it_is_also_read_only() {
        let facts = Facts {
            is_standby: true,
            read_only: "on".to_owned(),
            ..fit()
        };
        assert!(only_problem(&facts).contains("use the primary"));
        let facts = Facts {
            read_only: "on".to_owned(),
            ..fit()
        };
        assert!(only_problem(&facts).contains("default_transaction_read_only"));
    }

    #[test]
    fn a_user_without_a_place_for_tables_is_told_which_grant_is_missing() {
        let problem = only_problem(&Facts {
            may_create: false,
            ..fit()
        });
        assert!(
            problem.contains("grant create on schema \"public\" to \"stint\""),
            "{problem}"
        );
        let facts = Facts {
            schema: None,
            may_create: false,
            ..fit()
        };
        assert!(only_problem(&facts).contains("create schema"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let facts = Facts {
            fsync: "off".to_owned(),
            may_create: false,
            ..fit()
        };
        assert_eq!(facts.problems().len(), 2);
    }
}
