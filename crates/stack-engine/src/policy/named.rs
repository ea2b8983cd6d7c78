//! The services that a request names: whether there are such, and what was meant.

use stack_model::{Desired, Failure, Fault, ServiceName, UpOptions};

/// There are such services, and they can have so many containers.
pub(super) fn possible(options: &UpOptions, base: &Desired) -> Result<(), Failure> {
    for name in options.services.iter().chain(options.scale.keys()) {
        known(name, base)?;
    }
    for (name, count) in &options.scale {
        let named = &base.services[name].container.container_name;
        if let (Some(fixed), 2..) = (named, *count) {
            let text = format!("{name} cannot have {count} containers: its `container_name` is {fixed}");
            return Err(Failure::new(Fault::User, text).hint("remove `container_name`, or scale it to 1"));
        }
    }
    Ok(())
}

pub(super) fn known(name: &ServiceName, base: &Desired) -> Result<(), Failure> {
    if base.services.contains_key(name) {
        return Ok(());
    }
    let failure = Failure::new(Fault::Missing, format!("there is no service `{name}`"));
    let near = base.services.keys().map(|other| (distance(name.as_str(), other.as_str()), other));
    // A third of the letters may be wrong; more is another word.
    let near = near.filter(|(distance, other)| *distance <= other.as_str().chars().count().div_ceil(3)).min();
    let names = || base.services.keys().map(ServiceName::as_str).collect::<Vec<_>>().join(", ");
    Err(failure.hint(match near {
        Some((_, other)) => format!("did you mean `{other}`?"),
        None => format!("the project has: {}", names()),
    }))
}

/// Letters to insert, delete or change to turn one word into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
