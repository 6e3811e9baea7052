//! Encryption of what must not lie open in the database.
//!
//! XChaCha20-Poly1305 with one key for the installation: from `STINT_SEAL_KEY`, else from `seal.key`
//! in the data folder. The database keeps the key's fingerprint, and a replica with another key refuses
//! to start: it could not read what the others wrote.

mod store;

use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::db::Pools;

/// The nonce stands before the ciphertext.
const NONCE_BYTES: usize = 24;

/// Seals and opens.
pub struct Seal {
    cipher: XChaCha20Poly1305,
    /// Signs tokens: derived, so that a signature tells nothing about the sealing key.
    signing_key: [u8; 32],
    fingerprint: Vec<u8>,
}

impl Seal {
    /// Takes the key from the setting, else from the data folder, where it is made at the first start.
    ///
    /// # Errors
    /// When the key is not 32 bytes in base64, or the file cannot be read or made.
    pub fn load(setting: Option<&SecretString>, data_dir: &Path) -> anyhow::Result<Self> {
        match setting {
            Some(text) => Self::decode(text.expose_secret()).context("STINT_SEAL_KEY"),
            None => {
                let path = data_dir.join("seal.key");
                let text = if path.exists() {
                    std::fs::read_to_string(&path)
                } else {
                    make_key_file(&path)
                };
                let text = text.with_context(|| format!("the sealing key {}", path.display()))?;
                Self::decode(&text).with_context(|| format!("the sealing key {}", path.display()))
            }
        }
    }

    fn decode(text: &str) -> anyhow::Result<Self> {
        let bytes = BASE64_STANDARD
            .decode(text.trim())
            .context("is not base64")?;
        let key: [u8; 32] = bytes
            .try_into()
            .map_err(|_| anyhow::anyhow!("is not 32 bytes long"))?;
        Ok(Self::with_key(key))
    }

    fn with_key(key: [u8; 32]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&Key::from(key)),
            signing_key: derive(&key, b"stint tokens"),
            fingerprint: Sha256::digest(derive(&key, b"stint fingerprint")).to_vec(),
        }
    }

    /// Tells keys apart without telling the key.
    pub fn fingerprint(&self) -> &[u8] {
        &self.fingerprint
    }

    /// The key that signs tokens.
    pub fn signing_key(&self) -> &[u8; 32] {
        &self.signing_key
    }

    /// Encrypts.
    ///
    /// # Errors
    /// When the plain text is absurdly long.
    pub fn close(&self, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), plain)
            .map_err(|_| anyhow::anyhow!("the data could not be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Seal::close`] made.
    ///
    /// # Errors
    /// When it was made with another key, or changed since.
    pub fn open(&self, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (nonce, rest) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .context("the sealed data is too short")?;
        self.cipher
            .decrypt(&XNonce::from(*nonce), rest)
            .map_err(|_| anyhow::anyhow!("the sealed data was made with another key, or changed"))
    }
}

/// Refuses a key other than the one that this database was sealed with. The first start decides which.
///
/// # Errors
/// A sentence that says what to do; the database.
pub async fn check(db: &Pools, seal: &Seal) -> anyhow::Result<()> {
    let mut tx = db.internal_pool().begin().await.context("the database")?;
    let known = store::remember_fingerprint(&mut tx, seal.fingerprint()).await?;
    tx.commit().await?;
    anyhow::ensure!(
        known == seal.fingerprint(),
        "this is not the sealing key that the database was set up with; give this replica the same \
         STINT_SEAL_KEY, or the same seal.key in its data folder, as the other replicas have"
    );
    Ok(())
}

fn derive(key: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}

fn make_key_file(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let key: [u8; 32] = rand::random();
    let text = BASE64_STANDARD.encode(key);
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(mut file) => {
            writeln!(file, "{text}")?;
            file.sync_all()?;
            tracing::info!(path = %path.display(), "made the sealing key; keep a copy of it with your backups");
            Ok(text)
        }
        // Another replica on this folder was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::read_to_string(path)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let seal = Seal::with_key([7; 32]);
        let sealed = seal.close(b"a secret").unwrap();
        assert_eq!(seal.open(&sealed).unwrap(), b"a secret");
        assert!(Seal::with_key([8; 32]).open(&sealed).is_err());
        assert!(seal.open(&sealed[..20]).is_err());
    }

    #[test]
    fn the_key_file_is_made_once_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("stint-seal-{}", uuid::Uuid::now_v7()));
        let first = Seal::load(None, &folder).unwrap();
        let second = Seal::load(None, &folder).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        let mode = std::fs::metadata(folder.join("seal.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
