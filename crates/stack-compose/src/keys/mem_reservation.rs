//! `mem_reservation`: memory that is kept under pressure.

use crate::shape::common::BYTES;
use stack_model::Bytes;

use super::ServiceKey;
use super::mem_limit::warn_of_missing_unit;

pub(super) const KEY: ServiceKey =
    ServiceKey::new("mem_reservation", "Memory that is kept for the container when it is short.", &BYTES)
        .parse(|node, service, cx| {
            service.mem_reservation = cx.bytes(node, "`mem_reservation`");
            warn_of_missing_unit(node, service.mem_reservation.as_ref(), cx);
        })
        .lower(|from, to| {
            to.container.limits.memory_reservation = from.service.memory_reservation().map(|kept| Bytes(kept.value));
        });

#[cfg(test)]
mod tests {
    use stack_model::Bytes;

    use crate::testing::service;

    #[test]
    fn a_size_is_lowered() {
        let limits = service("mem_reservation: 64m").container.limits;
        assert_eq!(limits.memory_reservation, Some(Bytes(64 << 20)));
    }
}
