//! Tenants: made and switched off by the platform's own admins.

use stint_protocol::{CreateTenant, ErrorCode, ReasonCode, UpdateTenant};
use stint_tests::{refused, refused_because, test};

fn tenant(slug: &str) -> CreateTenant {
    CreateTenant {
        name: "Acme".to_owned(),
        slug: slug.to_owned(),
        request_id: None,
    }
}

#[test]
fn a_new_tenant_has_an_admin_of_its_own() {
    test(async |t| {
        let made = t.admin().create_tenant(&tenant("acme")).await.unwrap();
        let admin = t.first().client(&made.admin_api_key);
        let me = admin.get_identity().await.unwrap();
        assert_eq!(me.tenant_id, made.tenant.id);
        let read = t.admin().get_tenant(made.tenant.id).await.unwrap();
        assert_eq!((read.slug.as_str(), read.is_active), ("acme", true));
        let all = t.admin().list_tenants(&[]).await.unwrap();
        assert_eq!(all.meta.total, 2);
        assert_eq!(all.data[0].id, made.tenant.id, "the newest comes first");
    });
}

#[test]
fn a_slug_is_taken_once() {
    test(async |t| {
        t.admin().create_tenant(&tenant("acme")).await.unwrap();
        let again = t.admin().create_tenant(&tenant("acme")).await;
        refused_because(again, ReasonCode::NameTaken);
    });
}

#[test]
fn a_slug_that_is_no_address_is_refused() {
    test(async |t| {
        for slug in ["", "Acme", "a b", "ü", "a/b", &"a".repeat(64)] {
            let refusal = t.admin().create_tenant(&tenant(slug)).await;
            refused(refusal, ErrorCode::SchemaValidationFailed);
        }
    });
}

#[test]
fn the_admin_of_another_tenant_manages_no_tenants() {
    test(async |t| {
        let other = t.other_tenant().await;
        let own = other.get_identity().await.unwrap().tenant_id;
        refused(other.list_tenants(&[]).await, ErrorCode::Forbidden);
        refused(other.get_tenant(own).await, ErrorCode::Forbidden);
        refused(
            other.create_tenant(&tenant("mine")).await,
            ErrorCode::Forbidden,
        );
    });
}

#[test]
fn an_inactive_tenants_keys_are_refused_until_it_is_active_again() {
    test(async |t| {
        let made = t.admin().create_tenant(&tenant("acme")).await.unwrap();
        let admin = t.first().client(&made.admin_api_key);
        admin.get_identity().await.unwrap();
        let active = |is_active| UpdateTenant {
            is_active: Some(is_active),
            ..UpdateTenant::default()
        };
        let id = made.tenant.id;
        t.admin().update_tenant(id, &active(false)).await.unwrap();
        refused(admin.get_identity().await, ErrorCode::Unauthorized);
        t.admin().update_tenant(id, &active(true)).await.unwrap();
        admin.get_identity().await.unwrap();
    });
}
