//! Reading recorded messages: one per line, plain, `.gz` or `.zst`; bare, or wrapped as
//! `{"recv_ts":…,"raw":…}`; receive times also from a sidecar.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Most bytes of an unpacked file.
const BYTES_MAX: u64 = 4 << 30;

/// Why recorded messages cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read or unpacked.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no JSON text.
    #[error("{path}, line {line}: {source}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// There is nothing in it that can be sent.
    #[error("{path} has no message that can be replayed")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The replay speed is not a positive number.
    #[error("replay speed has to be a positive number")]
    Speed,
}

/// One recorded line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When it was received, ns since the epoch.
    pub(crate) recv_ns: Option<i64>,
    /// The request it answers, of REST answers.
    pub(crate) url: Option<String>,
    /// The message.
    pub(crate) raw: String,
}

#[derive(Deserialize)]
struct Wrapper<'a> {
    #[serde(borrow)]
    raw: Option<&'a RawValue>,
    recv_ts: Option<f64>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, ReplayError> {
    let text = unpack(path).map_err(|source| ReplayError::Read {
        path: path.into(),
        source,
    })?;
    let times = sidecar(path);
    let mut lines = Vec::new();
    // Sidecars count all lines of the file, blank ones included.
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let refuse = |source| ReplayError::Line {
            path: path.into(),
            line: at + 1,
            source,
        };
        let time = times.as_ref().and_then(|times| times.get(at).copied());
        lines.push(unwrap(line, time).map_err(refuse)?);
    }
    Ok(lines)
}

fn unwrap(line: &str, sidecar_ns: Option<i64>) -> Result<Line, serde_json::Error> {
    let bare = || Line {
        recv_ns: sidecar_ns,
        url: None,
        raw: line.to_owned(),
    };
    if !line.trim_start().starts_with('{') {
        serde_json::from_str::<&RawValue>(line)?;
        return Ok(bare());
    }
    let wrapper: Wrapper<'_> = serde_json::from_str(line)?;
    let Some(raw) = wrapper.raw else {
        return Ok(bare());
    };
    // REST answers are kept as a string, messages as they are.
    let raw = match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => text,
        Err(_) => raw.get().to_owned(),
    };
    let recv_ns = match exact_recv_ts(line) {
        Some(ns) => Some(ns),
        None => wrapper.recv_ts.map(|ts| ts as i64),
    };
    Ok(Line {
        recv_ns: recv_ns.or(sidecar_ns),
        url: wrapper.url.map(Cow::into_owned),
        raw,
    })
}

/// The receive time with all its digits: ns since the epoch do not fit a float.
fn exact_recv_ts(line: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Exact {
        recv_ts: i64,
    }
    serde_json::from_str::<Exact>(line)
        .ok()
        .map(|exact| exact.recv_ts)
}

fn unpack(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let mut text = String::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(file)
            .take(BYTES_MAX)
            .read_to_string(&mut text)?,
        Some("zst") => zstd::stream::read::Decoder::new(file)?
            .take(BYTES_MAX)
            .read_to_string(&mut text)?,
        _ => io::BufReader::new(file)
            .take(BYTES_MAX)
            .read_to_string(&mut text)?,
    };
    Ok(text)
}

/// The receive times beside a file: `X.jsonl[.gz]` has them in `X.recv_ts[.gz]`.
fn sidecar(path: &Path) -> Option<Vec<i64>> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split(".jsonl").next()?;
    [".recv_ts", ".recv_ts.gz", ".recv_ts.zst"]
        .iter()
        .find_map(|ending| {
            let text = unpack(&path.with_file_name(format!("{stem}{ending}"))).ok()?;
            text.lines().map(|line| line.trim().parse().ok()).collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_bare_and_wrapped() {
        let line = |text: &str| unwrap(text, Some(5)).unwrap();
        assert_eq!(line(r#"{"e":"trade"}"#).recv_ns, Some(5));
        let wrapped = line(r#"{"recv_ts":1723161256560123457,"raw":{"e":"trade"}}"#);
        assert_eq!(wrapped.recv_ns, Some(1_723_161_256_560_123_457));
        assert_eq!(wrapped.raw, r#"{"e":"trade"}"#);
        let rest = line(r#"{"recv_ts":7,"url":"https://x/depth?symbol=A","raw":"{\"a\":1}"}"#);
        assert_eq!((rest.raw.as_str(), rest.recv_ns), (r#"{"a":1}"#, Some(7)));
        assert_eq!(rest.url.as_deref(), Some("https://x/depth?symbol=A"));
        assert!(unwrap("{", None).is_err());
    }

    #[test]
    fn packed_files_and_sidecars() {
        use std::io::Write;
        let folder = std::env::temp_dir().join(format!("bookwire-replay-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.jsonl.gz");
        let mut packer =
            flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), Default::default());
        packer.write_all(b"{\"a\":1}\n\n{\"a\":2}\n").unwrap();
        packer.finish().unwrap();
        fs::write(folder.join("x.recv_ts"), "10\n11\n12\n").unwrap();
        let lines = read(&path).unwrap();
        let times: Vec<_> = lines.iter().map(|line| line.recv_ns).collect();
        assert_eq!(times, [Some(10), Some(12)]);
        fs::write(folder.join("y.jsonl"), "{\"a\":1}\nnot json\n").unwrap();
        let error = read(&folder.join("y.jsonl")).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
