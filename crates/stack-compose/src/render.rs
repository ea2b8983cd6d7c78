//! A project as `stack config` shows it: the long form of everything, in the shape of docker compose.

use serde_json::{Map, Value, json};

use crate::keys::SERVICE_KEYS;
use crate::project::{FileSource, Network, Project, Volume};
use crate::service::Service;

impl Project {
    /// The canonical form as JSON, keys sorted, `name` first. A literal `$` is written `$$`, so that it can be read
    /// again.
    pub fn to_json(&self) -> Value {
        let mut root = Map::new();
        root.insert("name".to_owned(), Value::from(self.name.as_str()));
        let (configs, secrets) = (self.used_configs(), self.used_secrets());
        let (networks, volumes) = (self.used_networks(), self.used_volumes());
        let mut section = |name: &str, entries: Map<String, Value>| {
            if !entries.is_empty() {
                root.insert(name.to_owned(), Value::Object(sorted(entries)));
            }
        };
        let named = |used: &std::collections::BTreeSet<&str>, files: &indexmap::IndexMap<String, FileSource>| {
            let files = files.iter().filter(|(key, _)| used.contains(key.as_str()));
            files.map(|(key, file)| (key.clone(), render_file(file))).collect::<Map<_, _>>()
        };
        section("configs", named(&configs, &self.configs));
        let used = self.networks.iter().filter(|(key, _)| networks.contains(key.as_str()));
        section("networks", used.map(|(key, network)| (key.clone(), render_network(network))).collect());
        section("secrets", named(&secrets, &self.secrets));
        section("services", self.services.values().map(|service| (service.name.clone(), render(service))).collect());
        let used = self.volumes.iter().filter(|(key, _)| volumes.contains(key.as_str()));
        section("volumes", used.map(|(key, volume)| (key.clone(), render_volume(volume))).collect());
        root.extend(self.extensions.iter().cloned());
        let mut root = Value::Object(root);
        escape(&mut root);
        root
    }

    /// The canonical form as YAML. It loads again as the same project.
    pub fn to_yaml(&self) -> String {
        // Every value of `to_json` has a YAML form; an error here would be a mistake of the writer.
        serde_yaml::to_string(&self.to_json()).unwrap_or_default()
    }
}

fn render(service: &Service) -> Value {
    let fields = SERVICE_KEYS.iter().filter_map(|key| Some((key.name.to_owned(), (key.render)(service)?)));
    Value::Object(sorted(fields.chain(service.extensions.iter().cloned()).collect()))
}

fn render_network(network: &Network) -> Value {
    let mut ipam = Map::new();
    if let Some(subnet) = &network.subnet {
        let mut config = Map::new();
        if let Some(gateway) = &network.gateway {
            config.insert("gateway".to_owned(), Value::from(gateway.value.to_string()));
        }
        config.insert("subnet".to_owned(), Value::from(subnet.value.to_string()));
        ipam.insert("config".to_owned(), json!([config]));
    }
    let mut value = Map::new();
    value.extend(network.driver.clone().map(|driver| ("driver".to_owned(), Value::from(driver))));
    value.extend(network.internal.filter(|internal| *internal).map(|_| ("internal".to_owned(), Value::Bool(true))));
    value.insert("ipam".to_owned(), Value::Object(ipam));
    value.extend(labels(&network.labels));
    value.insert("name".to_owned(), Value::from(network.name.as_str()));
    Value::Object(value)
}

fn render_volume(volume: &Volume) -> Value {
    let mut value = Map::new();
    value.extend(volume.driver.clone().map(|driver| ("driver".to_owned(), Value::from(driver))));
    value.extend(volume.external.then_some(("external".to_owned(), Value::Bool(true))));
    value.extend(labels(&volume.labels));
    value.insert("name".to_owned(), Value::from(volume.name.as_str()));
    Value::Object(value)
}

fn render_file(file: &FileSource) -> Value {
    json!({ "file": file.file.value.to_string_lossy(), "name": file.name })
}

fn labels(labels: &indexmap::IndexMap<String, String>) -> Option<(String, Value)> {
    let entries: Map<String, Value> = labels.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
    (!entries.is_empty()).then(|| ("labels".to_owned(), Value::Object(sorted(entries))))
}

fn sorted(entries: Map<String, Value>) -> Map<String, Value> {
    let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    entries.into_iter().collect()
}

/// Interpolation must give every value back as it is.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(entries) => entries.values_mut().for_each(escape),
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
