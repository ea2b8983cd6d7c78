//! Matches and statements as the kernel executes them: small instructions that load a register, compare it, or act
//! (linux/netfilter/nf_tables.h).
//!
//! A register holds 16 bytes; it is also addressed in words of four. The kernel reports the first word of a register
//! by the register's own number, so [`Register::Reg1`] stands for the first word here too.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use netlink_packet_core::{DefaultNla, Emitable};
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta, MetaKey,
    Operator, Payload, Register, Verdict, VerdictAttribute,
};
use stack_model::IfName;

const IFNAME_BYTES: usize = 16;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const RTN_LOCAL: u32 = 2;

const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const IPV4_SOURCE: u32 = 12;
const IPV4_DESTINATION: u32 = 16;
const IPV6_SOURCE: u32 = 8;
const IPV6_DESTINATION: u32 = 24;
const PORT_DESTINATION: u32 = 2;

/// Bits of `ct state` (`NF_CT_STATE_BIT`): established and related.
const STATE_KNOWN: u32 = 0b110;
/// Bit of `ct status` (`IPS_DST_NAT`).
const STATUS_DNAT: u32 = 1 << 5;

/// A rule in the making. Each method adds a match or ends the rule with what to do.
#[derive(Debug, Default)]
pub(super) struct Expression(Vec<Expressions>);

impl Expression {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// `meta nfproto ipv4`: must precede every look at an IPv4 header in a table of family `inet`.
    pub(super) fn ipv4(self) -> Self {
        self.meta(MetaKey::Nfproto).compare(Operator::Equal, vec![NFPROTO_IPV4])
    }

    /// `meta nfproto ipv6`.
    pub(super) fn ipv6(self) -> Self {
        self.meta(MetaKey::Nfproto).compare(Operator::Equal, vec![NFPROTO_IPV6])
    }

    /// `iifname "…"`.
    pub(super) fn arriving_on(self, name: &IfName) -> Self {
        self.meta(MetaKey::Iifname).compare(Operator::Equal, interface(name))
    }

    /// `iifname != "…"`.
    pub(super) fn not_arriving_on(self, name: &IfName) -> Self {
        self.meta(MetaKey::Iifname).compare(Operator::NotEqual, interface(name))
    }

    /// `oifname "…"`.
    pub(super) fn leaving_by(self, name: &IfName) -> Self {
        self.meta(MetaKey::Oifname).compare(Operator::Equal, interface(name))
    }

    /// `oifname != "…"`.
    pub(super) fn not_leaving_by(self, name: &IfName) -> Self {
        self.meta(MetaKey::Oifname).compare(Operator::NotEqual, interface(name))
    }

    /// `ip saddr …`.
    pub(super) fn sent_from(self, net: Ipv4Net) -> Self {
        self.address(IPV4_SOURCE, net)
    }

    /// `ip daddr …`.
    pub(super) fn sent_to(self, net: Ipv4Net) -> Self {
        self.address(IPV4_DESTINATION, net)
    }

    /// `ip6 saddr …`.
    pub(super) fn sent_from6(self, net: Ipv6Net) -> Self {
        self.address6(IPV6_SOURCE, net)
    }

    /// `ip6 daddr …`.
    pub(super) fn sent_to6(self, net: Ipv6Net) -> Self {
        self.address6(IPV6_DESTINATION, net)
    }

    /// `fib daddr type local`: the packet is for an address of this host.
    pub(super) fn sent_to_this_host(mut self) -> Self {
        const RESULT_ADDRESS_TYPE: u32 = 3;
        const FLAG_DESTINATION: u32 = 1 << 1;
        let attributes =
            vec![word(1, u32::from(Register::Reg1)), word(2, RESULT_ADDRESS_TYPE), word(3, FLAG_DESTINATION)];
        self.0.push(Expressions::Other { expression_type: "fib".to_owned(), attributes });
        self.compare(Operator::Equal, RTN_LOCAL.to_ne_bytes().to_vec())
    }

    /// `ct state established,related`.
    pub(super) fn known_connection(self) -> Self {
        const KEY_STATE: u32 = 0;
        self.connection(KEY_STATE, STATE_KNOWN)
    }

    /// `ct status dnat`: the connection was let in by a published port.
    pub(super) fn published(self) -> Self {
        const KEY_STATUS: u32 = 2;
        self.connection(KEY_STATUS, STATUS_DNAT)
    }

    /// `dnat ip to meta l4proto . th dport map @…`; no match is the end of the rule.
    pub(super) fn forward_by_port(mut self, map: &str) -> Vec<u8> {
        self.0.push(load_meta(MetaKey::L4Proto, Register::Reg1));
        self.0.push(load(PAYLOAD_TRANSPORT, PORT_DESTINATION, 2, Register::Reg32_01));
        self.forward(map)
    }

