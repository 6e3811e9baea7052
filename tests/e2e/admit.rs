//! Which database servers the platform takes, seen from a real one.

use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use stint_platform::db::admit::admit;
use stint_platform::db::keeper::Keeper;

use crate::pooler;
use stint_tests::place::Place;

async fn run(options: &PgConnectOptions, sql: &'static str) {
    let mut db = PgConnection::connect_with(options)
        .await
        .expect("the database answers");
    sqlx::raw_sql(sql)
        .execute(&mut db)
        .await
        .expect("a statement that works");
}

async fn refusal(options: &PgConnectOptions) -> String {
    format!(
        "{:#}",
        admit(options).await.expect_err("the server is refused")
    )
}

/// Options that lead to another place than the keeper's own socket.
fn through_port(keeper: &Keeper, port: u16) -> PgConnectOptions {
    let url = keeper.url();
    let (start, rest) = url.expose_secret().split_once('@').expect("a user");
    let (_, database) = rest.split_once('/').expect("a database");
    format!("{start}@127.0.0.1:{port}/{database}?sslmode=disable")
        .parse()
        .expect("a url")
}

#[tokio::test]
async fn a_server_that_was_weakened_is_refused_until_it_is_cured() {
    let place = Place::new();
    let keeper = place.start().await;
    let options = keeper.connect_options();
    let weakened = [
        (
            "alter database stint set synchronous_commit = off",
            "synchronous_commit is off",
            "alter database stint reset synchronous_commit",
        ),
        (
            "alter role stint set default_transaction_read_only = on",
            "transactions are read-only",
            "begin read write; alter role stint reset default_transaction_read_only; commit",
        ),
        (
            "alter role stint set search_path = nowhere",
            "no schema of the search_path exists",
            "alter role stint reset search_path",
        ),
    ];
    for (weaken, said, cure) in weakened {
        run(&options, weaken).await;
        let refusal = refusal(&options).await;
        assert!(refusal.contains(said), "{refusal}");
        run(&options, cure).await;
        admit(&options).await.expect("cured");
    }
    keeper.stop().await;
}

#[tokio::test]
async fn a_user_who_may_not_create_tables_is_refused_naming_the_grant() {
    let place = Place::new();
    let keeper = place.start().await;
    let options = keeper.connect_options();
    run(&options, "create role guest login password 'guest'").await;
    let guest = options.clone().username("guest").password("guest");
    let refusal = refusal(&guest).await;
    assert!(
        refusal.contains("grant create on schema \"public\" to \"guest\""),
        "{refusal}"
    );
    run(&options, "grant create on schema public to guest").await;
    admit(&guest).await.expect("cured");
    keeper.stop().await;
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused() {
    let place = Place::new();
    let keeper = place.start().await;
    let port = pooler::start(&keeper.connect_options()).await;
    let pooled = through_port(&keeper, port);
    run(&pooled, "select 1").await;
    let refusal = refusal(&pooled).await;
    assert!(
        refusal.contains("does not keep a session together"),
        "{refusal}"
    );
    assert!(refusal.contains("pool_mode = session"), "{refusal}");
    keeper.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let options = "postgres://someone:hidden@127.0.0.1:1/db".parse().unwrap();
    let refusal = refusal(&options).await;
    assert!(refusal.contains("127.0.0.1:1 as user someone"), "{refusal}");
    assert!(!refusal.contains("hidden"), "{refusal}");
}
