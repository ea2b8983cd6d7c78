//! `sha256:<64 hex>`, the only kind of digest the store knows, and readers and writers that compute it on the way.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A verified form of `sha256:<64 lower-case hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

/// A text that is no digest of the kind the store knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sha256 digest")]
pub(crate) struct InvalidDigest(String);

/// Algorithm and separator in front of the hexadecimal digits.
const PREFIX: &str = "sha256:";
/// Hexadecimal digits of a SHA-256 (FIPS 180-4: 256 bits).
const HEX_LENGTH: usize = 64;

impl Digest {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let is_hex =
            |hex: &str| hex.len() == HEX_LENGTH && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match text.strip_prefix(PREFIX) {
            Some(hex) if is_hex(hex) => Ok(Self(text.to_owned())),
            _ => Err(InvalidDigest(text.chars().take(PREFIX.len() + HEX_LENGTH).collect())),
        }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(PREFIX.len() + HEX_LENGTH);
        text.push_str(PREFIX);
        for byte in hasher.finalize() {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
        }
        Self(text)
    }

    /// The 64 digits: a file name that cannot leave its directory.
    pub(crate) fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Hashes and counts what is read through it.
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
    count: u64,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), count: 0 }
    }

    /// The reader, the digest of all that was read, and how much that was.
    pub(crate) fn finish(self) -> (R, Digest, u64) {
        (self.inner, Digest::from_hasher(self.hasher), self.count)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 gives this one for the empty message.
    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_digest() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
        let mut reader = HashingReader::new(&b""[..]);
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 0);
        assert_eq!(reader.finish().1.as_str(), EMPTY);
    }

    #[test]
    fn only_sha256_in_lower_case_is_a_digest() {
        assert_eq!(Digest::parse(EMPTY).unwrap().hex().len(), 64);
        for bad in ["", "sha256:", "sha256:../../etc", "sha512:00", &EMPTY.to_uppercase(), &EMPTY[..70]] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }
}
