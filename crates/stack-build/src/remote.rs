//! `ADD https://…`.

use std::io::Write;
use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::cache::hex;

/// Largest file that is fetched.
const BYTES_MAX: u64 = 16 << 30;
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// A file that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) path: PathBuf,
    /// `sha256:<hex>`.
    pub(crate) digest: String,
    /// What the server says, in seconds since the epoch.
    pub(crate) modified: i64,
}

/// Whether a source is fetched rather than read from the context.
pub(crate) fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// What git would have to fetch.
pub(crate) fn is_git(source: &str) -> bool {
    source.starts_with("git://")
        || source.starts_with("git@")
        || source.starts_with("ssh://")
        || is_remote(source) && source.split(['#', '?']).next().is_some_and(|path| path.ends_with(".git"))
}

/// The name of a file by its URL.
pub(crate) fn name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    path.split_once('/').map_or("", |(_, path)| path.rsplit('/').next().unwrap_or_default())
}

/// Fetches a file; the reason in words where that fails.
pub(crate) fn fetch(url: &str, path: &Path) -> Result<Fetched, String> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(fetch_async(url, path))
}

async fn fetch_async(url: &str, path: &Path) -> Result<Fetched, String> {
    let said = |error: reqwest::Error| {
        let last = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
        last.map_or_else(String::new, ToString::to_string)
    };
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .connect_timeout(std::time::Duration::from_secs(10))
        .read_timeout(std::time::Duration::from_secs(60))
        .user_agent(concat!("stack/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(said)?;
    let mut response = client.get(url).send().await.map_err(said)?;
    if !response.status().is_success() {
        return Err(format!("the server answers {}", response.status()));
    }
    let header = response.headers().get("last-modified").and_then(|value| value.to_str().ok());
    let modified =
        header.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map_or(0, |time| time.timestamp().as_second());
    let mut file = fs::File::create(path).map_err(|error| error.to_string())?;
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        size += chunk.len() as u64;
        if size > BYTES_MAX {
            return Err(format!("it is larger than {BYTES_MAX} bytes"));
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(|error| error.to_string())?;
    }
    Ok(Fetched { path: path.to_owned(), digest: format!("sha256:{}", hex(hasher)), modified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_apart() {
        assert_eq!(name("https://a.b/c/d.tar.gz?x=1"), "d.tar.gz");
        assert_eq!((name("https://a.b/"), name("https://a.b")), ("", ""));
        assert!(is_git("https://a.b/c.git#main:sub") && is_git("git@a.b:c") && !is_git("https://a.b/c"));
    }
}
