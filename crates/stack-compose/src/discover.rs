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

/// Where the first `.env` is: beside the first file that the command names, and here where it names none.
pub(crate) fn first_directory(source: &ProjectSource) -> PathBuf {
    let working_dir = clean(&source.working_dir);
    let file = source.files.first().filter(|file| !is_stdin(file));
    match (&source.project_dir, file.map(|file| clean(&working_dir.join(file)))) {
        (Some(directory), _) => clean(directory),
        (None, Some(file)) => file.parent().map_or(working_dir, Path::to_owned),
        (None, None) => working_dir,
    }
}

/// Reads `--env-file`s, or the `.env` of `directory`, where what was read before wins.
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
    let mut below = Below::new();
    for file in files {
        let file = clean(&file);
        if default && (!cx.exists(&file) || cx.loader.is_directory(&file)) {
            continue;
        }
        if let Some((id, text)) = cx.read_text(&file, Span::default()) {
            add_below(id, &text, &mut below, cx);
        }
    }
    cx.variables.add_below(below);
}

/// Takes in what an env file says. Its expressions see the variables there are, then those of the file, then `below`.
pub(crate) fn add_below(id: crate::text::FileId, text: &Arc<str>, below: &mut Below, cx: &mut Cx<'_>) {
    let parsed = {
        let earlier = |name: &str| below.get(name).map(|value| value.value.clone());
        dotenv::parse(text, &|name| cx.variables.get(name), &earlier)
    };
    report_mistakes(&parsed, id, cx);
    for variable in parsed.variables {
        if let Some(value) = variable.value {
            let span = cx.files.span(id, variable.at);
            if let Some(before) = below.insert(variable.name.clone(), Spanned::new(value, span)) {
                cx.variables.note_replaced(variable.name, before);
            }
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
    if let Some(name) = given {
        let parsed = ProjectName::parse(&name);
        if let Err(error) = &parsed {
            let suggestion = normalise(&name);
            let problem = Problem::error(Code::ProjectName, Span::default(), error.to_string());
            let near = (!suggestion.is_empty()).then(|| format!("did you mean `{suggestion}`?"));
            cx.push(if let Some(near) = near { problem.help(near) } else { problem });
        }
        return parsed.ok();
    }
    if let Some(written) = written {
        if !cx.normalize {
            return Some(ProjectName::new(&written.value));
        }
        return name_of_file(&written, cx);
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

/// A name that a file gives is made a valid one.
fn name_of_file(written: &Spanned<String>, cx: &mut Cx<'_>) -> Option<ProjectName> {
    let name = normalise(&written.value);
    if name.is_empty() {
        let problem = Problem::error(Code::ProjectName, written.span, "the project name must not be empty");
        cx.push(problem.help("give it a letter or a digit, or remove `name` to use the directory's name"));
        return None;
    }
    if name != written.value {
        let message = format!("`{}` is not a valid project name: the project is called `{name}`", written.value);
        let problem = Problem::warning(Code::ProjectName, written.span, message);
        let reason = "a name has lower-case letters, digits, `-` and `_`, and begins with a letter or a digit";
        cx.push(problem.reason(reason).patch(written.span, name.as_str()));
    }
    ProjectName::parse(&name).ok()
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
    fn a_name_of_the_file_is_made_a_valid_one() {
        let loaded = Files::new(&format!("name: My_App\n{COMPOSE}")).load();
        assert_eq!(
            loaded.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["compose.yaml:1:7: `My_App` is not a valid project name: the project is called `my_app`"]
        );
        assert_eq!(loaded.project.unwrap().name().as_str(), "my_app");
        assert_eq!(Files::new(&format!("name: ''\n{COMPOSE}")).project().name().as_str(), "p", "the directory's");
        let nothing = Files::new(&format!("name: '${{NOT_SET-}}'\n{COMPOSE}"));
        assert_eq!(nothing.reading_errors(), ["the project name must not be empty"]);
    }

    #[test]
    fn a_name_of_the_command_must_be_valid() {
        let loaded = Files::new(COMPOSE).project_name("My_App").load();
        assert_eq!(loaded.diagnostics[0].help.as_deref(), Some("did you mean `my_app`?"));
        assert!(loaded.project.is_none());
    }

    #[test]
    fn the_env_file_that_is_read_first_wins() {
        let files = Files::empty().with("x/a.yaml", "services: {a: {image: '${A}-${B}'}}\n");
        let files = files.with(".env", "A=here\nCOMPOSE_FILE=x/a.yaml\n").with("x/.env", "A=there\nB=${A}\n");
        assert_eq!(files.project().images(), ["here-here"]);
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
