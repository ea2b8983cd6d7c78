//! A project as the file describes it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use ipnet::Ipv4Net;
use stack_model::ProjectName;

use crate::service::Service;
use crate::text::{Names, Span, Spanned};

/// A project that was read without errors: typed, every reference resolved, profiles applied.
#[derive(Debug, Clone)]
pub struct Project {
    pub(crate) name: ProjectName,
    pub(crate) directory: PathBuf,
    /// Names of the files that places refer to.
    pub(crate) names: Names,
    /// Active services in the order of the file.
    pub(crate) services: IndexMap<String, Service>,
    /// Services that no active profile asks for.
    pub(crate) disabled: IndexMap<String, Service>,
    pub(crate) networks: IndexMap<String, Network>,
    pub(crate) volumes: IndexMap<String, Volume>,
    pub(crate) secrets: IndexMap<String, FileSource>,
    pub(crate) configs: IndexMap<String, FileSource>,
    /// `x-*`.
    pub(crate) extensions: Vec<(String, serde_json::Value)>,
}

/// An entry of the top-level `networks`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    pub(crate) span: Span,
    /// Real name.
    pub(crate) name: String,
    pub(crate) driver: Option<String>,
    pub(crate) internal: Option<bool>,
    pub(crate) subnet: Option<Spanned<Ipv4Net>>,
    pub(crate) gateway: Option<Spanned<Ipv4Addr>>,
    pub(crate) labels: IndexMap<String, String>,
}

/// An entry of the top-level `volumes`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Volume {
    pub(crate) span: Span,
    /// Real name.
    pub(crate) name: String,
    pub(crate) external: bool,
    pub(crate) driver: Option<String>,
    pub(crate) labels: IndexMap<String, String>,
}

/// An entry of the top-level `secrets` or `configs`.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileSource {
    /// Real name.
    pub(crate) name: String,
    pub(crate) file: Spanned<PathBuf>,
    /// A fingerprint of the content; empty when nothing active uses it.
    pub(crate) content: String,
}

impl Project {
    /// The project's name.
    pub fn name(&self) -> &ProjectName {
        &self.name
    }

    /// The project directory: relative paths of the file begin here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names of the active services, sorted.
    pub fn services(&self) -> Vec<String> {
        self.services.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Images of the active services, sorted, each once.
    pub fn images(&self) -> Vec<String> {
        let images = self.services.values().filter_map(|service| service.image.as_ref());
        images.map(|image| image.value.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The file's names of the volumes that active services use, sorted.
    pub fn volumes(&self) -> Vec<String> {
        self.used_volumes().into_iter().map(str::to_owned).collect()
    }

    /// The file's names of the networks that active services use, sorted.
    pub fn networks(&self) -> Vec<String> {
        self.used_networks().into_iter().map(str::to_owned).collect()
    }

    /// Every profile that a service names, active or not, sorted.
    pub fn profiles(&self) -> Vec<String> {
        let services = self.services.values().chain(self.disabled.values());
        let profiles = services.flat_map(|service| service.profiles.iter().map(|profile| profile.value.clone()));
        profiles.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(crate) fn used_networks(&self) -> BTreeSet<&str> {
        let mut used = BTreeSet::new();
        for service in self.services.values() {
            if service.uses_default_network() {
                used.insert("default");
            }
            used.extend(service.networks.iter().flatten().map(|(name, _)| name.as_str()));
        }
        used
    }

    pub(crate) fn used_volumes(&self) -> BTreeSet<&str> {
        let mounts = self.services.values().flat_map(|service| &service.volumes);
        mounts.filter_map(crate::service::VolumeMount::volume_key).collect()
    }

    pub(crate) fn used_secrets(&self) -> BTreeSet<&str> {
        self.services.values().flat_map(|service| &service.secrets).map(|file| file.source.as_str()).collect()
    }

    pub(crate) fn used_configs(&self) -> BTreeSet<&str> {
        self.services.values().flat_map(|service| &service.configs).map(|file| file.source.as_str()).collect()
    }
}
