//! One registry: what is asked of it, and its answers in the words of this crate.
//!
//! `oci-client` pushes. Reading is here, because whoever serves an image is not trusted: every body has a limit, tokens
//! are got from nowhere that is less safe than the registry, and what the server says about coming back is heeded.

use std::path::PathBuf;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use fs_err as fs;
use jiff::Timestamp;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Target, RegistryOperation};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderMap, RANGE, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use crate::credential::{Challenge, Credential, TokenAnswer, challenge, find_credential, scope};
use crate::digest::Digest;
use crate::error::{ImageError, RegistryTrouble};
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, DOCUMENT_MAX, OCI_INDEX, OCI_MANIFEST};
use crate::reference::{Reference, is_loopback};
use crate::retry::{Tries, retry_after};
use crate::settings;
use crate::trouble::Trouble;

/// Time to reach a registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which some byte must come.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 10;
/// Largest token or report of an error that is read, in bytes.
const ANSWER_MAX: u64 = 1 << 20;
/// What a registry says that it sends (OCI distribution-spec, "pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";
const USER_AGENT: &str = concat!("stack/", env!("CARGO_PKG_VERSION"));

/// What is asked for when a name is resolved.
const DOCUMENTS: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// A registry, as far as one image is concerned.
pub(crate) struct Registry {
    http: reqwest::Client,
    credential: Credential,
    /// The header that the registry has accepted, or should.
    authorization: Mutex<Option<String>>,
    reference: Reference,
    /// Who is asked: the registry, or its mirror.
    host: String,
    is_plain: bool,
    certificates: Vec<Vec<u8>>,
}

impl Registry {
    /// Prepares requests; asks for credentials where the user's tools keep them.
    pub(crate) async fn new(reference: &Reference) -> Result<Self, ImageError> {
        let mirror = if reference.registry() == "docker.io" { settings::mirror()? } else { None };
        let asked = mirror.unwrap_or_else(|| reference.registry().to_owned());
        let (host, wants_plain) = match asked.split_once("://") {
            Some((scheme, host)) => (host.trim_end_matches('/').to_owned(), scheme == "http"),
            None => (asked, false),
        };
        let credential = find_credential(&host).await;
        Self::at(reference, host, wants_plain, credential)
    }

    /// With these credentials.
    pub(crate) fn with(reference: &Reference, credential: Credential) -> Result<Self, ImageError> {
        Self::at(reference, reference.registry().to_owned(), false, credential)
    }

