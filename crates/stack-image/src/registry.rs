//! One registry, through `oci-client`: credentials, retries, and errors in the words of this crate.

use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use docker_credential::DockerCredential;
use fs_err as fs;
use oci_client::client::{
    BlobResponse, Certificate, CertificateEncoding, ClientConfig, ClientProtocol, LayerDescriptor,
};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Target};

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, DOCUMENT_MAX, OCI_INDEX, OCI_MANIFEST};
use crate::reference::{Reference, is_loopback};

/// Time to reach a registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which some byte must come.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Pauses between the tries of a request.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_millis(1500), Duration::from_millis(4000)];
/// Pauses while nothing answers at all: whoever waits wants to know that soon.
const PAUSES_UNREACHABLE: usize = 1;

/// What is asked for when a name is resolved.
const DOCUMENTS: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// A registry, as far as one image is concerned.
pub(crate) struct Registry {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
    /// Who is asked: the registry, or its mirror.
    host: String,
    /// A credential of a kind that is not supported was found and left alone.
    ignored_identity_token: bool,
}

impl Registry {
    /// Prepares requests; asks for credentials where the user's tools keep them.
    pub(crate) async fn new(reference: &Reference) -> Self {
        let host = host_of(reference);
        let (auth, ignored_identity_token) = find_credential(&host).await;
        Self { ignored_identity_token, ..Self::with(reference, auth).await }
    }

