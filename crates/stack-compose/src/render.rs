//! A project as `stack config` shows it: the long form of everything, in the shape of docker compose.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::emit::emit;
use crate::keys::SERVICE;
use crate::project::Project;
use crate::shape::{Form, by_name, plain, show};
use crate::toplevel::ROOT;
use crate::yaml::{Entry, Kind, Node};

impl Project {
    /// The canonical form as JSON, keys sorted, `name` first. A literal `$` is written `$$`, so that it can be read
    /// again.
    pub fn to_json(&self) -> Value {
        self.shown(Form::Json)
    }

    /// The canonical form as YAML. It loads again as the same project.
    pub fn to_yaml(&self) -> String {
        emit(&self.shown(Form::Yaml))
    }

    /// The images of the services and nothing else, as JSON: a file that is given behind the project's own. Docker compose
    /// 2.40.3 also writes an empty `name`, `command` and `entrypoint`, which take the project's own away when it is read.
    pub fn images_to_json(&self) -> Value {
        let services = self.document.get("services").and_then(Node::as_mapping);
        let image = |service: &Node| match service.get("image").and_then(Node::as_text) {
            Some(image) => json!({ "image": image }),
            None => json!({}),
        };
        let images = services.into_iter().flatten().map(|(name, entry)| (name.to_string(), image(&entry.value)));
        json!({ "services": sorted(images.collect(), false) })
    }

    /// [`Project::images_to_json`] as YAML.
    pub fn images_to_yaml(&self) -> String {
        emit(&self.images_to_json())
    }

    fn shown(&self, form: Form) -> Value {
        if self.is_template {
            return self.template(form);
        }
        let mut root = Map::new();
        root.insert("name".to_owned(), Value::from(self.name.as_str()));
        if let Value::Object(fields) = show(&self.document, &ROOT, form) {
            // Docker compose leaves models out of JSON.
            let left_out =
                |name: &str| name == "name" || name.starts_with("x-") || name == "models" && form == Form::Json;
            root.extend(fields.into_iter().filter(|(name, _)| !left_out(name)));
        }
        let mut root = if form == Form::Json { sorted(root, true) } else { root };
        if let Some(Value::Object(services)) = root.get_mut("services").filter(|_| form == Form::Yaml) {
            services.values_mut().for_each(in_order);
        }
        let own = self.document.as_mapping().into_iter().flat_map(|root| by_name(root, form));
        let own = own.filter(|(name, _)| name.starts_with("x-"));
        root.extend(own.map(|(name, entry)| (name.to_string(), plain(&entry.value, form))));
        let mut root = Value::Object(root);
        escape(&mut root);
        root
    }

