//! `mac_address`: the address on the link. `networks` lowers it.

use super::ServiceKey;
use super::forms::mac_address;
use crate::shape::common::TEXT;

pub(super) const KEY: ServiceKey = ServiceKey::new("mac_address", "MAC address on the main network.", &TEXT)
    .parse(|node, service, cx| service.mac_address = mac_address(node, cx));

#[cfg(test)]
mod tests {
    use stack_model::{Attachment, NetworkMode};

    use crate::testing::{Files, errors};

    fn attached(text: &str) -> Vec<(String, Attachment)> {
        let text = format!("services:\n  a: {{image: i, {text}}}\nnetworks: {{m: , n: }}\n");
        match Files::new(&text).service("a").container.network {
            NetworkMode::Attached(networks) => networks.into_iter().map(|(n, a)| (n.to_string(), a)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_that_of_the_main_network() {
        let address = Some([0x02, 0x42, 0xac, 0x11, 0x65, 0x43]);
        assert_eq!(attached("mac_address: '02:42:ac:11:65:43'")[0].1.mac, address);
        let networks = attached("mac_address: '02:42:ac:11:65:43', networks: {m: , n: {priority: 5}}");
        assert_eq!((networks[0].1.mac, networks[1].1.mac), (None, address));
        let networks =
            attached("networks: {m: {mac_address: '02:42:ac:11:65:43', gw_priority: 3, interface_name: lan0}, n: }");
        assert_eq!(networks[0].1.mac, address);
        assert_eq!((networks[0].1.gateway_priority, networks[0].1.interface.as_deref()), (3, Some("lan0")));
    }

    #[test]
    fn others_are_refused() {
        for wrong in ["02:42:ac:11:65", "01:42:ac:11:65:43", "02:42:ac:11:65:4g", "2:42:ac:11:65:43"] {
            let found = errors(&format!("mac_address: '{wrong}'"));
            assert!(found[0].contains("is not the hardware address"), "{found:?}");
        }
        let found = errors("networks: {default: {interface_name: a/b}}");
        assert!(found[0].contains("`a/b` is not the name of an interface"), "{found:?}");
    }
}
