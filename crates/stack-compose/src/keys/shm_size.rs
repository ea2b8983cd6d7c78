//! `shm_size`: the size of /dev/shm.

use stack_model::Bytes;

use super::ServiceKey;
use super::mem_limit::warn_of_missing_unit;
use crate::shape::common::BYTES;

pub(super) const KEY: ServiceKey = ServiceKey::new("shm_size", "Size of /dev/shm; 64m by default.", &BYTES)
    .parse(|node, service, cx| {
        service.shm_size = cx.bytes(node, "`shm_size`");
        warn_of_missing_unit(node, service.shm_size.as_ref(), cx);
    })
    .lower(|from, to| {
        let size = from.service.shm_size.as_ref().map(|size| Bytes(size.value));
        // What every container has is the same as nothing.
        to.container.shm_size = size.filter(|size| size.0 > 0 && *size != DEFAULT);
    });

const DEFAULT: Bytes = Bytes(64 << 20);

#[cfg(test)]
mod tests {
    use stack_model::Bytes;

    use crate::testing::service;

    #[test]
    fn it_is_lowered_unless_it_is_what_every_container_has() {
        assert_eq!(service("shm_size: 1gb").container.shm_size, Some(Bytes(1 << 30)));
        assert_eq!(service("shm_size: 64m").container.shm_size, None);
    }
}
