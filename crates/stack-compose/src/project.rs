//! A project as the file describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use ipnet::Ipv4Net;
use stack_model::ProjectName;

use crate::host_access::HostAccess;
use crate::keys::BRIDGE;
use crate::roads::Roads;
use crate::service::{NetworkSource, Service};
use crate::shape::Trail;
use crate::text::{Names, Span, Spanned};
use crate::variables::Variables;
use crate::yaml::{Entry, Kind, Mapping, Node};

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
    /// The merged tree with everything filled in: what `stack config` shows.
    pub(crate) document: Node,
    /// What later files replaced.
    pub(crate) trail: Trail,
    pub(crate) roads: Roads,
    pub(crate) variables: Variables,
    /// The pinned name of each image of `stack.lock`.
    pub(crate) locked: BTreeMap<String, String>,
    /// What it asks of the machine; known when it is read to be run.
    pub(crate) host_access: Vec<HostAccess>,
    /// Values were not interpolated.
    pub(crate) is_template: bool,
    /// The tree has names for everything, also for the project.
    pub(crate) is_named: bool,
    /// What no active service uses is shown too.
    pub(crate) keeps_unused: bool,
    /// Profiles that were asked for.
    pub(crate) active_profiles: Vec<String>,
}

/// An entry of the top-level `networks`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    pub(crate) span: Span,
    /// Real name.
    pub(crate) name: String,
    pub(crate) external: bool,
    pub(crate) ipv6: bool,
    pub(crate) subnet6: Option<Spanned<ipnet::Ipv6Net>>,
    pub(crate) gateway6: Option<std::net::Ipv6Addr>,
    pub(crate) bridge: Option<String>,
    pub(crate) link: stack_model::LinkOptions,
    pub(crate) routed: bool,
    /// Where its ports are published that do not say it.
    pub(crate) host_ip: Option<std::net::IpAddr>,
    pub(crate) driver: Option<String>,
    pub(crate) internal: Option<bool>,
    pub(crate) subnet: Option<Spanned<Ipv4Net>>,
    pub(crate) gateway: Option<Spanned<Ipv4Addr>>,
    pub(crate) ip_range: Option<Ipv4Net>,
    pub(crate) reserved: BTreeMap<String, Ipv4Addr>,
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
    /// Filesystem, source and options, where it is not a directory of the store.
    pub(crate) mounted: Option<(String, String, Vec<String>)>,
    pub(crate) labels: IndexMap<String, String>,
}

/// An entry of the top-level `secrets` or `configs`.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileSource {
    pub(crate) file: Spanned<PathBuf>,
    /// What it is, if the file says so itself.
    pub(crate) text: Option<String>,
    /// The variable that has it.
    pub(crate) variable: Option<Spanned<String>>,
    /// A fingerprint of the content; empty when nothing active uses it.
    pub(crate) content: String,
}

impl Project {
    pub(crate) fn new(name: ProjectName, directory: PathBuf) -> Self {
        Self {
            name,
            directory,
            names: Names::default(),
            services: IndexMap::new(),
            disabled: IndexMap::new(),
            networks: IndexMap::new(),
            volumes: IndexMap::new(),
            secrets: IndexMap::new(),
            configs: IndexMap::new(),
            document: Node::null(Span::default()),
            trail: Trail::default(),
            roads: Roads::default(),
            variables: Variables::default(),
            locked: BTreeMap::new(),
            host_access: Vec::new(),
            is_template: false,
            is_named: true,
            keeps_unused: false,
            active_profiles: Vec::new(),
        }
    }

    /// The project's name.
    pub fn name(&self) -> &ProjectName {
        &self.name
    }

    /// The project directory: relative paths of the file begin here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it asks of the machine beyond containers, networks and volumes of its own.
    pub fn host_access(&self) -> &[HostAccess] {
        &self.host_access
    }