    /// The tree itself where interpolation has not filled it in yet: most short forms are as they are written.
    fn template(&self, form: Form) -> Value {
        let mut root = self.document.clone();
        if let Kind::Mapping(fields) = &mut root.kind {
            fields.retain(|name, _| !matches!(&**name, "version" | "include"));
            if self.is_named {
                let name = Node::text(self.name.as_str(), root.span);
                fields.insert("name".into(), Entry { key: root.span, value: name });
            }
        }
        let mut shown = plain(&root, Form::Yaml);
        for (name, entry) in root.as_mapping().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            shown[&**name] = plain(&entry.value, form);
        }
        shown
    }

    /// The fingerprint that docker compose 2.40.3 has for a service, in hexadecimal: of its JSON without what does not
    /// make another container of it. Newer versions of docker compose have other keys, and so other fingerprints.
    pub fn hash(&self, service: &str) -> Option<String> {
        let service = self.document.get("services")?.get(service).filter(|_| self.services.contains_key(service))?;
        let mut shown = show(service, &SERVICE, Form::Json);
        in_order(&mut shown);
        let fields = shown.as_object_mut()?;
        for key in ["profiles", "build", "depends_on", "pull_policy", "scale"] {
            fields.shift_remove(key);
        }
        for file in fields.get_mut("env_file").and_then(Value::as_array_mut).into_iter().flatten() {
            *file = path_of(file);
        }
        if let Some(Value::Object(deploy)) = fields.get_mut("deploy") {
            deploy.shift_remove("replicas");
        }
        let digest = Sha256::digest(as_go(&shown));
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// An env file in a fingerprint: its path, and that it may be missing. The format is left out.
fn path_of(file: &Value) -> Value {
    match &file["required"] {
        Value::Bool(false) => json!({ "path": file["path"], "required": false }),
        _ => file["path"].clone(),
    }
}

/// JSON as Go writes it: without blanks, and safe inside HTML.
fn as_go(value: &Value) -> String {
    let escapes =
        [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
    escapes.iter().fold(value.to_string(), |text, (from, to)| text.replace(from, to))
}

/// The keys of a service in the order in which docker compose writes them; others behind them.
fn in_order(service: &mut Value) {
    let Value::Object(fields) = service else { return };
    let place = |key: &str| ORDER.split_whitespace().position(|other| other == key).unwrap_or(usize::MAX);
    let mut entries: Vec<(String, Value)> = std::mem::take(fields).into_iter().collect();
    entries.sort_by_cached_key(|(key, _)| (place(key), key.clone()));
    fields.extend(entries);
}

/// The order of the fields in the source of docker compose, which is not quite that of the alphabet. A fingerprint
/// depends on it.
const ORDER: &str = "
    profiles annotations attach build develop blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count
    cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs
    container_name credential_spec depends_on deploy device_cgroup_rules devices dns dns_opt dns_search
    domainname entrypoint provider environment env_file expose extends external_links extra_hosts group_add
    gpus hostname healthcheck image init ipc isolation labels label_file links logging mem_limit
    mem_reservation memswap_limit mem_swappiness mac_address models network_mode networks oom_kill_disable
    oom_score_adj pid pids_limit platform ports privileged pull_policy read_only restart runtime scale secrets
    security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits
    use_api_socket user userns_mode uts volumes volumes_from working_dir post_start pre_stop
";

/// Keys in order, the name before all.
fn sorted(entries: Map<String, Value>, is_root: bool) -> Map<String, Value> {
    let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
    entries.sort_by(|(one, _), (other, _)| {
        let rank = |key: &str| !(is_root && key == "name");
        (rank(one), one).cmp(&(rank(other), other))
    });
    entries.into_iter().map(|(key, value)| (key, sort(value))).collect()
}

fn sort(value: Value) -> Value {
    match value {
        Value::Object(entries) => Value::Object(sorted(entries, false)),
        Value::Array(items) => items.into_iter().map(sort).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Interpolation must give every value back as it is.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(entries) => {
            entries.values_mut().for_each(escape);
            if entries.keys().any(|key| key.contains('$')) {
                *entries =
                    std::mem::take(entries).into_iter().map(|(key, value)| (key.replace('$', "$$"), value)).collect();
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Files;

    const COMPOSE: &str = "name: shop\nservices:\n  web:\n    image: nginx:1\n    command: echo $$HOME\n    ports: \
                           ['8080:80']\n    environment: [A=1]\n    volumes: ['data:/d', './x:/x:ro']\n    mem_limit: \
                           64m\n    healthcheck: {test: x, interval: 1m30s}\n    depends_on: [db]\n    \
                           stop_grace_period: 2m\n  db: {image: pg, network_mode: none}\nvolumes: {data: }\nx-note: {a: 1}\n";

    #[test]
    fn json_has_the_shape_of_docker_compose() {
        let config = Files::new(COMPOSE).project().to_json();
        let expected = serde_json::json!({
            "name": "shop",
            "networks": { "default": { "ipam": {}, "name": "shop_default" } },
            "services": {
                "db": { "command": null, "entrypoint": null, "image": "pg", "network_mode": "none" },
                "web": {
                    "command": ["echo", "$$HOME"],
                    "depends_on": { "db": { "condition": "service_started", "required": true } },
                    "entrypoint": null,
                    "environment": { "A": "1" },
                    "healthcheck": { "interval": "1m30s", "test": ["CMD-SHELL", "x"] },
                    "image": "nginx:1",
                    "mem_limit": "67108864",
                    "networks": { "default": null },
                    "ports": [{ "mode": "ingress", "protocol": "tcp", "published": "8080", "target": 80 }],
                    "stop_grace_period": "2m0s",
                    "volumes": [
                        { "source": "data", "target": "/d", "type": "volume", "volume": {} },
                        {
                            "bind": { "create_host_path": true },
                            "read_only": true,
                            "source": "/p/x",
                            "target": "/x",
                            "type": "bind"
                        }
                    ]
                }
            },
            "volumes": { "data": { "name": "shop_data" } },
            "x-note": { "a": 1 }
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn yaml_loads_again_as_the_same_project() {
        let first = Files::new(COMPOSE).project();
        let second = Files::new(&first.to_yaml()).project();
        assert_eq!(second.to_json(), first.to_json());
        let mut again = second.lower("");
        for (name, service) in &mut again.services {
            let original = &first.lower("").services[name];
            assert_eq!(service.container, original.container);
        }
        again.services.clear();
        assert_eq!(again.project.as_str(), "shop");
    }

    #[test]
    fn environment_values_survive_whatever_they_look_like() {
        let text = "services:\n  a:\n    image: i\n    environment: {A: 'yes', B: '1.50', C: '', D: 'null', E: \"x\\ny\", \
                    F: '0x10', G: '~', H: ' s ', I: '# c', J: 'a: b', K: '22:22', L: '$$$$'}\n";
        let first = Files::new(text).service("a").container.environment;
        let second = Files::new(&Files::new(text).project().to_yaml()).service("a").container.environment;
        assert_eq!(first, second);
        assert_eq!(first["L"].as_deref(), Some("$$"));
    }
}
