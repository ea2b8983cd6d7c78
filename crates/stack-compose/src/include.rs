//! `include`: another project becomes a part of this one, with its own directory and variables.

use std::path::{Path, PathBuf};

use crate::context::Cx;
use crate::report::{Code, Problem};
use crate::text::Span;
use crate::variables::Below;
use crate::yaml::{Entry, Kind, Mapping, Node};
use crate::{discover, document, paths};

/// Sections that an included project brings along.
const SECTIONS: [&str; 6] = ["services", "volumes", "networks", "secrets", "configs", "models"];

/// Includes inside includes; each level is a recursion.
const MAX_DEPTH: usize = 32;

/// Takes in what a document includes. `chain` are the files that lead here.
pub(crate) fn apply(root: &mut Node, chain: &[PathBuf], cx: &mut Cx<'_>) {
    let Kind::Mapping(fields) = &mut root.kind else { return };
    let Some(entry) = fields.shift_remove("include") else { return };
    let Kind::Sequence(items) = entry.value.kind else { return };
    for item in items {
        if let Some(included) = read(&item, chain, cx) {
            take_in(included, fields, cx);
        }
    }
}

fn texts(node: &Node, key: &str) -> Vec<(String, Span)> {
    let items = match node.get(key).map(|node| &node.kind) {
        Some(Kind::Sequence(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(|item| Some((item.as_text()?.to_owned(), item.span))).collect()
}

fn read(item: &Node, chain: &[PathBuf], cx: &mut Cx<'_>) -> Option<Node> {
    let parent = cx.directory.clone();
    let written = texts(item, "path");
    if written.iter().any(|(path, span)| paths::refuse_remote(path, *span, cx)) {
        return None;
    }
    let files: Vec<(PathBuf, Span)> = written.iter().map(|(path, span)| (cx.absolute(&parent, path), *span)).collect();
    let (first, span) = files.first().cloned()?;
    if is_cycle(&first, span, chain, cx) {
        return None;
    }
    let directory = item.get("project_directory").and_then(Node::as_scalar);
    let directory = match directory.map(|scalar| scalar.value.printed(&scalar.text)).filter(|text| !text.is_empty()) {
        Some(directory) => cx.absolute(&parent, &directory),
        None => first.parent()?.to_owned(),
    };
    let scope = cx.enter_scope(span)?;
    let variables = cx.variables.clone();
    read_variables(item, &parent, &directory, cx);
    let outer = std::mem::replace(&mut cx.directory, directory);
    let included = document::model(&files, chain, cx);
    for (file, at) in &files {
        if let Some((id, _)) = cx.files.find(file) {
            cx.roads.note_included(id, *at);
        }
    }
    cx.scope = scope;
    cx.directory = outer;
    cx.variables = variables;
    included
}

/// The project's own `.env`, or what the entry names; the parent's variables win over both.
fn read_variables(item: &Node, parent: &Path, directory: &Path, cx: &mut Cx<'_>) {
    let named = texts(item, "env_file");
    let files: Vec<(PathBuf, Span)> = if named.is_empty() {
        let default = directory.join(".env");
        if cx.exists(&default) && !cx.loader.is_directory(&default) {
            vec![(default, Span::default())]
        } else {
            Vec::new()
        }
    } else {
        named.iter().map(|(path, span)| (cx.absolute(parent, path), *span)).collect()
    };
    let mut below = Below::new();
    for (file, span) in files {
        if let Some((id, text)) = cx.read_text(&file, span) {
            discover::add_below(id, &text, &mut below, cx);
        }
    }
    cx.variables.add_below(below);
}

fn is_cycle(file: &Path, span: Span, chain: &[PathBuf], cx: &mut Cx<'_>) -> bool {
    let start = chain.iter().position(|other| other == file);
    if start.is_none() && chain.len() <= MAX_DEPTH {
        return false;
    }
    let words: Vec<String> = chain[start.unwrap_or(0)..].iter().map(|path| path.display().to_string()).collect();
    let message = format!("files include one another: {} -> {}", words.join(" -> "), file.display());
    cx.push(Problem::error(Code::IncludeCycle, span, message).help("remove one of these `include`s"));
    true
}

/// What both define must be the same: an override file changes what is included, not the file that includes it.
fn take_in(included: Node, fields: &mut Mapping, cx: &mut Cx<'_>) {
    let Kind::Mapping(included) = included.kind else { return };
    for (name, entry) in included {
        if !SECTIONS.contains(&&*name) {
            continue;
        }
        let local = fields.get_mut(&name).filter(|local| !local.value.is_null());
        match (local.map(|local| &mut local.value.kind), entry.value.kind) {
            (Some(Kind::Mapping(local)), Kind::Mapping(included)) => add(&name, local, included, cx),
            (_, kind) => {
                fields.insert(name, Entry { value: Node { kind, ..Node::null(entry.value.span) }, ..entry });
            }
        }
    }
}

fn add(section: &str, local: &mut Mapping, included: Mapping, cx: &mut Cx<'_>) {
    for (name, entry) in included {
        match local.get(&name) {
            Some(own) if !own.value.says_the_same(&entry.value) => {
                let message = format!("`{name}` of `{section}` is defined here and in an included file");
                let problem = Problem::error(Code::ConflictingKeys, own.key, message).also(entry.key, "included");
                let help = "rename one of them, or change the included one in an override file: `-f`, \
                            `compose.override.yaml`, or a second `path` of `include`";
                cx.push(problem.help(help));
            }
            Some(_) => {}
            None => {
                local.insert(name, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Files;

    #[test]
    fn an_included_project_has_its_own_directory_and_variables() {
        let files =
            Files::new("include: [db/compose.yaml]\nservices: {web: {image: 'web:${TAG:-none}', depends_on: [db]}}\n");
        let files = files.with(
            "db/compose.yaml",
            "name: other\nservices: {db: {image: 'pg:${TAG}', environment: [TAG, PASSED], volumes: ['./d:/d', 'v1:/v']}}\nvolumes: {v1: }\n",
        );
        let config = files.clone().with("db/.env", "TAG=17\nPASSED=inner\n").project().to_json();
        let db = &config["services"]["db"];
        assert_eq!((&config["name"], &db["image"]), (&json!("p"), &json!("pg:17")));
        assert_eq!(db["environment"], json!({"PASSED": "through", "TAG": "17"}), "the outer environment wins");
        assert_eq!(
            (&db["volumes"][0]["source"], &config["volumes"]["v1"]["name"]),
            (&json!("/p/db/d"), &json!("p_v1"))
        );
        assert_eq!(config["services"]["web"]["image"], "web:none", "its variables stay inside");
    }

    #[test]
    fn files_of_one_entry_merge_with_variables_of_their_own() {
        let files = Files::new("include:\n  - path: [db.yaml, db.more.yaml]\n    env_file: db.env\n");
        let files = files.with("db.yaml", "services: {db: {image: '${IMAGE}', user: '1', tty: true}}\n");
        let files = files.with("db.more.yaml", "services: {db: {user: '2'}}\n").with("db.env", "IMAGE=theirs\n");
        let config = files.project().to_json();
        let db = &config["services"]["db"];
        assert_eq!((&db["image"], &db["user"], &db["tty"]), (&json!("theirs"), &json!("2"), &json!(true)));
    }

    #[test]
    fn its_keys_may_be_in_capitals() {
        let files = Files::new("include: [{Path: a.yaml, ENV_FILE: a.env}, {path: b.yaml, Path: c.yaml}]\n");
        let files = files.with("a.yaml", "services: {a: {image: '$I'}}\n").with("a.env", "I=one\n");
        let config = files.with("b.yaml", "services: {b: {image: two}}\n").project().to_json();
        assert_eq!(
            (&config["services"]["a"]["image"], &config["services"]["b"]["image"]),
            (&json!("one"), &json!("two"))
        );
    }

    #[test]
    fn what_both_define_must_be_the_same() {
        let db = "services: {db: {image: i, ports: ['1:1']}}\nvolumes: {v: }\n";
        let same = Files::new(&format!("include: [db.yaml]\n{db}")).with("db.yaml", db);
        assert_eq!(same.project().services(), ["db"]);
        let other = Files::new("include: [db.yaml]\nservices: {db: {image: mine}}\nvolumes: {v: {driver: x}}\n");
        assert_eq!(
            other.with("db.yaml", db).reading_errors(),
            [
                "`db` of `services` is defined here and in an included file",
                "`v` of `volumes` is defined here and in an included file"
            ]
        );
        let over = Files::new("include: [db.yaml]\n").with("db.yaml", db);
        let over = over.with("compose.override.yaml", "services: {db: {image: mine}}\n");
        assert_eq!(over.project().images(), ["mine"], "an override file may");
    }

    #[test]
    fn what_include_does_not_know_has_no_effect_and_is_said() {
        let files = Files::new("include: [{path: b.yaml, pth: c.yaml, x-a: 1, project_directory: 3}, null]\n");
        let files = files.with("b.yaml", "services: {y: {build: .}}\n");
        assert_eq!(files.shown()["services"]["y"]["build"]["context"], "/p/3");
        assert_eq!(
            files.warnings(),
            [
                "1:26 unknown key `pth` in an item of `include`: it has no effect; did you mean `path`?",
                "1:39 unknown key `x-a` in an item of `include`: it has no effect; the keys here are `path`, \
                 `project_directory`, `env_file`",
            ]
        );
    }
}
