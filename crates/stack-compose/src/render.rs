//! A project as `stack config` shows it: the long form of everything, in the shape of docker compose.

use serde_json::{Map, Value, json};

use crate::project::Project;
use crate::service::Service;
use crate::shape::{Form, plain, show};
use crate::toplevel::ROOT;

impl Project {
    /// The canonical form as JSON, keys sorted, `name` first. A literal `$` is written `$$`, so that it can be read
    /// again.
    pub fn to_json(&self) -> Value {
        self.shown(Form::Json)
    }

    /// The canonical form as YAML. It loads again as the same project.
    pub fn to_yaml(&self) -> String {
        written(&self.shown(Form::Yaml))
    }

    /// The images of the services and nothing else, as JSON: a file that is given behind the project's own.
    pub fn images_to_json(&self) -> Value {
        let image = |service: &Service| Some(json!({ "image": service.image.as_ref()?.value }));
        let images = self.services.values().filter_map(|service| Some((service.name.clone(), image(service)?)));
        json!({ "services": sorted(images.collect(), false) })
    }

    /// [`Project::images_to_json`] as YAML.
    pub fn images_to_yaml(&self) -> String {
        written(&self.images_to_json())
    }

    fn shown(&self, form: Form) -> Value {
        let mut root = Map::new();
        root.insert("name".to_owned(), Value::from(self.name.as_str()));
        // What interpolation has not filled in yet is shown as it is written, without what is always there.
        let form = if self.is_template { Form::Yaml } else { form };
        if let Value::Object(fields) = show(&self.document, &ROOT, form) {
            // Docker compose leaves models out of JSON.
            let left_out =
                |name: &str| name == "name" || name.starts_with("x-") || name == "models" && form == Form::Json;
            root.extend(fields.into_iter().filter(|(name, _)| !left_out(name)));
        }
        let mut root = sorted(root, true);
        let own = self.document.as_mapping().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
        root.extend(own.map(|(name, entry)| (name.to_string(), plain(&entry.value, form))));
        let mut root = Value::Object(root);
        if !self.is_template {
            escape(&mut root);
        }
        root
    }
}

/// As YAML. A long text stays on its line, where a search finds it.
fn written(value: &Value) -> String {
    let options = serde_yaml::ser_options! { folded_wrap_chars: usize::MAX };
    // Every value has a YAML form; an error here would be a mistake of the writer.
    serde_yaml::to_string_with_options(value, options).unwrap_or_default()
}

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
