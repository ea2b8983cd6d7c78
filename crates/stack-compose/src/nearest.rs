//! "Did you mean": the nearest of a list of words.

/// Words longer than this are not compared.
const MAX_WORD: usize = 64;

/// The candidate with the fewest edits, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let scored = candidates.into_iter().filter(|candidate| candidate.len() <= MAX_WORD);
    let scored = scored.map(|candidate| (distance(&fold(word), &fold(candidate)), candidate));
    scored.filter(|(edits, _)| *edits <= limit).min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// Case and the choice between `-` and `_` are the most common slips, and cost nothing.
fn fold(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let mut edits = (last[column] + usize::from(letter != other)).min(last[column + 1] + 1);
            edits = edits.min(current[column] + 1);
            let swapped = row > 0 && column > 0 && from[row - 1] == *other && to[column - 1] == *letter;
            if swapped {
                edits = edits.min(before[column - 1] + 1);
            }
            current.push(edits);
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["image", "volumes", "ports", "depends_on", "environment"];
        assert_eq!(nearest("volume", keys), Some("volumes"));
        assert_eq!(nearest("depends-on", keys), Some("depends_on"));
        assert_eq!(nearest("Image", keys), Some("image"));
        assert_eq!(nearest("prots", keys), Some("ports"));
        assert_eq!(nearest("enviroment", keys), Some("environment"));
        assert_eq!(nearest("foo", keys), None);
    }
}
