//! Tokens: how they are signed, and when they are believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use protocol::{KeyId, Scope, TenantId};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// `{"alg":"HS256","typ":"JWT"}`: the only header we write, and therefore the only one we read. A token
/// that asks for another algorithm is no token.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The key it stands for.
    pub key_id: KeyId,
    /// Whose key that is.
    pub tenant_id: TenantId,
    /// What the key may do; for the reader of the token, not for us.
    pub scope: Scope,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}

/// What a valid token stands for.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    /// The key.
    pub key: KeyId,
    /// Whose key that is.
    pub tenant: TenantId,
    /// How long the token lasts.
    pub time_left: Duration,
}

/// Whether a bearer is a token rather than a key.
pub fn is_token(bearer: &str) -> bool {
    bearer
        .strip_prefix(HEADER)
        .is_some_and(|rest| rest.starts_with('.') && rest.matches('.').count() == 2)
}

/// Signs a token.
pub fn sign(signing_key: &[u8; 32], claims: &Claims) -> String {
    let payload = serde_json::to_vec(claims).expect("claims are plain data");
    let signed = format!("{HEADER}.{}", BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = mac(signing_key, &signed).finalize().into_bytes();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// What a token stands for, unless it was forged, was changed, or has ended.
///
/// Its end is judged by this machine's clock, which may differ from the database's by what machines do.
pub fn verify(signing_key: &[u8; 32], token: &str) -> Option<Verified> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    verify_at(signing_key, token, now)
}

fn verify_at(signing_key: &[u8; 32], token: &str, now: Duration) -> Option<Verified> {
    if !is_token(token) {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    // Compares in constant time.
    mac(signing_key, signed).verify_slice(&signature).ok()?;
    let (_, payload) = signed.split_once('.')?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    let time_left = Duration::from_secs(claims.exp)
        .checked_sub(now)
        .filter(|left| !left.is_zero())?;
    Some(Verified {
        key: claims.key_id,
        tenant: claims.tenant_id,
        time_left,
    })
}

fn mac(signing_key: &[u8; 32], signed: &str) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(signing_key)
        .expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const NOW: Duration = Duration::from_secs(1_000);

    fn claims() -> Claims {
        Claims {
            key_id: KeyId::new(),
            tenant_id: TenantId::new(),
            scope: Scope::Admin,
            exp: 1_060,
        }
    }

    #[test]
    fn the_header_is_what_its_comment_says() {
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(header, HEADER);
    }

    #[test]
    fn a_token_stands_for_its_key_until_it_ends() {
        let claims = claims();
        let token = sign(&KEY, &claims);
        assert!(is_token(&token));
        let verified = verify_at(&KEY, &token, NOW).unwrap();
        assert_eq!(verified.key, claims.key_id);
        assert_eq!(verified.tenant, claims.tenant_id);
        assert_eq!(verified.time_left, Duration::from_secs(60));
        assert!(verify_at(&KEY, &token, Duration::from_secs(1_060)).is_none());
    }

    #[test]
    fn a_changed_or_forged_token_is_refused() {
        let token = sign(&KEY, &claims());
        assert!(verify_at(&[8; 32], &token, NOW).is_none());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = sign(&KEY, &claims());
        let (other_signed, _) = other.rsplit_once('.').unwrap();
        assert!(verify_at(&KEY, &format!("{other_signed}.{signature}"), NOW).is_none());
        assert!(verify_at(&KEY, &format!("{signed}."), NOW).is_none());
    }

    #[test]
    fn a_token_cannot_choose_its_algorithm() {
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let token = sign(&KEY, &claims());
        let (_, rest) = token.split_once('.').unwrap();
        assert!(verify_at(&KEY, &format!("{none}.{rest}"), NOW).is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_text_but_a_signed_one_is_a_token(text in "\\PC{0,60}", dots in 0_usize..4) {
            let text = format!("{HEADER}{}{text}", ".".repeat(dots));
            proptest::prop_assert!(verify_at(&KEY, &text, NOW).is_none());
        }

        #[test]
        fn a_token_with_one_other_letter_is_refused(place in 0_usize..1_000, letter in "[A-Za-z0-9_.=-]") {
            let token = sign(&KEY, &claims());
            let place = place % token.len();
            let mut changed = token.clone();
            changed.replace_range(place..=place, &letter);
            proptest::prop_assume!(changed != token);
            proptest::prop_assert!(verify_at(&KEY, &changed, NOW).is_none(), "{changed}");
        }
    }
}
