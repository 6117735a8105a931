//! Recorded files as lines: plain, gzip or zstandard, told apart by their first bytes, read as a
//! stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Longest line that is read; Coinbase's largest frame known is 5 MB.
const LINE_BYTES_MAX: u64 = 256 << 20;

const BUFFER_BYTES: usize = 1 << 20;

/// Opens a file; `-` is standard input.
pub fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let raw: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path)?)
    };
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
    let head = raw.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        let decoder = flate2::bufread::MultiGzDecoder::new(raw);
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else {
        Box::new(raw)
    })
}

/// Reads the next line into `line`, without its end; `false` at the end of the file.
///
/// # Errors
/// Reading fails, or the line is longer than 256 MB.
pub fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if read as u64 == LINE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is longer than {LINE_BYTES_MAX} bytes"),
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        std::fs::write(&path, bytes).unwrap();
        let mut input = open(&path).unwrap();
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        while next_line(&mut *input, &mut line).unwrap() {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        lines
    }

    #[test]
    fn every_packing_gives_the_same_lines() {
        let text = b"{\"a\":1}\r\n\n{\"b\":2}\nlast";
        let expected = ["{\"a\":1}", "", "{\"b\":2}", "last"];
        assert_eq!(lines_of(text), expected);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).unwrap();
        let mut packed = gz.finish().unwrap();
        assert_eq!(lines_of(&packed), expected);
        // Appended members, as a recorder that was restarted leaves them.
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"\nmore").unwrap();
        packed.extend(gz.finish().unwrap());
        assert_eq!(lines_of(&packed).last().map(String::as_str), Some("more"));
        assert_eq!(lines_of(&zstd::encode_all(&text[..], 1).unwrap()), expected);
        assert!(lines_of(b"").is_empty());
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error() {
        let packed = zstd::encode_all(&b"abc\n".repeat(1000)[..], 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.zst");
        std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        let mut input = open(&path).unwrap();
        let mut line = Vec::new();
        let result = std::iter::repeat_with(|| next_line(&mut *input, &mut line))
            .find(|result| !matches!(result, Ok(true)));
        assert!(matches!(result, Some(Err(_))), "{result:?}");
    }
}
