//! The private PostgreSQL server: what it keeps and what it refuses.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use stint_platform::db::admit::admit;
use stint_platform::db::keeper::{Keeper, KeeperSettings};

use stint_tests::place::{Place, connect, rows, write_row};

async fn show(db: &mut PgConnection, setting: &str) -> String {
    sqlx::query_scalar("select current_setting($1)")
        .bind(setting)
        .fetch_one(db)
        .await
        .expect("a setting that exists")
}

fn is_installed(library: &str) -> bool {
    fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut versions| {
        versions
            .any(|version| version.is_ok_and(|it| it.path().join("lib").join(library).is_file()))
    })
}

#[tokio::test]
async fn a_fresh_folder_gets_a_durable_and_private_database() {
    let place = Place::new();
    let keeper = place.start().await;
    let options = keeper.connect_options();
    let mut db = connect(&options).await;
    let expected = [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("jit", "off"),
        ("max_wal_size", "4GB"),
        ("autovacuum_naptime", "5s"),
        ("idle_in_transaction_session_timeout", "1min"),
    ];
    for (setting, value) in expected {
        assert_eq!(show(&mut db, setting).await, value, "{setting}");
    }
    if is_installed("pg_stat_statements.so") {
        assert_eq!(
            show(&mut db, "shared_preload_libraries").await,
            "pg_stat_statements"
        );
    }
    assert_eq!(
        fs::metadata(place.file("secret")).unwrap().mode() & 0o777,
        0o600
    );
    assert!(
        !place.file("secret.initdb").exists(),
        "the password is kept in one place only"
    );
    admit(&options)
        .await
        .expect("our own server is fit for use");
    keeper.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let place = Place::new();
    let keeper = place.start().await;
    let options = keeper.connect_options().password("guessed");
    let refused = PgConnection::connect_with(&options).await.unwrap_err();
    let code = refused
        .as_database_error()
        .and_then(|error| error.code())
        .unwrap();
    assert_eq!(code, "28P01");
    keeper.stop().await;
}

#[tokio::test]
async fn the_url_serves_sqlx_and_the_programs_of_postgresql() {
    let place = Place::new();
    let keeper = place.start().await;
    let url = keeper.url();
    write_row(&url.expose_secret().parse().unwrap()).await;
    let dump = Command::new("pg_dump")
        .arg(url.expose_secret())
        .output()
        .expect("pg_dump runs");
    assert!(
        String::from_utf8_lossy(&dump.stdout).contains("COPY public.kept"),
        "{dump:?}"
    );
    keeper.stop().await;
}

#[tokio::test]
async fn rows_survive_a_restart() {
    let place = Place::new();
    let keeper = place.start().await;
    write_row(&keeper.connect_options()).await;
    keeper.stop().await;
    assert_eq!(place.server(), None, "a stopped server leaves no trace");

    let keeper = place.start().await;
    assert_eq!(rows(&keeper.connect_options()).await.unwrap(), 1);
    keeper.stop().await;
}

#[tokio::test]
async fn a_second_platform_on_the_folder_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let keeper = place.start().await;
    let refusal = place.refusal(place.settings()).await;
    assert!(
        refusal.contains("To run several replicas, set DATABASE_URL"),
        "{refusal}"
    );
    write_row(&keeper.connect_options()).await;
    keeper.stop().await;
}

#[tokio::test]
async fn several_keepers_live_in_one_process() {
    let (one, two) = (Place::new(), Place::new());
    let (one, two) = tokio::join!(one.start(), two.start());
    write_row(&one.connect_options()).await;
    one.stop().await;
    assert!(
        rows(&two.connect_options()).await.is_err(),
        "the other never had that table"
    );
    write_row(&two.connect_options()).await;
    two.stop().await;
}

#[tokio::test]
async fn a_folder_with_a_long_path_works() {
    let place = Place::new();
    let data_dir = place.path().join("long".repeat(25)).join("with, comma");
    let settings = KeeperSettings {
        data_dir,
        pg_bin: None,
    };
    let keeper = Keeper::start(settings.clone()).await.unwrap();
    write_row(&keeper.connect_options()).await;
    keeper.stop().await;
    let keeper = Keeper::start(settings).await.unwrap();
    assert_eq!(rows(&keeper.connect_options()).await.unwrap(), 1);
    let socket_dir = keeper.connect_options().get_socket().unwrap().clone();
    keeper.stop().await;
    fs::remove_dir(socket_dir).expect("a stopped server leaves its socket folder empty");
}

#[tokio::test]
async fn a_folder_whose_name_has_a_comma_works() {
    let place = Place::new();
    let data_dir = place.path().join("a, \"b\" ü");
    let keeper = Keeper::start(KeeperSettings {
        data_dir,
        pg_bin: None,
    })
    .await
    .unwrap();
    write_row(&keeper.url().expose_secret().parse().unwrap()).await;
    keeper.stop().await;
}

#[tokio::test]
async fn a_failing_start_shows_what_the_server_said() {
    let place = Place::new();
    place.start().await.stop().await;
    let settings = place.file("cluster/postgresql.auto.conf");
    fs::write(&settings, "wal_level = nonsense\n").unwrap();
    let refusal = place.refusal(place.settings()).await;
    assert!(
        refusal.contains("did not start") && refusal.contains("nonsense"),
        "{refusal}"
    );

    fs::write(&settings, "").unwrap();
    place.start().await.stop().await;
}

#[tokio::test]
async fn an_older_postgresql_is_refused_naming_the_versions() {
    let place = Place::new();
    let bin = place.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["initdb", "postgres"] {
        let script = format!("#!/bin/sh\necho '{program} (PostgreSQL) 14.9'\n");
        fs::write(bin.join(program), script).unwrap();
        fs::set_permissions(bin.join(program), Permissions::from_mode(0o755)).unwrap();
    }
    let refusal = place
        .refusal(KeeperSettings {
            pg_bin: Some(bin),
            ..place.settings()
        })
        .await;
    assert!(
        refusal.contains("PostgreSQL 15 or later") && refusal.contains("14.9"),
        "{refusal}"
    );
    assert!(!place.file("cluster").exists());
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused_naming_both() {
    let place = Place::new();
    place.start().await.stop().await;
    fs::write(place.file("cluster/PG_VERSION"), "99\n").unwrap();
    let refusal = place.refusal(place.settings()).await;
    assert!(refusal.contains("made by PostgreSQL 99"), "{refusal}");
}