    /// With these credentials.
    pub(crate) async fn with(reference: &Reference, auth: RegistryAuth) -> Self {
        let host = host_of(reference);
        static PROVIDER: Once = Once::new();
        // Another part of the process may have chosen the provider before; that one is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let certificates = certificates(&host);
        // Whoever gives a certificate for a registry of this machine wants TLS there, too.
        let protocol =
            if is_loopback(&host) && certificates.is_empty() { ClientProtocol::Http } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig {
            protocol,
            extra_root_certificates: certificates,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("stack/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let registry = Self { client, auth, host, reference: reference.clone(), ignored_identity_token: false };
        registry.client.store_auth_if_needed(registry.target().resolve_registry(), &registry.auth).await;
        registry
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn credential(&self) -> &RegistryAuth {
        &self.auth
    }

    /// Some registries give a token to everybody: only the next question shows whether the credentials are right.
    pub(crate) async fn check_credential(&self) -> Result<(), ImageError> {
        match self.document(None).await {
            Err(error @ (ImageError::Unauthorized { .. } | ImageError::Unreachable { .. })) => Err(error),
            // What was asked for need not exist.
            Ok(_) | Err(_) => Ok(()),
        }
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
        let target = match digest {
            Some(digest) => self.target().clone_with_digest(digest.to_string()),
            None => self.target(),
        };
        let mut tries = Tries::default();
        let bytes = loop {
            match self.client.pull_manifest_raw(&target, &self.auth, &DOCUMENTS).await {
                Ok((bytes, _)) => break bytes,
                Err(error) => tries.pause_after(self.explain(error)).await?,
            }
        };
        let size = bytes.len() as u64;
        if size > DOCUMENT_MAX {
            let reference = self.reference.to_string();
            return Err(ImageError::TooLarge { what: "manifest", reference, size, max: DOCUMENT_MAX });
        }
        let found = Digest::of(&bytes);
        let expected = digest.or(self.reference.digest());
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(self.mismatch("manifest", expected, &found.to_string()));
        }
        Ok((bytes.to_vec(), found))
    }

    /// The bytes of a blob from an offset on. They are not verified yet.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobResponse, ImageError> {
        let layer = LayerDescriptor { digest: digest.as_str(), urls: &None };
        let response = self.client.pull_blob_stream_partial(&self.target(), &layer, offset, None).await;
        response.map_err(|error| self.explain(error))
    }

    pub(crate) fn mismatch(&self, what: &'static str, expected: &Digest, found: &str) -> ImageError {
        ImageError::Mismatch {
            what,
            reference: self.reference.to_string(),
            expected: expected.to_string(),
            found: found.to_owned(),
        }
    }

    /// The connection broke while a blob came.
    pub(crate) fn broken(&self, error: &(dyn std::error::Error + 'static)) -> ImageError {
        ImageError::Unreachable {
            reference: self.reference.to_string(),
            registry: self.reference.registry().to_owned(),
            reason: root_cause(error),
        }
    }

    pub(crate) fn explain(&self, error: OciDistributionError) -> ImageError {
        let (reference, registry) = (self.reference.to_string(), self.reference.registry().to_owned());
        let unauthorized = |reason: &str| {
            let more = if self.ignored_identity_token {
                "; the identity token that is kept for it is not supported"
            } else {
                ""
            };
            let reason = format!("{reason}{more}");
            ImageError::Unauthorized { reference: reference.clone(), registry: registry.clone(), reason }
        };
        let not_found = |code: String| {
            let (reference, registry) = (reference.clone(), registry.clone());
            ImageError::NotFound { reference, registry, code }
        };
        match &error {
            OciDistributionError::UnauthorizedError { .. } => unauthorized("not authorized"),
            OciDistributionError::AuthenticationFailure(_) => unauthorized("the credentials are not accepted"),
            OciDistributionError::ImageManifestNotFoundError(_) => not_found("manifest unknown".to_owned()),
            OciDistributionError::ServerError { code: 404, .. } => not_found("status 404".to_owned()),
            OciDistributionError::ServerError { code: 401 | 403, .. } => unauthorized("access is denied"),
            OciDistributionError::ServerError { code: 429, .. } => ImageError::TooManyRequests { reference, registry },
            OciDistributionError::RequestError(cause) if cause.status().is_some() => {
                match cause.status().map_or(0, |status| status.as_u16()) {
                    401 | 403 => unauthorized("access is denied"),
                    404 => not_found("status 404".to_owned()),
                    429 => ImageError::TooManyRequests { reference, registry },
                    _ => ImageError::Registry { reference, registry, source: Box::new(error) },
                }
            }
            OciDistributionError::RequestError(cause) if cause.is_connect() || cause.is_timeout() => self.broken(cause),
            OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first().map(|e| &e.code) {
                Some(OciErrorCode::ManifestUnknown) => not_found("manifest unknown".to_owned()),
                Some(OciErrorCode::NameUnknown) => not_found("name unknown".to_owned()),
                Some(OciErrorCode::NameInvalid) => not_found("name invalid".to_owned()),
                Some(OciErrorCode::BlobUnknown) => not_found("blob unknown".to_owned()),
                Some(OciErrorCode::NotFound) => not_found("not found".to_owned()),
                Some(OciErrorCode::Unauthorized) => unauthorized("not authorized"),
                Some(OciErrorCode::Denied) => unauthorized("access is denied"),
                Some(OciErrorCode::Toomanyrequests) => ImageError::TooManyRequests { reference, registry },
                _ => ImageError::Registry { reference, registry, source: Box::new(error) },
            },
            _ => ImageError::Registry { reference, registry, source: Box::new(error) },
        }
    }
}

/// Counts tries and waits between them.
#[derive(Default)]
pub(crate) struct Tries {
    count: usize,
}

impl Tries {
    /// Waits before the next try, or gives the error back when there is none.
    pub(crate) async fn pause_after(&mut self, error: ImageError) -> Result<(), ImageError> {
        let most = match &error {
            ImageError::Unreachable { .. } => PAUSES_UNREACHABLE,
            ImageError::TooManyRequests { .. } => PAUSES.len(),
            ImageError::Registry { source, .. } if is_passing(source) => PAUSES.len(),
            _ => 0,
        };
        match PAUSES.get(self.count).filter(|_| self.count < most) {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => return Err(error),
        }
        self.count += 1;
        Ok(())
    }

    /// Something came: trouble after this is new trouble.
    pub(crate) fn reset(&mut self) {
        self.count = 0;
    }
}

/// Trouble of the moment: the server's own, or a connection that broke.
fn is_passing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 408,
        OciDistributionError::RequestError(cause) => {
            cause.status().is_none_or(|status| status.is_server_error() || status.as_u16() == 408)
        }
        OciDistributionError::IoError(_) => true,
        _ => false,
    }
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
fn certificates(host: &str) -> Vec<Certificate> {
    let own = std::env::var_os(CERTIFICATES_VARIABLE).map(PathBuf::from);
    let places = own.into_iter().chain(CERTIFICATES.map(PathBuf::from));
    let files = places.flat_map(|place| fs::read_dir(place.join(host)).into_iter().flatten().flatten());
    let files = files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "crt"));
    let read = |path: PathBuf| Some(Certificate { encoding: CertificateEncoding::Pem, data: fs::read(path).ok()? });
    files.filter_map(read).collect()
}

/// A mirror of Docker Hub: host and port.
const MIRROR: &str = "STACK_MIRROR";

/// Who is asked for an image.
fn host_of(reference: &Reference) -> String {
    let mirror = || std::env::var(MIRROR).ok().filter(|mirror| !mirror.is_empty());
    let mirror = if reference.registry() == "docker.io" { mirror() } else { None };
    mirror.unwrap_or_else(|| reference.registry().to_owned())
}

/// What a registry is called in files of credentials.
pub(crate) fn credential_key(registry: &str) -> String {
    if registry == "docker.io" { HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// Docker Hub's name in files of credentials.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Finding a credential may run a helper of the user's (`credHelpers`), so it is off the event loop.
async fn find_credential(registry: &str) -> (RegistryAuth, bool) {
    let key = credential_key(registry);
    let find = move || {
        let docker = docker_credential::get_credential(&key);
        docker.or_else(|_| docker_credential::get_podman_credential(&key)).ok()
    };
    match tokio::task::spawn_blocking(find).await.ok().flatten() {
        Some(DockerCredential::UsernamePassword(user, password)) => (RegistryAuth::Basic(user, password), false),
        Some(DockerCredential::IdentityToken(_)) => (RegistryAuth::Anonymous, true),
        None => (RegistryAuth::Anonymous, false),
    }
}
