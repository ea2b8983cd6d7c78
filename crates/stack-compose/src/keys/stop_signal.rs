//! `stop_signal`: what asks a container to stop, by name or number.

use super::ServiceKey;
use crate::context::Cx;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::TEXT;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new("stop_signal", "Signal that asks the program to stop.", &TEXT)
    .parse(parse)
    .lower(|from, to| to.container.stop_signal = from.service.stop_signal.as_ref().map(|signal| signal.value.1));

/// signal(7), the numbers of x86 and ARM; the place in the list is the number, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The first real-time signal that the C library leaves to programs, and the last one.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    let Some(name) = cx.text(node, "`stop_signal`") else { return };
    match number(&name.value) {
        Some(number) => service.stop_signal = Some(Spanned::new((name.value, number), name.span)),
        None => {
            let near = nearest(plain(&name.value).as_str(), SIGNALS).map(|near| format!("SIG{near}"));
            let problem = Problem::error(Code::InvalidValue, name.span, format!("there is no signal `{}`", name.value));
            cx.push(problem.reason("signal(7) lists them").nearest(name.span, near.as_deref()));
        }
    }
}

fn plain(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("SIG").map_or(name.clone(), str::to_owned)
}

fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = plain(name);
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.get(1..)?.parse::<i32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN").filter(|rest| rest.is_empty() || rest.starts_with('+')) {
        return offset(rest)
            .and_then(|offset| RTMIN.checked_add(offset))
            .filter(|number| (RTMIN..=RTMAX).contains(number));
    }
    if let Some(rest) = name.strip_prefix("RTMAX").filter(|rest| rest.is_empty() || rest.starts_with('-')) {
        return offset(rest)
            .and_then(|offset| RTMAX.checked_sub(offset))
            .filter(|number| (RTMIN..=RTMAX).contains(number));
    }
    let position = SIGNALS.iter().position(|signal| *signal == name)?;
    i32::try_from(position + 1).ok()
}

#[cfg(test)]
mod tests {
    use crate::testing::{errors, service};

    #[test]
    fn names_and_numbers_are_known() {
        let signal = |text: &str| service(&format!("stop_signal: {text}")).container.stop_signal;
        assert_eq!(service("").container.stop_signal, None);
        for (text, number) in
            [("SIGINT", 2), ("quit", 3), ("'15'", 15), ("SIGUSR1", 10), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(signal(text), Some(number), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(errors("stop_signal: SIGTRM"), ["4:18 there is no signal `SIGTRM`; did you mean `SIGTERM`?"]);
        assert_eq!(errors("stop_signal: '99'"), ["4:18 there is no signal `99`"]);
        assert_eq!(errors("stop_signal: SIGRTMIN+99"), ["4:18 there is no signal `SIGRTMIN+99`"]);
    }
}
