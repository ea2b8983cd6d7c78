//! `healthcheck`: how health is found out.

use stack_model::{self as model, Millis, Probe};

use super::ServiceKey;
use super::key::Lowering;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::report::{Code, Problem};
use crate::service::{Healthcheck, Service};
use crate::shape::common::{ANY_TEXTS, BOOL, COUNT, DURATION, TEXT};
use crate::shape::{At, Field, Forms, Merge, Object, Shape};
use crate::yaml::Node;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("healthcheck", "How health is found out.", &HEALTHCHECK).parse(parse).lower(lower);

const HEALTHCHECK: Shape = Shape::Object(&Object::new(&[
    Field::new("test", "The probe: a text for the shell, or a list that begins with CMD, CMD-SHELL or NONE.", &TEST)
        .merge(Merge::Replace),
    Field::new("timeout", "Time that a probe may take; 30s by default.", &DURATION).present(),
    Field::new("interval", "Time between probes; 30s by default.", &DURATION).present(),
    Field::new("retries", "Failures in a row that make it unhealthy; 3 by default.", &COUNT).present(),
    Field::new("start_period", "Time after the start in which failures do not count.", &DURATION).present(),
    Field::new("start_interval", "Time between probes in the start period; 5s by default.", &DURATION).present(),
    Field::new("disable", "No health check, also not the image's own.", &BOOL),
]));
const TEST: Shape = Shape::Forms(Forms::new(&ANY_TEXTS, &[&TEXT], expand).late());

/// A text is run by a shell.
#[expect(clippy::unnecessary_wraps, reason = "the form of every expansion")]
fn expand(node: Node, _: &At<'_>, _: &mut Cx<'_>) -> Option<Node> {
    let span = node.span;
    let text = node.as_text().is_some();
    Some(if text { Node::sequence(vec![Node::text("CMD-SHELL", span), node], span) } else { node })
}

/// Defaults of the specification, in seconds.
const INTERVAL: u64 = 30;
const TIMEOUT: u64 = 30;
const START_INTERVAL: u64 = 5;
const RETRIES: u32 = 3;

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(fields) = node.as_mapping() else { return };
    let mut duration = |key: &str| {
        let entry = fields.get(key).filter(|entry| !entry.value.is_null())?;
        cx.duration(&entry.value, &format!("`{key}`")).map(|nanos| nanos.value)
    };
    let mut healthcheck = Healthcheck {
        interval: duration("interval"),
        timeout: duration("timeout"),
        start_period: duration("start_period"),
        start_interval: duration("start_interval"),
        ..Healthcheck::default()
    };
    if let Some(entry) = fields.get("retries").filter(|entry| !entry.value.is_null()) {
        let retries = cx.integer(&entry.value, "`retries`", 0..=i64::from(u32::MAX));
        healthcheck.retries = retries.and_then(|retries| u32::try_from(retries.value).ok());
    }
    if let Some(entry) = fields.get("disable") {
        healthcheck.disable = cx.boolean(&entry.value, "`disable`").unwrap_or_default();
    }
    if let Some(entry) = fields.get("test") {
        healthcheck.test = parse_test(&entry.value, cx);
    } else if !healthcheck.disable {
        cx.push(
            not_yet(node.span, "a `healthcheck` without `test`, which changes the image's own").help("write `test`"),
        );
    }
    service.healthcheck = Some(healthcheck);
}

fn parse_test(node: &Node, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let words = cx.texts(node, "`test`")?;
    let problem = match words.first().map(|word| word.value.as_str()) {
        Some("NONE") => None,
        Some("CMD") if words.len() > 1 => None,
        Some("CMD-SHELL") if words.len() > 1 => None,
        Some("CMD") => Some((words[0].span, "`CMD` is followed by a program and its arguments")),
        Some("CMD-SHELL") => Some((words[0].span, "`CMD-SHELL` is followed by a command line")),
        Some(_) => Some((words[0].span, "`test` must start with `CMD`, `CMD-SHELL` or `NONE`")),
        None => Some((node.span, "`test` is empty")),
    };
    if let Some((span, message)) = problem {
        let problem = Problem::error(Code::InvalidValue, span, message);
        cx.push(problem.help("write `[CMD, program, argument]`, or a text for the shell"));
        return None;
    }
    if let Some(third) = words.get(2).filter(|_| words[0].value == "CMD-SHELL") {
        let message = "`CMD-SHELL` takes one command line; this becomes `$0` of the shell";
        let problem = Problem::warning(Code::InvalidValue, third.span, message);
        cx.push(problem.help("write `CMD`, or put the whole line into one text"));
    }
    Some(words.into_iter().map(|word| word.value).collect())
}