    fn at(reference: &Reference, host: String, wants_plain: bool, credential: Credential) -> Result<Self, ImageError> {
        static PROVIDER: Once = Once::new();
        // Another part of the process may have chosen the provider before; that one is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let certificates = certificates(&host);
        // Whoever gives a certificate for a registry of this machine wants TLS there, too.
        let is_plain = wants_plain || is_loopback(&host) && certificates.is_empty();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(USER_AGENT)
            .redirect(Policy::custom(follow));
        if is_loopback(&host) {
            // No proxy reaches this machine's own registry.
            builder = builder.no_proxy();
        }
        for pem in &certificates {
            if let Ok(certificate) = reqwest::Certificate::from_pem(pem) {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let host_of = host.clone();
        let http = builder.build().map_err(|error| ImageError::Registry {
            reference: reference.to_string(),
            registry: host_of,
            source: Box::new(RegistryTrouble(Trouble::Request(error))),
        })?;
        let (authorization, reference) = (Mutex::default(), reference.clone());
        Ok(Self { http, credential, authorization, reference, host, is_plain, certificates })
    }

    /// The client that pushes.
    pub(crate) fn client(&self) -> Client {
        let certificate = |data: &Vec<u8>| Certificate { encoding: CertificateEncoding::Pem, data: data.clone() };
        Client::new(ClientConfig {
            protocol: if self.is_plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: self.certificates.iter().map(certificate).collect(),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        })
    }

    /// What the client that pushes shows: a token where the registry gives one.
    pub(crate) async fn push_credential(&self) -> Result<RegistryAuth, ImageError> {
        self.authorize(RegistryOperation::Push).await?;
        let shown = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let token = shown.as_deref().and_then(|shown| shown.strip_prefix("Bearer "));
        Ok(match (token, &self.credential) {
            (Some(token), _) => RegistryAuth::Bearer(token.to_owned()),
            (None, Credential::Password { user, password }) => RegistryAuth::Basic(user.clone(), password.clone()),
            (None, _) => RegistryAuth::Anonymous,
        })
    }

    /// Gets what is to be shown for an operation, where the registry wants something.
    pub(crate) async fn authorize(&self, operation: RegistryOperation) -> Result<(), ImageError> {
        let mut tries = Tries::default();
        loop {
            let asked = async {
                let answer = self.http.get(self.url("")).send().await.map_err(|error| self.broke(error))?;
                match challenge(answer.headers()) {
                    Some(challenge) => self.answer(&challenge, operation).await,
                    None => Ok(()),
                }
            };
            match asked.await {
                Ok(()) => return Ok(()),
                Err(error) => tries.pause_after(error).await?,
            }
        }
    }

    /// Some registries give a token to everybody: only the next question shows whether the credentials are right.
    pub(crate) async fn check_credential(&self) -> Result<(), ImageError> {
        match self.document(None).await {
            Err(error @ (ImageError::Unauthorized { .. } | ImageError::Unreachable { .. })) => Err(error),
            // What was asked for need not exist.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn target(&self) -> Target {
        let (host, path) = (self.host.clone(), self.reference.repository().to_owned());
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => Target::with_digest(host, path, digest.to_string()),
            (None, tag) => Target::with_tag(host, path, tag.unwrap_or("latest").to_owned()),
        }
    }

    /// A manifest or index: of the reference itself, or of a digest. The bytes are what the digest says.
    pub(crate) async fn document(&self, digest: Option<&Digest>) -> Result<(Vec<u8>, Digest), ImageError> {
        let expected = digest.or(self.reference.digest());
        let wanted = match expected {
            Some(digest) => digest.as_str(),
            None => self.reference.tag().unwrap_or("latest"),
        };
        let path = format!("{}/manifests/{wanted}", self.reference.repository());
        let mut tries = Tries::default();
        let (bytes, said) = loop {
            let asked = async {
                let answer = self.get(&path, &DOCUMENTS.join(", "), 0).await?;
                let said =
                    answer.headers().get(CONTENT_DIGEST).and_then(|value| Digest::parse(value.to_str().ok()?).ok());
                Ok((self.body(answer, DOCUMENT_MAX, "manifest").await?, said))
            };
            match asked.await {
                Ok(answer) => break answer,
                Err(error) => tries.pause_after(error).await?,
            }
        };
        let found = Digest::of(&bytes);
        if let Some(expected) = expected.or(said.as_ref()).filter(|expected| **expected != found) {
            return Err(self.mismatch("manifest", expected, &found.to_string()));
        }
        Ok((bytes, found))
    }

    /// A blob from an offset on, or from its beginning: the second value says where the answer begins. The bytes are not
    /// verified yet.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<(Response, u64), ImageError> {
        let path = format!("{}/blobs/{digest}", self.reference.repository());
        let answer = self.get(&path, "*/*", offset).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Ok((answer, 0));
        }
        let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let start = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok());
        match start {
            // A part that nobody asked for cannot be put in its place.
            Some(start) if start != offset => Err(self.failed(Trouble::Range { asked: offset, start })),
            _ => Ok((answer, offset)),
        }
    }

    /// Whether the registry has a blob. Asked here and not by the client that pushes, which does not see when the registry
    /// wants to be asked again.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, ImageError> {
        let path = format!("{}/blobs/{digest}", self.reference.repository());
        match self.ask(Method::HEAD, &path, "*/*", 0).await {
            Ok(_) => Ok(true),
            Err(ImageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}/v2/{path}", if self.is_plain { "http" } else { "https" }, self.host)
    }

    async fn get(&self, path: &str, accept: &str, offset: u64) -> Result<Response, ImageError> {
        self.ask(Method::GET, path, accept, offset).await
    }

    /// Asks, and asks once more with a token or password when the registry wants one.
    async fn ask(&self, method: Method, path: &str, accept: &str, offset: u64) -> Result<Response, ImageError> {
        let mut is_first = true;
        loop {
            let mut request = self.http.request(method.clone(), self.url(path)).header(ACCEPT, accept);
            let shown = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(shown) = shown {
                request = request.header(AUTHORIZATION, shown);
            }
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let answer = request.send().await.map_err(|error| self.broke(error))?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            if answer.status() == StatusCode::UNAUTHORIZED
                && std::mem::take(&mut is_first)
                && let Some(challenge) = challenge(answer.headers())
            {
                self.answer(&challenge, RegistryOperation::Pull).await?;
                continue;
            }
            return Err(self.refusal(answer).await);
        }
    }

    /// Gets what a challenge wants.
    async fn answer(&self, challenge: &Challenge, operation: RegistryOperation) -> Result<(), ImageError> {
        let shown = match (challenge, &self.credential) {
            (Challenge::Basic, Credential::Password { user, password }) => {
                let pair = crate::login::base64(format!("{user}:{password}").as_bytes());
                format!("Basic {pair}")
            }
            (Challenge::Basic, _) => return Err(self.unauthorized("it wants a user and a password")),
            (Challenge::Bearer { realm, service }, _) => {
                format!("Bearer {}", self.token(realm, service.as_deref(), operation).await?)
            }
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(())
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        operation: RegistryOperation,
    ) -> Result<String, ImageError> {
        let url = reqwest::Url::parse(realm).map_err(|_| self.unauthorized("it names no address for tokens"))?;
        // Credentials go where the registry says, but never less protected than to the registry itself.
        if url.scheme() != "https" && !(url.scheme() == "http" && self.is_plain) {
            return Err(self.unauthorized("it wants the credentials sent to an address without TLS"));
        }
        let scope = scope(self.reference.repository(), operation);
        let mut fields = vec![("scope", scope.as_str())];
        fields.extend(service.map(|service| ("service", service)));
        let request = match &self.credential {
            Credential::Identity(token) => {
                fields.extend([("grant_type", "refresh_token"), ("client_id", "stack"), ("refresh_token", token)]);
                let form = reqwest::Url::parse_with_params("form:", &fields);
                let form = form.map_err(|_| self.unauthorized("its identity token cannot be sent"))?;
                let kind = "application/x-www-form-urlencoded";
                self.http.post(url).header("Content-Type", kind).body(form.query().unwrap_or_default().to_owned())
            }
            credential => {
                let mut url = url;
                url.query_pairs_mut().extend_pairs(&fields);
                let request = self.http.get(url);
                match credential {
                    Credential::Password { user, password } => request.basic_auth(user, Some(password)),
                    Credential::Anonymous | Credential::Identity(_) => request,
                }
            }
        };
        let answer = request.send().await.map_err(|error| self.broke(error))?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.unauthorized("the credentials are not accepted"));
            }
            _ => return Err(self.refusal(answer).await),
        }
        let bytes = self.body(answer, ANSWER_MAX, "token").await?;
        let answer: Option<TokenAnswer> = serde_json::from_slice(&bytes).ok();
        answer.and_then(TokenAnswer::into_token).ok_or_else(|| self.unauthorized("its token server gives no token"))
    }

    /// A body that may not be larger than it should.
    async fn body(&self, mut answer: Response, max: u64, what: &'static str) -> Result<Vec<u8>, ImageError> {
        let promised = answer.content_length().unwrap_or(0);
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broke(error))? {
            bytes.extend_from_slice(&chunk);
            let size = promised.max(bytes.len() as u64);
            if size > max {
                return Err(ImageError::TooLarge { what, reference: self.reference.to_string(), size, max });
            }
        }
        Ok(bytes)
    }

    /// An answer that is none, in words.
    async fn refusal(&self, answer: Response) -> ImageError {
        let (status, after) = (answer.status(), pause_of(answer.headers()));
        let bytes = self.body(answer, ANSWER_MAX, "error").await.unwrap_or_default();
        let said = serde_json::from_slice::<Envelope>(&bytes).ok().and_then(|said| said.errors.into_iter().next());
        let code = said.map(|said| said.code.to_ascii_uppercase());
        match (status, code.as_deref()) {
            (StatusCode::TOO_MANY_REQUESTS, _) | (_, Some("TOOMANYREQUESTS")) => {
                let (reference, registry) = (self.reference.to_string(), self.reference.registry().to_owned());
                ImageError::TooManyRequests { reference, registry, after }
            }
            (StatusCode::UNAUTHORIZED, _) | (_, Some("UNAUTHORIZED")) => self.unauthorized("not authorized"),
            (StatusCode::FORBIDDEN, _) | (_, Some("DENIED")) => self.unauthorized("access is denied"),
            (StatusCode::NOT_FOUND, code) => self.not_found(code.unwrap_or("status 404")),
            (_, Some(code @ ("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NAME_INVALID" | "BLOB_UNKNOWN"))) => {
                self.not_found(code)
            }
            _ => self.failed(Trouble::Status { status, after }),
        }
    }

    fn not_found(&self, code: &str) -> ImageError {
        let code: String = code.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(100).collect();
        let code = code.to_ascii_lowercase().replace('_', " ");
        ImageError::NotFound {
            reference: self.reference.to_string(),
            registry: self.reference.registry().to_owned(),
            code,
        }
    }

    fn unauthorized(&self, reason: &str) -> ImageError {
        let (reference, registry) = (self.reference.to_string(), self.reference.registry().to_owned());
        ImageError::Unauthorized { reference, registry, reason: reason.to_owned() }
    }

    fn failed(&self, trouble: Trouble) -> ImageError {
        let (reference, registry) = (self.reference.to_string(), self.reference.registry().to_owned());
        ImageError::Registry { reference, registry, source: Box::new(RegistryTrouble(trouble)) }
    }

    pub(crate) fn mismatch(&self, what: &'static str, expected: &Digest, found: &str) -> ImageError {
        ImageError::Mismatch {
            what,
            reference: self.reference.to_string(),
            expected: expected.to_string(),
            found: found.to_owned(),
        }
    }

    /// A request that was not answered, or whose answer broke off.
    pub(crate) fn broke(&self, error: reqwest::Error) -> ImageError {
        if error.is_redirect() || error.is_builder() {
            return self.failed(Trouble::Request(error));
        }
        ImageError::Unreachable {
            reference: self.reference.to_string(),
            registry: self.reference.registry().to_owned(),
            reason: root_cause(&error),
        }
    }

    /// What went wrong with a push.
    pub(crate) fn explain(&self, error: OciDistributionError) -> ImageError {
        match error {
            OciDistributionError::UnauthorizedError { .. } => self.unauthorized("not authorized"),
            OciDistributionError::AuthenticationFailure(_) => self.unauthorized("the credentials are not accepted"),
            OciDistributionError::ServerError { code: 401 | 403, .. } => self.unauthorized("access is denied"),
            OciDistributionError::ServerError { code: 404, .. } => self.not_found("status 404"),
            OciDistributionError::RequestError(cause) if cause.is_connect() || cause.is_timeout() => self.broke(cause),
            OciDistributionError::RegistryError { ref envelope, .. } => {
                use oci_client::errors::OciErrorCode as Code;
                match envelope.errors.first().map(|said| &said.code) {
                    Some(Code::Unauthorized) => self.unauthorized("not authorized"),
                    Some(Code::Denied) => self.unauthorized("access is denied"),
                    Some(Code::NameUnknown) => self.not_found("name unknown"),
                    Some(Code::NameInvalid) => self.not_found("name invalid"),
                    _ => self.failed(Trouble::Push(error)),
                }
            }
            error => self.failed(Trouble::Push(error)),
        }
    }
}

