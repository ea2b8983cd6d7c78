//! `entrypoint`: the program. A text is split into words as a shell would; null takes the image's, an empty list clears it.

use super::ServiceKey;
use super::forms::parse_words;
use crate::shape::Merge;
use crate::shape::common::COMMAND;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("entrypoint", "The program; instead of the image's, whose arguments it drops.", &COMMAND)
        .merge(Merge::Replace)
        .always()
        .parse(|node, service, cx| service.entrypoint = parse_words(node, "`entrypoint`", cx))
        .lower(|from, to| to.container.entrypoint.clone_from(&from.service.entrypoint));

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    fn words(text: &str) -> Option<Vec<String>> {
        service(&format!("entrypoint: {text}")).container.entrypoint
    }

    #[test]
    fn a_text_is_split_and_a_list_is_taken_as_it_is() {
        let expected: Vec<String> = ["sh", "-c", "echo a b"].map(str::to_owned).into();
        assert_eq!(words("sh -c 'echo a b'"), Some(expected.clone()));
        assert_eq!(words("[sh, -c, echo a b]"), Some(expected));
    }

    #[test]
    fn null_is_the_images_and_empty_is_nothing() {
        assert_eq!(words(""), None);
        assert_eq!(words("[]"), Some(Vec::new()));
        assert_eq!(words("''"), Some(Vec::new()));
    }

    #[test]
    fn numbers_need_quotes_and_quotes_need_an_end() {
        let at = "entrypoint".len() + 7;
        assert_eq!(
            errors("entrypoint: [sleep, 5]"),
            [format!("4:{} an item of `entrypoint` must be text, not the number `5`; put it in quotes", at + 8)]
        );
        assert_eq!(
            errors("entrypoint: echo 'a"),
            [format!(
                "4:{at} `entrypoint` has a quote that is never closed; close it, or write a list: `[program, argument]`"
            )]
        );
    }
}
