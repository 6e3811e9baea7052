//! Keys: what they allow, how they end, and how they are replaced.

use std::time::Duration;

use stint_protocol::{
    CreateKey, ErrorCode, ExchangeToken, ReasonCode, RotateKey, Scope, WorkspaceId,
};
use stint_tests::{TestPlatform, refused, refused_because, test};
use uuid::Uuid;

fn key(scope: Scope) -> CreateKey {
    CreateKey {
        scope,
        owner_type: None,
        owner_id: None,
        label: None,
        expires_at: None,
        workspace_ids: Vec::new(),
        routing_tags: Vec::new(),
        request_id: None,
    }
}

fn moment(text: &str) -> stint_protocol::Timestamp {
    text.parse::<chrono::DateTime<chrono::Utc>>()
        .expect("it is a moment")
        .into()
}

fn exchange(api_key: &str) -> ExchangeToken {
    ExchangeToken {
        api_key: api_key.to_owned(),
        persistent_session: None,
    }
}

async fn expire(t: &TestPlatform, id: stint_protocol::KeyId) {
    t.execute(&format!(
        "update api_keys set expires_at = clock_timestamp() - interval '1 second' where id = '{id}'"
    ))
    .await;
}

#[test]
fn a_key_is_shown_once_and_stored_as_a_hash() {
    test(async |t| {
        let made = t.admin().create_key(&key(Scope::Admin)).await.unwrap();
        assert!(made.api_key.starts_with("st_admin_"), "{}", made.api_key);
        let secret = made.api_key.trim_start_matches("st_admin_");
        let listed = t.admin().list_keys().await.unwrap();
        let listed = listed.iter().find(|key| key.id == made.id).unwrap();
        assert_eq!(listed.key_prefix, made.key_prefix);
        assert!(!format!("{listed:?}").contains(secret));
        for table in ["api_keys", "key_lookups", "events", "request_slots"] {
            let found: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "select exists (select from {table} x where x::text like '%{secret}%')"
            )))
            .fetch_one(t.sql())
            .await
            .unwrap();
            assert!(!found, "the secret lies open in {table}");
        }
    });
}

#[test]
fn a_caller_is_told_who_it_is() {
    test(async |t| {
        let worker = t.worker("w1").await;
        let me = worker.agent.get_identity().await.unwrap();
        assert_eq!(me.scope, Scope::Agent);
        assert_eq!(me.owner_id, Some(worker.agent_id.uuid()));
        let me = worker.worker.get_identity().await.unwrap();
        assert_eq!(me.scope, Scope::Worker);
        assert_eq!(me.owner_id, Some(worker.worker_id.uuid()));
        let workspace = WorkspaceId::from(Uuid::new_v4());
        let wanted = CreateKey {
            workspace_ids: vec![workspace],
            routing_tags: vec!["role:painter".to_owned()],
            ..key(Scope::Admin)
        };
        let made = t.admin().create_key(&wanted).await.unwrap();
        let me = t
            .first()
            .client(&made.api_key)
            .get_identity()
            .await
            .unwrap();
        assert_eq!(me.key_id, made.id);
        assert_eq!(me.workspace_ids, [workspace]);
        assert_eq!(me.routing_tags, ["role:painter"]);
    });
}

#[test]
fn a_revoked_key_is_refused_on_every_replica() {
    test(async |t| {
        let other = t.replica().await;
        let made = t.admin().create_key(&key(Scope::Admin)).await.unwrap();
        for replica in [t.first(), &other] {
            replica.client(&made.api_key).get_identity().await.unwrap();
        }
        assert!(t.admin().revoke_key(made.id).await.unwrap().revoked);
        refused(
            t.first().client(&made.api_key).get_identity().await,
            ErrorCode::Unauthorized,
        );
        let client = other.client(&made.api_key);
        stint_tests::until("the other replica has heard of it", async || {
            client.get_identity().await.is_err()
        })
        .await;
        let listed = t.admin().list_keys().await.unwrap();
        let listed = listed.iter().find(|key| key.id == made.id).unwrap();
        assert!(listed.is_revoked && listed.revoked_at.is_some());
    });
}

#[test]
fn a_key_can_be_revoked_twice_and_one_that_is_not_there_cannot() {
    test(async |t| {
        let made = t.admin().create_key(&key(Scope::Admin)).await.unwrap();
        t.admin().revoke_key(made.id).await.unwrap();
        t.admin().revoke_key(made.id).await.unwrap();
        let nobody = Uuid::new_v4().into();
        refused(t.admin().revoke_key(nobody).await, ErrorCode::NotFound);
    });
}

#[test]
fn an_expired_key_is_refused() {
    test(async |t| {
        let wanted = CreateKey {
            expires_at: Some(moment("2099-01-01T00:00:00Z")),
            ..key(Scope::Admin)
        };
        let made = t.admin().create_key(&wanted).await.unwrap();
        expire(t, made.id).await;
        refused(
            t.first().client(&made.api_key).get_identity().await,
            ErrorCode::Unauthorized,
        );
        let answer = t.stranger().exchange_token(&exchange(&made.api_key)).await;
        refused(answer, ErrorCode::Unauthorized);
    });
}

#[test]
fn a_key_in_the_past_cannot_be_made() {
    test(async |t| {
        let wanted = CreateKey {
            expires_at: Some(moment("2001-01-01T00:00:00Z")),
            ..key(Scope::Admin)
        };
        let refusal = t.admin().create_key(&wanted).await;
        refused(refusal, ErrorCode::SchemaValidationFailed);
    });
}