/// What a registry says about an error (OCI distribution-spec, "error codes").
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    code: String,
}

fn pause_of(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

/// Other hosts may have the content, but never without the TLS that the registry has. reqwest itself keeps the
/// `Authorization` header from other hosts.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if was_safe && attempt.url().scheme() != "https" {
        return attempt.error("it redirects to an address without TLS");
    }
    if attempt.previous().len() > REDIRECTS_MAX { attempt.error("it redirects too often") } else { attempt.follow() }
}

/// The last link of a chain, which says it best: `connection refused`.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    let text = last.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Where Docker and Podman keep certificates of authorities, one directory a registry.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];
/// Another place for them.
const CERTIFICATES_VARIABLE: &str = "STACK_CERTS";

/// Authorities that are trusted for one registry, besides those of the system: `<host>[:port]/*.crt`, in PEM.
fn certificates(host: &str) -> Vec<Vec<u8>> {
    let own = std::env::var_os(CERTIFICATES_VARIABLE).map(PathBuf::from);
    let places = own.into_iter().chain(CERTIFICATES.map(PathBuf::from));
    let files = places.flat_map(|place| fs::read_dir(place.join(host)).into_iter().flatten().flatten());
    let files = files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "crt"));
    files.filter_map(|path| fs::read(path).ok()).collect()
}
