//! How a key looks, and what is stored of it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use protocol::Scope;
use sha2::{Digest, Sha256};

/// Random bytes in a key: 192 bits cannot be guessed, so a plain hash of them is enough.
const SECRET_BYTES: usize = 24;

/// A key in the clear: exists only while it is made and shown.
pub struct Secret(String);

impl Secret {
    /// Makes a key.
    pub fn new(scope: Scope) -> Self {
        let random: [u8; SECRET_BYTES] = rand::random();
        Self(format!(
            "st_{scope}_{}",
            BASE64_URL_SAFE_NO_PAD.encode(random)
        ))
    }

    /// Takes a key that someone else made, such as the admin key of the configuration.
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }

    /// Tells keys apart for people: `k` and the beginning of the hash.
    pub fn prefix(&self) -> String {
        let mut prefix = BASE64_URL_SAFE_NO_PAD.encode(self.hash());
        prefix.truncate(11);
        format!("k{prefix}")
    }
}

/// What is stored in place of a key.
pub(super) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_scope_and_differ() {
        let (one, two) = (Secret::new(Scope::Agent), Secret::new(Scope::Agent));
        assert!(one.reveal().starts_with("st_agent_"));
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(one.prefix().len(), 12);
    }
}
