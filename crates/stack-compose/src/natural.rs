//! The order in which docker compose writes the keys of a mapping in YAML.

use std::cmp::Ordering;

/// By letters, where a run of digits counts as a number and letters come behind everything that is none.
pub(crate) fn natural(one: &str, other: &str) -> Ordering {
    let common = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let rest = |text: &str| text.chars().nth(common);
    let (Some(first), Some(second)) = (rest(one), rest(other)) else { return one.len().cmp(&other.len()) };
    match (first.is_alphabetic(), second.is_alphabetic()) {
        (true, true) => first.cmp(&second),
        (false, false) => {
            // Zeros inside a number count, those in front of it do not.
            let zero = first == '0' || second == '0';
            let leads = zero && inside_number(one, common);
            let key = |text, first| (number_at(text, common, leads), first);
            key(one, first).cmp(&key(other, second))
        }
        // Behind a digit a letter is the end of the number, which makes it the smaller one.
        (first_is_letter, _) => {
            let behind_digit = common > 0 && one.chars().nth(common - 1).is_some_and(char::is_numeric);
            if first_is_letter == behind_digit { Ordering::Less } else { Ordering::Greater }
        }
    }
}

fn inside_number(text: &str, at: usize) -> bool {
    let before: Vec<char> = text.chars().take(at).collect();
    before.iter().rev().take_while(|c| c.is_numeric()).any(|c| *c != '0')
}

/// The value and the length of the digits at a place.
fn number_at(text: &str, at: usize, leads: bool) -> (i64, usize) {
    let digits = text.chars().skip(at).map_while(|c| c.to_digit(10));
    digits.fold((i64::from(leads), 0), |(value, length), digit| {
        (value.wrapping_mul(10).wrapping_add(i64::from(digit)), length + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_count_and_letters_come_last() {
        let mut keys =
            ["b", "a10", "a2", "a", "a_b", "a.b", "ab", "a-b", "A", "1", "10", "9", "a1b", "a1_", "a02", "é"];
        keys.sort_by(|one, other| natural(one, other));
        let expected =
            ["1", "9", "10", "A", "a", "a-b", "a.b", "a_b", "a1b", "a1_", "a2", "a02", "a10", "ab", "b", "é"];
        assert_eq!(keys, expected);
    }
}
