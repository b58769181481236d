//! SHA-256 of several parts.

use ring::digest::{Context, SHA256};

/// Returns the SHA-256 of these parts, each with its length before it, so that two lists of parts never give the same
/// text.
pub(crate) fn of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_matters() {
        let all: [&[&[u8]]; 6] = [&[], &[b""], &[b"ab"], &[b"a", b"b"], &[b"ab", b""], &[b"", b"ab"]];
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert_eq!(of(one.iter().copied()) == of(other.iter().copied()), i == j, "{one:?} {other:?}");
            }
        }
    }
}
