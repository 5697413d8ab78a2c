//! Content addresses.

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;

/// A SHA-256 in lower-case hexadecimal.
///
/// ```
/// use domain::Digest;
/// let digest = Digest::of(b"abc");
/// assert!(digest.as_str().starts_with("ba7816bf"));
/// assert_eq!(digest.short(), "ba7816bf8f01");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(hex::encode(sha2::Sha256::digest(bytes)))
    }

    /// The digest of several parts; each is preceded by its length, so that parts cannot run into each other.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Digest(hex::encode(hasher.finalize()))
    }

    /// The digest of a value's JSON. Structs and ordered maps have one JSON each, so equal values have equal digests.
    pub fn of_json<T: Serialize>(value: &T) -> Self {
        let json = serde_json::to_vec(value).expect("specs and entities are plain data and have a JSON form");
        Digest::of(&json)
    }

    /// Takes hexadecimal text that this program wrote earlier.
    pub fn from_hex(text: impl Into<String>) -> Self {
        Digest(text.into())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(12)]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}