    /// `dnat ip to ip daddr . meta l4proto . th dport map @…`; no match is the end of the rule.
    pub(super) fn forward_by_address_and_port(mut self, map: &str) -> Vec<u8> {
        self.0.push(load(PAYLOAD_NETWORK, IPV4_DESTINATION, 4, Register::Reg1));
        self.0.push(load_meta(MetaKey::L4Proto, Register::Reg32_01));
        self.0.push(load(PAYLOAD_TRANSPORT, PORT_DESTINATION, 2, Register::Reg32_02));
        self.forward(map)
    }

    /// `masquerade`.
    pub(super) fn masquerade(mut self) -> Vec<u8> {
        self.0.push(Expressions::Other { expression_type: "masq".to_owned(), attributes: Vec::new() });
        list(self.0)
    }

    /// `accept`.
    pub(super) fn accept(self) -> Vec<u8> {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Other(1))])
    }

    /// `drop`.
    pub(super) fn drop(self) -> Vec<u8> {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Other(0))])
    }

    /// `jump …`.
    pub(super) fn jump(self, chain: &str) -> Vec<u8> {
        self.verdict(vec![VerdictAttribute::Code(Verdict::Jump), VerdictAttribute::Chain(chain.to_owned())])
    }

    fn meta(mut self, key: MetaKey) -> Self {
        self.0.push(load_meta(key, Register::Reg1));
        self
    }

    fn address(mut self, offset: u32, net: Ipv4Net) -> Self {
        self.0.push(load(PAYLOAD_NETWORK, offset, 4, Register::Reg1));
        self.masked(net.netmask().octets().to_vec()).compare(Operator::Equal, net.network().octets().to_vec())
    }

    fn address6(mut self, offset: u32, net: Ipv6Net) -> Self {
        self.0.push(load(PAYLOAD_NETWORK, offset, 16, Register::Reg1));
        self.masked(net.netmask().octets().to_vec()).compare(Operator::Equal, net.network().octets().to_vec())
    }

    /// Any of `bits` is set. Connection tracking loads its words in the order of the machine.
    fn connection(mut self, key: u32, bits: u32) -> Self {
        let attributes = vec![word(1, u32::from(Register::Reg1)), word(2, key)];
        self.0.push(Expressions::Other { expression_type: "ct".to_owned(), attributes });
        self.masked(bits.to_ne_bytes().to_vec()).compare(Operator::NotEqual, vec![0; 4])
    }

    fn masked(mut self, mask: Vec<u8>) -> Self {
        self.0.push(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(mask.len() as u32),
            Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
            Bitwise::Mask(DataAttribute::Value(mask)),
        ]));
        self
    }

    fn compare(mut self, operator: Operator, value: Vec<u8>) -> Self {
        self.0.push(Expressions::Cmp(vec![
            Cmp::SourceRegister(Register::Reg1),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(value)),
        ]));
        self
    }

    fn forward(mut self, map: &str) -> Vec<u8> {
        const NAT_DESTINATION: u32 = 1;
        self.0.push(Expressions::Lookup(vec![
            Lookup::Set(map.to_owned()),
            Lookup::SourceRegister(Register::Reg1),
            Lookup::DestinationRegister(Register::Reg1),
        ]));
        let attributes = vec![
            word(1, NAT_DESTINATION),
            word(2, u32::from(NFPROTO_IPV4)),
            word(3, u32::from(Register::Reg1)),
            word(5, u32::from(Register::Reg32_01)),
        ];
        self.0.push(Expressions::Other { expression_type: "nat".to_owned(), attributes });
        list(self.0)
    }

    fn verdict(mut self, verdict: Vec<VerdictAttribute>) -> Vec<u8> {
        self.0.push(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(verdict)),
        ]));
        list(self.0)
    }
}

/// An attribute of four bytes in network order.
fn word(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn load_meta(key: MetaKey, register: Register) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register)])
}

fn load(base: u32, offset: u32, bytes: u32, register: Register) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(register),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(bytes),
    ])
}

/// Names are compared whole, with their padding.
fn interface(name: &IfName) -> Vec<u8> {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.resize(IFNAME_BYTES, 0);
    bytes
}

/// Instructions as the list of attributes that a rule carries (`NFTA_RULE_EXPRESSIONS`).
fn list(expressions: Vec<Expressions>) -> Vec<u8> {
    let list: Vec<ListAttribute<ExpressionAttribute>> = expressions.into_iter().map(ListAttribute::from).collect();
    let mut bytes = vec![0; list.as_slice().buffer_len()];
    list.as_slice().emit(&mut bytes);
    bytes
}

/// A whole loopback net, `127.0.0.0/8`.
pub(super) fn loopback_net() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)
}