#[test]
fn a_rotated_key_has_the_same_rights_and_its_predecessor_ends() {
    test(async |t| {
        let workspace = WorkspaceId::from(Uuid::new_v4());
        let wanted = CreateKey {
            workspace_ids: vec![workspace],
            ..key(Scope::Admin)
        };
        let old = t.admin().create_key(&wanted).await.unwrap();
        let new = t
            .admin()
            .rotate_key(old.id, &RotateKey::default())
            .await
            .unwrap();
        assert_ne!(new.api_key, old.api_key);
        let me = t.first().client(&new.api_key).get_identity().await.unwrap();
        assert_eq!(
            (me.scope, me.workspace_ids),
            (Scope::Admin, vec![workspace])
        );
        refused(
            t.first().client(&old.api_key).get_identity().await,
            ErrorCode::Unauthorized,
        );
    });
}

#[test]
fn a_rotated_key_may_overlap_with_its_predecessor() {
    test(async |t| {
        let old = t.admin().create_key(&key(Scope::Admin)).await.unwrap();
        let overlap = RotateKey {
            overlap_seconds: Some(600),
            request_id: None,
        };
        t.admin().rotate_key(old.id, &overlap).await.unwrap();
        let me = t.first().client(&old.api_key).get_identity().await.unwrap();
        assert!(me.expires_at.is_some());
    });
}

#[test]
fn a_restricted_key_makes_no_key_that_reaches_further() {
    test(async |t| {
        let here = WorkspaceId::from(Uuid::new_v4());
        let wanted = CreateKey {
            workspace_ids: vec![here],
            ..key(Scope::Admin)
        };
        let made = t.admin().create_key(&wanted).await.unwrap();
        let restricted = t.first().client(&made.api_key);
        refused_because(
            restricted.create_key(&key(Scope::Admin)).await,
            ReasonCode::OutsideWorkspaces,
        );
        restricted
            .create_key(&wanted)
            .await
            .expect("as far as itself");
    });
}

#[test]
fn an_agent_key_needs_an_agent_that_exists() {
    test(async |t| {
        refused(
            t.admin().create_key(&key(Scope::Agent)).await,
            ErrorCode::SchemaValidationFailed,
        );
        let nobody = CreateKey {
            owner_id: Some(Uuid::new_v4()),
            ..key(Scope::Agent)
        };
        refused(t.admin().create_key(&nobody).await, ErrorCode::NotFound);
        let worker = t.worker("w1").await;
        let wanted = CreateKey {
            owner_id: Some(worker.agent_id.uuid()),
            ..key(Scope::Agent)
        };
        let made = t.admin().create_key(&wanted).await.unwrap();
        let me = t
            .first()
            .client(&made.api_key)
            .get_identity()
            .await
            .unwrap();
        assert_eq!(me.owner_id, Some(worker.agent_id.uuid()));
    });
}

#[test]
fn a_token_stands_for_its_key_until_the_key_is_revoked() {
    test(async |t| {
        let made = t.admin().create_key(&key(Scope::Admin)).await.unwrap();
        let token = t
            .stranger()
            .exchange_token(&exchange(&made.api_key))
            .await
            .unwrap();
        assert_eq!(token.scope, Scope::Admin);
        let client = t.first().client(&token.token);
        assert_eq!(client.get_identity().await.unwrap().key_id, made.id);
        client
            .create_task(&stint_tests::new_task("by token"))
            .await
            .unwrap();
        t.admin().revoke_key(made.id).await.unwrap();
        refused(client.get_identity().await, ErrorCode::Unauthorized);
    });
}

#[test]
fn a_token_that_was_tampered_with_is_refused() {
    test(async |t| {
        let token = t
            .stranger()
            .exchange_token(&exchange(t.admin_key()))
            .await
            .unwrap()
            .token;
        for at in [0, token.len() / 2, token.len() - 1] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).unwrap();
            let client = t.first().client(&tampered);
            refused(client.get_identity().await, ErrorCode::Unauthorized);
        }
    });
}

#[test]
fn a_token_does_not_outlive_its_key() {
    test(async |t| {
        let soon = chrono::DateTime::from(std::time::SystemTime::now() + Duration::from_secs(300));
        let wanted = CreateKey {
            expires_at: Some(chrono::DateTime::<chrono::Utc>::into(soon)),
            ..key(Scope::Admin)
        };
        let made = t.admin().create_key(&wanted).await.unwrap();
        let token = t
            .stranger()
            .exchange_token(&exchange(&made.api_key))
            .await
            .unwrap();
        assert!(token.expires_at <= wanted.expires_at.unwrap());
    });
}

#[test]
fn a_restricted_key_ends_no_key_that_reaches_further() {
    test(async |t| {
        let wanted = CreateKey {
            workspace_ids: vec![WorkspaceId::from(Uuid::new_v4())],
            ..key(Scope::Admin)
        };
        let made = t.admin().create_key(&wanted).await.unwrap();
        let restricted = t.first().client(&made.api_key);
        let other = t.admin().create_key(&key(Scope::Admin)).await.unwrap();
        refused_because(
            restricted.revoke_key(other.id).await,
            ReasonCode::OutsideWorkspaces,
        );
        let reaching = t.first().client(&other.api_key);
        reaching.get_identity().await.expect("it is still valid");
        restricted.revoke_key(made.id).await.expect("itself");
    });
}
