//! Cycles of `depends_on`.

use indexmap::IndexMap;

use crate::project::Project;
use crate::report::{Code, Problem, Report};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the path from the start.
    Open,
    Done,
}

/// Reports each cycle once, with its path, at the edge that closes it.
pub(crate) fn report_cycles(project: &Project, report: &mut Report) {
    let mut marks: IndexMap<&str, Mark> = project.services.keys().map(|name| (name.as_str(), Mark::New)).collect();
    for start in project.services.keys() {
        if marks.get(start.as_str()) == Some(&Mark::New) {
            walk(start, project, &mut marks, report);
        }
    }
}

/// Depth first, with a stack of its own: a chain of services may be long.
fn walk<'a>(start: &'a str, project: &'a Project, marks: &mut IndexMap<&'a str, Mark>, report: &mut Report) {
    let mut path: Vec<(&str, usize)> = vec![(start, 0)];
    marks.insert(start, Mark::Open);
    while let Some((name, next)) = path.last_mut() {
        let edge = project.services.get(*name).and_then(|service| service.depends_on.get_index(*next));
        let Some((target, dependency)) = edge else {
            marks.insert(name, Mark::Done);
            path.pop();
            continue;
        };
        *next += 1;
        match marks.get(target.as_str()) {
            Some(Mark::New) => {
                marks.insert(target, Mark::Open);
                path.push((target, 0));
            }
            Some(Mark::Open) => {
                let cycle = path.iter().skip_while(|(name, _)| name != target).map(|(name, _)| *name);
                let words: Vec<&str> = cycle.chain([target.as_str()]).collect();
                let message = format!("dependency cycle: {}", words.join(" -> "));
                let problem = Problem::error(Code::DependencyCycle, dependency.span, message);
                let problem = problem.reason("each of them would wait for the others before it starts");
                report.push(problem.help("remove one of these dependencies"));
            }
            Some(Mark::Done) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::project_errors;

    #[test]
    fn a_cycle_is_shown_with_its_path_where_it_closes() {
        assert_eq!(
            project_errors(
                "services:\n  x: {image: i, depends_on: [a]}\n  a: {image: i, depends_on: [b]}\n  b: {image: i, \
                 depends_on: [c]}\n  c: {image: i, depends_on: [a]}\n"
            ),
            ["5:30 dependency cycle: a -> b -> c -> a; remove one of these dependencies"]
        );
        assert_eq!(
            project_errors("services:\n  a: {image: i, depends_on: [a]}\n"),
            ["2:30 dependency cycle: a -> a; remove one of these dependencies"]
        );
    }

    #[test]
    fn a_diamond_is_no_cycle() {
        assert_eq!(
            project_errors(
                "services:\n  a: {image: i, depends_on: [b, c]}\n  b: {image: i, depends_on: [d]}\n  c: {image: i, \
                 depends_on: [d]}\n  d: {image: i}\n"
            ),
            [""; 0]
        );
    }
}
