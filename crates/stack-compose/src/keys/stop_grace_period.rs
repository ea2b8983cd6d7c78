//! `stop_grace_period`: how long a container may take to stop before it is killed.

use crate::shape::common::DURATION;
use stack_model::Millis;

use super::ServiceKey;

/// The default of the specification.
const DEFAULT: Millis = Millis(10_000);

pub(super) const KEY: ServiceKey =
    ServiceKey::new("stop_grace_period", "Time from the stop signal to the kill; 10s by default.", &DURATION)
        .present()
        .parse(|node, service, cx| service.stop_grace_period = cx.duration(node, "`stop_grace_period`"))
        .lower(|from, to| {
            let nanos = from.service.stop_grace_period.as_ref();
            to.container.stop_grace = nanos.map_or(DEFAULT, |nanos| Millis(nanos.value.div_ceil(1_000_000)));
        });

#[cfg(test)]
mod tests {
    use stack_model::Millis;

    use crate::testing::{errors, service};

    #[test]
    fn ten_seconds_unless_it_is_given() {
        assert_eq!(service("").container.stop_grace, Millis(10_000));
        assert_eq!(service("stop_grace_period: 1m30s").container.stop_grace, Millis(90_000));
        assert_eq!(service("stop_grace_period: 0s").container.stop_grace, Millis(0));
    }

    #[test]
    fn a_number_needs_its_unit() {
        assert_eq!(
            errors("stop_grace_period: 30"),
            ["4:24 `30` is not a duration; write the unit: `30s` is in seconds"]
        );
    }
}