    /// Names of the active services, sorted. Without interpolation that is all of them.
    pub fn services(&self) -> Vec<String> {
        if self.is_template {
            return self.shown_names("services");
        }
        self.services.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Names of the active services, sorted, but each behind those that it depends on.
    pub fn services_by_dependency(&self) -> Vec<String> {
        let mut ordered = IndexSet::new();
        let mut begun = BTreeSet::new();
        // A list of what is to be done instead of recursion: chains may be as long as the project.
        let mut open: Vec<String> = self.services().into_iter().rev().collect();
        while let Some(name) = open.last().cloned() {
            let first_time = begun.insert(name.clone());
            let dependencies = self.services.get(&name).filter(|_| first_time);
            let dependencies = dependencies.into_iter().flat_map(|service| service.depends_on.keys());
            let there = dependencies.filter(|name| self.services.contains_key(*name) && !begun.contains(*name));
            let before: BTreeSet<&String> = there.collect();
            if before.is_empty() {
                open.pop();
                ordered.insert(name);
            }
            open.extend(before.into_iter().rev().cloned());
        }
        ordered.into_iter().collect()
    }

    /// The image of each active service, sorted; those that are built have the name that the build gives them.
    pub fn images(&self) -> Vec<String> {
        let mut images: Vec<String> = self.services.values().filter_map(|service| self.image_of(service)).collect();
        images.sort();
        images
    }

    /// The image of a service: what the file says, or the name that a build gives it.
    pub(crate) fn image_of(&self, service: &Service) -> Option<String> {
        match &service.image {
            Some(image) => Some(image.value.clone()),
            None => service.builds.then(|| format!("{}-{}", self.name, service.name).to_lowercase()),
        }
    }

    /// Images that active services name and do not build, sorted, each once.
    pub fn named_images(&self) -> BTreeSet<String> {
        if self.is_template {
            let services = self.document.get("services").and_then(Node::as_mapping).into_iter().flatten();
            let named = services.map(|(_, entry)| &entry.value).filter(|service| service.get("build").is_none());
            return named.filter_map(|service| service.get("image")?.as_text().map(str::to_owned)).collect();
        }
        let named = self.services.values().filter(|service| !service.builds);
        named.filter_map(|service| service.image.as_ref()).map(|image| image.value.clone()).collect()
    }

    /// The image of a service is this one.
    pub fn uses_image(&self, service: &str, image: &str) -> bool {
        let service = self.services.get(service).and_then(|service| self.image_of(service));
        service.as_deref() == Some(image)
    }

    /// The file's names of the volumes that active services use, sorted.
    pub fn volumes(&self) -> Vec<String> {
        self.shown_names("volumes")
    }

    /// The file's names of the networks that active services use, sorted.
    pub fn networks(&self) -> Vec<String> {
        self.shown_names("networks")
    }

    fn shown_names(&self, section: &str) -> Vec<String> {
        let entries = self.document.get(section).and_then(Node::as_mapping);
        entries.into_iter().flatten().map(|(name, _)| name.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The models that active services use, sorted.
    pub fn models(&self) -> Vec<String> {
        let models = self.document.get("models").and_then(Node::as_mapping).into_iter().flatten();
        let names = models.filter_map(|(_, entry)| entry.value.get("model")?.as_text().map(str::to_owned));
        names.collect::<BTreeSet<_>>().into_iter().collect()
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
            if self.is_named && service.uses_default_network() {
                used.insert("default");
            }
            if service.network_mode.as_ref().is_some_and(|mode| mode.value == NetworkSource::Bridge) {
                used.insert(BRIDGE);
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
        let mounted = self.services.values().flat_map(|service| &service.secrets).map(|file| file.source.as_str());
        mounted.chain(self.build_secrets()).collect()
    }

    pub(crate) fn used_configs(&self) -> BTreeSet<&str> {
        self.services.values().flat_map(|service| &service.configs).map(|file| file.source.as_str()).collect()
    }

    /// Leaves only these services and what they depend on; none named is all. Returns the first that does not exist.
    pub fn select(&mut self, names: &[String]) -> Option<String> {
        if names.is_empty() {
            return None;
        }
        if let Some(unknown) = names.iter().find(|name| !self.services.contains_key(*name)) {
            return Some(unknown.clone());
        }
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut open: Vec<String> = names.to_vec();
        while let Some(name) = open.pop() {
            if wanted.insert(name.clone()) {
                open.extend(
                    self.services.get(&name).into_iter().flat_map(|service| service.depends_on.keys().cloned()),
                );
            }
        }
        self.services.retain(|name, _| wanted.contains(name));
        self.forget_absent();
        self.drop_unused();
        None
    }

    /// Nobody waits for what is not there.
    fn forget_absent(&mut self) {
        let there = &self.services;
        crate::defaults::for_services(&mut self.document, |_, fields, _| {
            let Some(Kind::Mapping(dependencies)) = fields.get_mut("depends_on").map(|entry| &mut entry.value.kind)
            else {
                return;
            };
            dependencies.retain(|name, _| there.contains_key(&**name));
            if dependencies.is_empty() {
                fields.shift_remove("depends_on");
            }
        });
    }

    /// The profiles to load the project with so that these services are active: those it has, and those that the
    /// services among them need which are not. Nothing where all of them are active.
    pub fn profiles_for(&self, services: &[String]) -> Vec<String> {
        let inactive = services.iter().filter_map(|name| self.disabled.get(name));
        let needed: Vec<String> =
            inactive.flat_map(|service| service.profiles.iter().map(|profile| profile.value.clone())).collect();
        if needed.is_empty() { needed } else { self.active_profiles.iter().cloned().chain(needed).collect() }
    }

    /// Puts other names in the place of images: those that `pinned` has.
    pub fn pin_images(&mut self, pinned: &BTreeMap<String, String>) {
        for image in self.services.values_mut().filter(|service| !service.builds).filter_map(|it| it.image.as_mut()) {
            if let Some(name) = pinned.get(&image.value) {
                image.value.clone_from(name);
            }
        }
        crate::defaults::for_services(&mut self.document, |_, fields, _| {
            let Some(entry) = fields.get_mut("image") else { return };
            let name = entry.value.as_text().and_then(|image| pinned.get(image));
            if let Some(name) = name {
                entry.value = Node::text(name.as_str(), entry.value.span);
            }
        });
    }

    /// The document shows what services get from files as if it stood in the file.
    pub(crate) fn show_environment(&mut self, env_files: bool) {
        let services = &self.services;
        crate::defaults::for_services(&mut self.document, |name, fields, _| {
            let Some(service) = services.get(name) else { return };
            if env_files && fields.shift_remove("env_file").is_some() && !service.environment.is_empty() {
                let entries = service.environment.iter().map(|(name, value)| {
                    let node = match &value.value {
                        Some(text) => Node::text(text.as_str(), value.span),
                        None => Node::null(value.span),
                    };
                    (name.as_str(), node)
                });
                put(fields, "environment", Node::mapping(entries, service.span));
            }
            if fields.shift_remove("label_file").is_some() && !service.labels.is_empty() {
                let entries = service.labels.iter();
                let entries = entries.map(|(name, value)| (name.as_str(), Node::text(value.as_str(), service.span)));
                put(fields, "labels", Node::mapping(entries, service.span));
            }
        });
    }

    /// Takes from the document what no active service needs.
    pub(crate) fn drop_unused(&mut self) {
        let names = |used: BTreeSet<&str>| used.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        let keep = [
            ("services", self.services.keys().cloned().collect()),
            ("networks", names(self.used_networks())),
            ("volumes", names(self.used_volumes())),
            ("secrets", names(self.used_secrets())),
            ("configs", names(self.used_configs())),
            ("models", self.used_models()),
        ];
        let Kind::Mapping(root) = &mut self.document.kind else { return };
        // Services of other profiles go in any case.
        let keep = keep.into_iter().filter(|(section, _)| !self.keeps_unused || *section == "services");
        for (section, keep) in keep {
            if let Some(Kind::Mapping(entries)) = root.get_mut(section).map(|entry| &mut entry.value.kind) {
                entries.retain(|name, _| keep.contains(&**name));
            }
        }
    }

    fn used_models(&self) -> BTreeSet<String> {
        let services = self.document.get("services").and_then(Node::as_mapping);
        let active = services.into_iter().flatten().filter(|(name, _)| self.services.contains_key(&***name));
        let models = active.filter_map(|(_, entry)| entry.value.get("models")?.as_mapping());
        models.flat_map(|models| models.keys().map(ToString::to_string)).collect()
    }

    /// Where a secret of a build comes from.
    pub(crate) fn secret(&self, name: &str) -> Option<stack_model::SecretSource> {
        let declared = self.document.get("secrets").and_then(|secrets| secrets.get(name));
        match declared.and_then(|secret| secret.get("environment")).and_then(Node::as_text) {
            Some(variable) => Some(stack_model::SecretSource::Variable(variable.to_owned())),
            None => Some(stack_model::SecretSource::File(self.secrets.get(name)?.file.value.clone())),
        }
    }

    /// Secrets of builds.
    fn build_secrets(&self) -> BTreeSet<&str> {
        let services = self.document.get("services").and_then(Node::as_mapping);
        let active = services.into_iter().flatten().filter(|(name, _)| self.services.contains_key(&***name));
        let lists = active.filter_map(|(_, entry)| entry.value.get("build")?.get("secrets"));
        let items = lists.flat_map(|list| match &list.kind {
            Kind::Sequence(items) => items.as_slice(),
            Kind::Scalar(_) | Kind::Mapping(_) => &[],
        });
        items.filter_map(|item| item.get("source")?.as_text()).collect()
    }
}

fn put(fields: &mut Mapping, key: &str, value: Node) {
    let at = fields.get(key).map_or(value.span, |entry| entry.key);
    fields.insert(key.into(), Entry { key: at, value });
}
