//! Credentials where the user's tools keep them, and the tokens that they are exchanged for.

use docker_credential::DockerCredential;
use oci_client::RegistryOperation;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    /// A token that other tokens are got with (Docker's `identitytoken`, OAuth 2's refresh token).
    Identity(String),
}

/// What a registry wants to see before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with every request (RFC 7617).
    Basic,
    /// A token from elsewhere (distribution `spec/auth/token.md`).
    Bearer { realm: String, service: Option<String> },
}

/// The answer of a token server. Both names are in use.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    pub(crate) fn into_token(self) -> Option<String> {
        self.token.or(self.access_token).filter(|token| !token.is_empty())
    }
}

/// What a token is to allow.
pub(crate) fn scope(repository: &str, operation: RegistryOperation) -> String {
    match operation {
        RegistryOperation::Pull => format!("repository:{repository}:pull"),
        RegistryOperation::Push => format!("repository:{repository}:pull,push"),
    }
}

/// The first challenge that can be answered; tokens before passwords.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = || headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let scheme = |value: &str| value.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    let bearer = values().filter(|value| scheme(value) == "bearer").find_map(|value| {
        let parameters = parameters(value.split_once(' ')?.1);
        let find = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Some(Challenge::Bearer { realm: find("realm")?, service: find("service") })
    });
    bearer.or_else(|| values().any(|value| scheme(value) == "basic").then_some(Challenge::Basic))
}

/// `name="value"` or `name=value`, separated by commas (RFC 9110 11.2).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().to_ascii_lowercase();
        let value = if let Some(quoted) = after.strip_prefix('"') {
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(chars.next().map(|(_, c)| c)),
                    c => value.push(c),
                }
            }
            rest = &quoted[end..];
            value
        } else {
            let end = after.find(',').unwrap_or(after.len());
            rest = &after[end..];
            after[..end].trim().to_owned()
        };
        found.push((name, value));
        rest = rest.trim_start_matches([',', ' ']);
    }
    found
}

/// What a registry is called in files of credentials.
pub(crate) fn credential_key(registry: &str) -> String {
    if registry == "docker.io" { HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// Docker Hub's name in files of credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Finding a credential may run a helper of the user's (`credHelpers`), so it is off the event loop.
pub(crate) async fn find_credential(registry: &str) -> Credential {
    let key = credential_key(registry);
    let find = move || {
        let docker = docker_credential::get_credential(&key);
        docker.or_else(|_| docker_credential::get_podman_credential(&key)).ok()
    };
    match tokio::task::spawn_blocking(find).await.ok().flatten() {
        Some(DockerCredential::UsernamePassword(user, password)) => Credential::Password { user, password },
        Some(DockerCredential::IdentityToken(token)) => Credential::Identity(token),
        None => Credential::Anonymous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read_in_all_their_forms() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        let full = r#"Bearer realm="https://a.b/token",service="a.b",scope="repository:x:pull,push""#;
        assert_eq!(of(&[full]), bearer("https://a.b/token", Some("a.b")));
        assert_eq!(of(&["Basic realm=\"x\"", full]), bearer("https://a.b/token", Some("a.b")));
        assert_eq!(of(&["bearer Realm=https://a.b/t, service=\"a\\\"b\""]), bearer("https://a.b/t", Some("a\"b")));
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Bearer service=\"a\""]), None);
        assert_eq!(of(&["Negotiate"]), None);
        assert_eq!(of(&["Bearer realm=\"open"]), bearer("open", None));
    }
}
