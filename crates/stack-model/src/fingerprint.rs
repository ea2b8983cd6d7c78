//! A short stable hash for names that must be the same on every run: bridges, interfaces, container ids.

/// FNV-1a over 64 bits of the parts, each ended by a byte that cannot stand in UTF-8, so that `["ab", "c"]` and
/// `["a", "bc"]` differ. Not cryptographic: it names things, it proves nothing.
pub fn fingerprint(parts: &[&str]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0xff)));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // FNV mixes the last bytes poorly into the high bits; the finaliser of MurmurHash3 repairs that.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The first `digits` hexadecimal digits of [`fingerprint`] (at most 16).
pub fn short_hex(parts: &[&str], digits: usize) -> String {
    let mut text = format!("{:016x}", fingerprint(parts));
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_between_parts_count() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(short_hex(&["shop", "default"], 8).len(), 8);
    }
}
