//! An entry's content: named fields of bytes, each `length of name, name, length, bytes`. A format of
//! one allocation, so that no copy of a secret is left behind by growing or by unescaping.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// Prints fields; names are constants of at most 255 bytes, values are far below 4 GiB.
pub(crate) fn encode(fields: &[(&str, &[u8])]) -> Zeroizing<Vec<u8>> {
    let size = |(name, value): &(&str, &[u8])| 5 + name.len() + value.len();
    let mut out = Zeroizing::new(Vec::with_capacity(fields.iter().map(size).sum()));
    for (name, value) in fields {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value);
    }
    out
}

/// Reads fields; `None` for what is none, or has one twice.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<BTreeMap<&str, &[u8]>> {
    let mut fields = BTreeMap::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (length, rest) = rest.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?);
        let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if fields
            .insert(std::str::from_utf8(name).ok()?, value)
            .is_some()
        {
            return None;
        }
        bytes = rest;
    }
    Some(fields)
}

/// A field as text.
pub(crate) fn text<'a>(fields: &BTreeMap<&str, &'a [u8]>, name: &str) -> Option<&'a str> {
    std::str::from_utf8(fields.get(name)?).ok()
}