fn lower(from: &Lowering<'_>, to: &mut model::Service) {
    let Some(healthcheck) = &from.service.healthcheck else { return };
    let words = healthcheck.test.as_deref().unwrap_or_default();
    let probe = match words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        _ if healthcheck.disable => Probe::None,
        Some(("CMD", program)) => Probe::Exec(program.to_vec()),
        Some(("CMD-SHELL", [line])) => Probe::Shell(line.clone()),
        Some(("CMD-SHELL", line)) => {
            let shell = ["/bin/sh", "-c"].map(str::to_owned);
            Probe::Exec(shell.into_iter().chain(line.iter().cloned()).collect())
        }
        _ => Probe::None,
    };
    // Zero means the default, as docker has it.
    let millis = |nanos: Option<u64>, default: u64| match nanos.unwrap_or(0) {
        0 => Millis(default * 1000),
        nanos => Millis(nanos.div_ceil(1_000_000)),
    };
    to.container.healthcheck = Some(model::Healthcheck {
        probe,
        interval: millis(healthcheck.interval, INTERVAL),
        timeout: millis(healthcheck.timeout, TIMEOUT),
        retries: healthcheck.retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
        start_period: millis(healthcheck.start_period, 0),
        start_interval: millis(healthcheck.start_interval, START_INTERVAL),
    });
}

#[cfg(test)]
mod tests {
    use stack_model::{Healthcheck, Millis, Probe};

    use crate::testing::{errors, service};

    fn healthcheck(text: &str) -> Healthcheck {
        service(&format!("healthcheck: {text}")).container.healthcheck.unwrap()
    }

    #[test]
    fn the_three_forms_of_a_test() {
        assert_eq!(healthcheck("{test: curl -f localhost}").probe, Probe::Shell("curl -f localhost".to_owned()));
        assert_eq!(healthcheck("{test: [CMD-SHELL, a b]}").probe, Probe::Shell("a b".to_owned()));
        assert_eq!(healthcheck("{test: [CMD, a, b]}").probe, Probe::Exec(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(healthcheck("{test: [NONE]}").probe, Probe::None);
        assert_eq!(healthcheck("{disable: true}").probe, Probe::None);
    }

    #[test]
    fn times_have_the_defaults_of_the_specification() {
        let default = healthcheck("{test: x}");
        assert_eq!((default.interval, default.timeout), (Millis(30_000), Millis(30_000)));
        assert_eq!((default.retries, default.start_period, default.start_interval), (3, Millis(0), Millis(5_000)));
        let given = healthcheck("{test: x, interval: 1m30s, timeout: 500ms, retries: 5, start_period: 2s}");
        assert_eq!((given.interval, given.timeout, given.start_period), (Millis(90_000), Millis(500), Millis(2_000)));
        assert_eq!(given.retries, 5);
    }

    #[test]
    fn mistakes_are_shown_on_their_token() {
        assert_eq!(
            errors("healthcheck: {test: [curl, x], interval: 10}"),
            [
                "4:26 `test` must start with `CMD`, `CMD-SHELL` or `NONE`; write `[CMD, program, argument]`, or a \
                 text for the shell",
                "4:46 `10` is not a duration; write the unit: `10s` is in seconds",
            ]
        );
        assert_eq!(
            errors("healthcheck: {interval: 10s}"),
            ["4:18 a `healthcheck` without `test`, which changes the image's own is not supported yet; write `test`"]
        );
    }
}
