//! Which files, which directory, which name: what is decided before the first line is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stack_model::{ProjectName, ProjectSource};

use crate::context::{Cx, clean};
use crate::dotenv;
use crate::keys::report_mistakes;
use crate::report::{Code, Problem};
use crate::text::{Span, Spanned};
use crate::variables::Below;

/// Names of a project's file, the first one wins.
const NAMES: [&str; 6] =
    ["stack.yaml", "stack.yml", "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The files of the project, absolute, and its directory; `None` after a problem was reported.
pub(crate) fn find(source: &ProjectSource, cx: &mut Cx<'_>) -> Option<(Vec<PathBuf>, PathBuf)> {
    let working_dir = clean(&source.working_dir);
    let explicit = if source.files.is_empty() { named_by_variable(&working_dir, cx) } else { source.files.clone() };
    let files = if explicit.is_empty() {
        let start = source.project_dir.as_ref().map_or(working_dir, |directory| clean(directory));
        let found = start.ancestors().find_map(|directory| in_directory(directory, cx));
        match found {
            Some(files) => files,
            None => {
                // One of them may come.
                cx.inputs.extend(NAMES.iter().map(|name| start.join(name)));
                let message = format!("no project file in {} or any directory above it", start.display());
                let problem = Problem::error(Code::NoFile, Span::default(), message);
                cx.push(problem.help("write a `compose.yaml`, or name a file with `-f`"));
                return None;
            }
        }
    } else {
        explicit.iter().map(|file| if is_stdin(file) { file.clone() } else { clean(&working_dir.join(file)) }).collect()
    };
    let directory = match &source.project_dir {
        Some(directory) => clean(directory),
        None if is_stdin(files.first()?) => clean(&source.working_dir),
        None => files.first()?.parent()?.to_owned(),
    };
    Some((files, directory))
}

/// The file `-` is the standard input of the command.
pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// `COMPOSE_FILE`, split by `COMPOSE_PATH_SEPARATOR`.
fn named_by_variable(working_dir: &Path, cx: &Cx<'_>) -> Vec<PathBuf> {
    let separator = cx.variables.get_non_empty("COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
    let list = cx.variables.get_non_empty("COMPOSE_FILE").unwrap_or_default();
    let path = |file: &str| if file == "-" { PathBuf::from(file) } else { cx.absolute(working_dir, file) };
    list.split(&separator).filter(|file| !file.is_empty()).map(path).collect()
}

/// The project file of one directory and its override.
fn in_directory(directory: &Path, cx: &mut Cx<'_>) -> Option<Vec<PathBuf>> {
    let present: Vec<&str> = NAMES.into_iter().filter(|name| cx.loader.exists(&directory.join(name))).collect();
    let first = directory.join(present.first()?);
    // A file of higher rank that appears later is a change of the input too.
    cx.inputs.extend(NAMES.iter().take_while(|name| **name != present[0]).map(|name| directory.join(name)));
    if present.len() > 1 {
        let message = format!("found {}; using {}", present.join(", "), present[0]);
        let problem = Problem::warning(Code::SeveralFiles, Span::default(), message);
        cx.push(problem.help("remove the others, or name one with `-f`"));
    }
    let mut files = vec![first];
    files.extend(override_of(directory, present[0], cx));
    Some(files)
}

/// Names of overrides beside any of docker compose's names, the first one wins.
const OVERRIDES: [&str; 4] =
    ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// The override beside a project file.
fn override_of(directory: &Path, name: &str, cx: &mut Cx<'_>) -> Option<PathBuf> {
    let names: &[&str] =
        if name.starts_with("stack.") { &["stack.override.yaml", "stack.override.yml"] } else { &OVERRIDES };
    let candidates: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
    candidates.into_iter().find(|path| cx.exists(path))
}

/// Reads `--env-file`s, or the `.env` of `directory`.
pub(crate) fn read_environment(source: &ProjectSource, directory: &Path, cx: &mut Cx<'_>) {
    let disabled = cx.variables.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| is_true(&value));
    let named = cx.variables.get_non_empty("COMPOSE_ENV_FILES").unwrap_or_default();
    let mut files: Vec<PathBuf> = source.env_files.clone();
    if files.is_empty() {
        files.extend(named.split(',').filter(|file| !file.is_empty()).map(|file| source.working_dir.join(file)));
    }
    let default = files.is_empty();
    if default && disabled {
        return;
    }
    if default {
        files.push(directory.join(".env"));
    }
    for file in files {
        let file = clean(&file);
        if default && !cx.exists(&file) {
            continue;
        }
        let Some((id, text)) = cx.read_text(&file, Span::default()) else { continue };
        add(id, &text, cx);
    }
}

fn add(id: crate::text::FileId, text: &Arc<str>, cx: &mut Cx<'_>) {
    let parsed = dotenv::parse(text, &|name| cx.variables.get(name));
    report_mistakes(&parsed, id, cx);
    for variable in parsed.variables {
        if let Some(value) = variable.value {
            let span = cx.files.span(id, variable.at);
            cx.variables.add(variable.name, Spanned::new(value, span));
        }
    }
}

/// What an env file of an included project says, below the variables of the project that includes it.
pub(crate) fn add_below(id: crate::text::FileId, text: &Arc<str>, below: &mut Below, cx: &mut Cx<'_>) {
    let parsed = {
        let given = |name: &str| cx.variables.get(name).or_else(|| below.get(name).map(|value| value.value.clone()));
        dotenv::parse(text, &given)
    };
    report_mistakes(&parsed, id, cx);
    for variable in parsed.variables {
        if let Some(value) = variable.value {
            let span = cx.files.span(id, variable.at);
            below.insert(variable.name, Spanned::new(value, span));
        }
    }
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes" | "on")
}

/// Profiles that are asked for.
pub(crate) fn profiles(source: &ProjectSource, cx: &Cx<'_>) -> Vec<String> {
    if !source.profiles.is_empty() {
        return source.profiles.clone();
    }
    let list = cx.variables.get_non_empty("COMPOSE_PROFILES").unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The name of the project: `-p`, then `COMPOSE_PROJECT_NAME`, then what the file says, then the directory's.
pub(crate) fn project_name(
    source: &ProjectSource,
    written: Option<Spanned<String>>,
    cx: &mut Cx<'_>,
) -> Option<ProjectName> {
    let from_variable = cx.variables.get_non_empty("COMPOSE_PROJECT_NAME");
    let given = source.project_name.clone().filter(|name| !name.is_empty()).or(from_variable);
    let given = given.map(|name| Spanned::new(name, Span::default()));
    let given = given.or(written);
    if let Some(name) = given {
        if name.value.is_empty() {
            let problem = Problem::error(Code::ProjectName, name.span, "the project name must not be empty");
            cx.push(problem.help("give it a value, or remove `name` to use the directory's name"));
            return None;
        }
        let parsed = ProjectName::parse(&name.value);
        if let Err(error) = &parsed {
            let suggestion = normalise(&name.value);
            let near = Some(suggestion.as_str()).filter(|suggestion| !suggestion.is_empty());
            let problem = Problem::error(Code::ProjectName, name.span, error.to_string());
            cx.push(problem.nearest(name.span, near));
        }
        return parsed.ok();
    }
    let directories = [cx.directory.as_path(), source.working_dir.as_path()];
    let names = directories.iter().filter_map(|directory| directory.file_name());
    let name = names.map(|name| normalise(&name.to_string_lossy())).find(|name| !name.is_empty());
    let parsed = name.and_then(|name| ProjectName::parse(&name).ok());
    if parsed.is_none() {
        let problem = Problem::error(Code::ProjectName, Span::default(), "the project has no name");
        cx.push(problem.reason("the name of its directory has no letter to make one of").help("give it one with `-p`"));
    }
    parsed
}

/// Lower case, without what cannot stand in a name.
fn normalise(name: &str) -> String {
    let kept = name.chars().flat_map(char::to_lowercase);
    let kept: String = kept.filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::testing::Files;

    const COMPOSE: &str = "services: {a: {image: '${IMAGE:-none}'}}\n";

    #[test]
    fn names_are_looked_for_in_order_and_upwards() {
        let files = Files::empty().with("compose.yaml", COMPOSE).with("stack.yml", "services: {s: {image: i}}\n");
        let loaded = files.clone().working_dir("/p/sub/dir").load();
        assert_eq!(loaded.project.unwrap().services(), ["s"]);
        assert!(loaded.inputs.contains(Path::new("/p/stack.yaml")), "a file of higher rank is waited for");
        assert_eq!(loaded.diagnostics[0].message, "found stack.yml, compose.yaml; using stack.yml");
        let loaded = Files::empty().working_dir("/p/sub").load();
        assert_eq!(loaded.diagnostics[0].message, "no project file in /p/sub or any directory above it");
        assert!(loaded.inputs.contains(Path::new("/p/sub/compose.yaml")));
    }

    #[test]
    fn the_name_comes_from_flag_variable_file_and_directory_in_this_order() {
        let named = Files::new(&format!("name: file\n{COMPOSE}"));
        assert_eq!(Files::new(COMPOSE).project().name().as_str(), "p");
        assert_eq!(named.clone().project().name().as_str(), "file");
        let variable = named.clone().with(".env", "COMPOSE_PROJECT_NAME=env\n");
        assert_eq!(variable.clone().project().name().as_str(), "env");
        assert_eq!(variable.project_name("flag").project().name().as_str(), "flag");
        let directory = Files::empty().with("/My Project.d/compose.yaml", COMPOSE).working_dir("/My Project.d");
        assert_eq!(directory.project().name().as_str(), "myprojectd");
    }

    #[test]
    fn a_bad_name_is_shown_where_it_stands() {
        assert_eq!(
            Files::new(&format!("name: My_App\n{COMPOSE}")).errors(),
            ["1:7 `My_App` is not a valid project name: it must match `^[a-z0-9][a-z0-9_-]*$`; did you mean \
                 `my_app`?"]
        );
    }

    #[test]
    fn an_empty_name_is_no_name() {
        assert_eq!(
            Files::new(&format!("name: '${{NOT_SET-}}'\n{COMPOSE}")).errors(),
            ["1:7 the project name must not be empty; give it a value, or remove `name` to use the directory's name"]
        );
    }

    #[test]
    fn the_name_is_a_variable_of_the_file() {
        let text = "name: shop-${KIND}\nservices: {a: {image: '${COMPOSE_PROJECT_NAME}'}}\n";
        assert_eq!(Files::new(text).variable("KIND", "test").project().images(), ["shop-test"]);
    }

    #[test]
    fn the_environment_wins_over_dotenv() {
        let files = Files::new(COMPOSE).with(".env", "IMAGE=file\n");
        assert_eq!(files.clone().project().images(), ["file"]);
        assert_eq!(files.variable("IMAGE", "shell").project().images(), ["shell"]);
    }

    #[test]
    fn compose_file_names_files_and_the_directory_is_that_of_the_first() {
        let files = Files::empty().with("x/a.yaml", COMPOSE).with("x/b.yaml", "services: {b: {image: j}}\n");
        let project = files.variable("COMPOSE_FILE", "x/a.yaml:x/b.yaml").project();
        assert_eq!(project.services(), ["a", "b"]);
        assert_eq!(project.directory(), Path::new("/p/x"));
    }

    #[test]
    fn every_place_that_was_looked_at_is_an_input() {
        let inputs = Files::new(COMPOSE).load().inputs;
        for path in ["/p/.env", "/p/compose.yaml", "/p/compose.override.yaml", "/p/stack.yaml"] {
            assert!(inputs.contains(Path::new(path)), "{path}");
        }
    }
}
