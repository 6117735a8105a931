//! Text frames of RFC 6455 as a server sends them: whole, unmasked, written where they leave from. A
//! message is copied once on its way to the socket's buffer, into its frame.

/// First byte of a text frame that is a whole message: FIN and opcode 1.
const TEXT: u8 = 0x81;

/// A header for up to 65,535 bytes: nearly all messages have such a length.
const USUAL: usize = 4;

/// Appends a frame around what `write` appends. It has to be UTF-8.
pub(super) fn text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[TEXT, 126, 0, 0]);
    write(out);
    let length = out.len() - start - USUAL;
    if length < 126 {
        // Truncation is impossible: see the condition.
        out[start + 1] = length as u8;
        out.drain(start + 2..start + USUAL);
    } else if let Ok(length) = u16::try_from(length) {
        out[start + 2..start + USUAL].copy_from_slice(&length.to_be_bytes());
    } else {
        out[start + 1] = 127;
        let length = (length as u64).to_be_bytes();
        out.splice(start + 2..start + USUAL, length);
    }
}

/// The payloads of frames that [`text`] has written, back to back.
#[cfg(test)]
pub(super) fn payloads(mut frames: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [TEXT, short, rest @ ..] = frames {
        let (width, length) = match short {
            126 => (2, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
            127 => {
                let wide: [u8; 8] = rest[..8].try_into().unwrap_or_default();
                (
                    8,
                    usize::try_from(u64::from_be_bytes(wide)).unwrap_or(usize::MAX),
                )
            }
            short => (0, usize::from(*short)),
        };
        found.push(&rest[width..width + length]);
        frames = &rest[width + length..];
    }
    assert!(frames.is_empty(), "no frame: {frames:?}");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_the_header_of_rfc_6455() {
        let mut out = Vec::new();
        let sizes = [0, 1, 125, 126, 65_535, 65_536, 70_000];
        for size in sizes {
            let start = out.len();
            text(&mut out, |out| out.resize(out.len() + size, b'a'));
            let header: &[u8] = match size {
                0 => &[0x81, 0],
                1 => &[0x81, 1],
                125 => &[0x81, 125],
                126 => &[0x81, 126, 0, 126],
                65_535 => &[0x81, 126, 0xff, 0xff],
                65_536 => &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0],
                _ => &[0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70],
            };
            assert!(out[start..].starts_with(header), "{size}");
            assert_eq!(out.len() - start, header.len() + size);
        }
        let lengths: Vec<_> = payloads(&out).iter().map(|text| text.len()).collect();
        assert_eq!(lengths, sizes);
    }
}
