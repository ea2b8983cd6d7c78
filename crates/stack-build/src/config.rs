//! The configuration of the image that is being made (OCI image-spec `config.md`, and Docker's fields).

use serde_json::{Map, Value, json};

/// Where programs of an image without a base are looked for; docker and buildah write it down as well.
const PATH_DEFAULT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A configuration document that steps change.
#[derive(Debug, Clone)]
pub(crate) struct Config(Map<String, Value>);

impl Config {
    /// Of nothing.
    pub(crate) fn empty() -> Self {
        let (os, architecture, variant) = stack_image::platform();
        let mut document = json!({ "architecture": architecture, "os": os, "config": { "Env": [PATH_DEFAULT] } });
        if !variant.is_empty() {
            document["variant"] = json!(variant);
        }
        Self::of_base(document)
    }

    /// Of a base image: what says who made that image is left out.
    pub(crate) fn of_base(document: Value) -> Self {
        let mut map = match document {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        for stale in ["id", "parent", "container", "container_config", "docker_version", "rootfs", "size", "author"] {
            map.remove(stale);
        }
        if !map.get("config").is_some_and(Value::is_object) {
            map.insert("config".to_owned(), json!({}));
        }
        if !map.get("history").is_some_and(Value::is_array) {
            map.insert("history".to_owned(), json!([]));
        }
        Self(map)
    }

    fn container(&self) -> Option<&Map<String, Value>> {
        self.0.get("config")?.as_object()
    }

    fn container_mut(&mut self) -> &mut Map<String, Value> {
        let config = self.0.entry("config").or_insert_with(|| json!({}));
        config.as_object_mut().expect("it was made an object")
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.container()?.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let list = self.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.container_mut().insert(key.to_owned(), value);
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Value> {
        self.container_mut().remove(key)
    }

    /// Adds a member to an object such as `Labels` or `ExposedPorts`.
    pub(crate) fn add(&mut self, key: &str, member: &str, value: Value) {
        let object = self.container_mut().entry(key).or_insert_with(|| json!({}));
        if !object.is_object() {
            *object = json!({});
        }
        object[member] = value;
    }

    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let split = |line: String| match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (line, String::new()),
        };
        self.list("Env").into_iter().map(split).collect()
    }

    /// A variable keeps its place in the order.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let mut env = self.env();
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => env.push((name.to_owned(), value.to_owned())),
        }
        let lines: Vec<String> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.set("Env", json!(lines));
    }

    pub(crate) fn top(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// When the image was made, in seconds since the epoch; 0 when it does not say.
    pub(crate) fn created(&self) -> i64 {
        self.0.get("created").and_then(Value::as_str).and_then(crate::time::parse).unwrap_or(0)
    }

    pub(crate) fn note(&mut self, entry: Value) {
        if let Some(history) = self.0.get_mut("history").and_then(Value::as_array_mut) {
            history.push(entry);
        }
    }

    /// The keys of cached steps that made the layers of an image, one a layer.
    pub(crate) fn layer_notes(document: &Value) -> Vec<Option<String>> {
        let history = document.get("history").and_then(Value::as_array);
        let layers = history.into_iter().flatten().filter(|entry| entry.get("empty_layer") != Some(&Value::Bool(true)));
        layers.map(|entry| entry.get("comment").and_then(Value::as_str).map(str::to_owned)).collect()
    }

    /// The document of an image with these layers.
    pub(crate) fn finish(&self, diff_ids: &[String]) -> Value {
        let mut map = self.0.clone();
        map.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        Value::Object(map)
    }
}
