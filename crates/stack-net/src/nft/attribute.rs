//! Netlink attributes as they lie in a message. What the kernel tells about a table is read with these few lines and
//! not with the codec that writes it: that one formats a whole list for every element of it, in case one is broken.

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader};

const HEADER_BYTES: usize = 4;
const NESTED: u16 = 0x8000;
/// Both flags of a type (`NLA_TYPE_MASK`).
const TYPE: u16 = 0x3fff;
/// `struct nfgenmsg`, which every message of netfilter begins with.
const FAMILY_BYTES: usize = 4;

/// A message of nf_tables, unread.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    attributes: Vec<u8>,
}

impl NetlinkDeserializable for Raw {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        let attributes = payload.get(FAMILY_BYTES..).ok_or("a message of nf_tables ends in its header")?;
        Ok(Self { attributes: attributes.to_vec() })
    }
}

impl Raw {
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes(&self.attributes)
    }
}

/// A list of attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u16,
    nested: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The attributes in order; ends at the first that is not whole.
    pub(super) fn iter(self) -> impl Iterator<Item = Attribute<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [a, b, c, d, ..] = *rest else { return None };
            let length = usize::from(u16::from_ne_bytes([a, b]));
            let kind = u16::from_ne_bytes([c, d]);
            let value = rest.get(HEADER_BYTES..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Attribute { kind: kind & TYPE, nested: kind & NESTED != 0, value })
        })
    }

    /// The value of the first attribute of a type.
    pub(super) fn value(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The attributes inside one of a type.
    pub(super) fn inside(self, kind: u16) -> Option<Self> {
        self.value(kind).map(Attributes)
    }

    /// A text, without its final zero.
    pub(super) fn text(self, kind: u16) -> Option<String> {
        let value = self.value(kind)?;
        Some(String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned())
    }

    /// A number of four bytes in network order.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        self.value(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Whether `found`, as the kernel tells it, is this list as we wrote it: every attribute, as often and in the same
    /// order. The kernel adds attributes for defaults, and does not mark lists as such; ours are marked.
    pub(super) fn is_held_by(self, found: Self) -> bool {
        let of = |list: Self, kind: u16| list.iter().filter(move |attribute| attribute.kind == kind);
        self.iter().enumerate().all(|(position, attribute)| {
            let kind = attribute.kind;
            // Each type is compared once, where it first occurs.
            self.iter().take(position).any(|earlier| earlier.kind == kind)
                || (of(self, kind).count() == of(found, kind).count()
                    && of(self, kind).zip(of(found, kind)).all(|(one, other)| one.is_held_by(other)))
        })
    }
}

impl Attribute<'_> {
    fn is_held_by(self, found: Self) -> bool {
        if self.nested { Attributes(self.value).is_held_by(Attributes(found.value)) } else { self.value == found.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in attributes {
            bytes.extend(((HEADER_BYTES + value.len()) as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn holds(ours: &[u8], found: &[u8]) -> bool {
        Attributes(ours).is_held_by(Attributes(found))
    }

    #[test]
    fn values_are_read_by_type() {
        let bytes = list(&[(1, b"name\0"), (2, &[0, 0, 1, 2]), (3 | NESTED, &list(&[(1, b"in")]))]);
        let found = Attributes(&bytes);
        assert_eq!((found.text(1).as_deref(), found.number(2), found.number(9)), (Some("name"), Some(258), None));
        assert_eq!(found.inside(3).unwrap().value(1), Some(&b"in"[..]));
        assert_eq!(Attributes(&bytes[..7]).iter().count(), 0);
    }

    #[test]
    fn the_kernel_may_add_attributes_but_not_change_repeat_or_reorder_ours() {
        let ours = list(&[(1, b"a"), (2 | NESTED, &list(&[(1, b"x"), (1, b"y")]))]);
        let same = |inner: &[(u16, &[u8])]| list(&[(1, b"a"), (2, &list(inner)), (7, b"default")]);
        assert!(holds(&ours, &same(&[(1, b"x"), (1, b"y")])));
        assert!(holds(&ours, &same(&[(1, b"x"), (5, b"default"), (1, b"y")])));
        assert!(!holds(&ours, &same(&[(1, b"y"), (1, b"x")])));
        assert!(!holds(&ours, &same(&[(1, b"x")])));
        assert!(!holds(&ours, &same(&[(1, b"x"), (1, b"y"), (1, b"z")])));
        assert!(!holds(&ours, &list(&[(1, b"b"), (2, &list(&[(1, b"x"), (1, b"y")]))])));
    }
}
