//! A recording on disk.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bookwire_engine::time::TsNanos;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// A REST answer as it is recorded.
#[derive(Clone, Debug)]
pub struct RestAnswer {
    /// When it had arrived, wall clock.
    pub recv_ts: TsNanos,
    /// The exchange's own URL, wherever the request really went.
    pub url: String,
    /// The body's bytes.
    pub body: Vec<u8>,
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

/// One file of lines. Finish it: what is still buffered is lost otherwise.
pub struct Recording {
    sink: Sink,
    path: PathBuf,
    lines: u64,
    bytes: u64,
}

impl Recording {
    /// A new file in `dir`; refuses to overwrite.
    pub fn create(dir: &Path, name: &str, is_packed: bool) -> io::Result<Self> {
        let name = if is_packed {
            format!("{name}.gz")
        } else {
            name.to_owned()
        };
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("can't create {}: {error}", path.display()),
            )
        })?;
        let file = BufWriter::with_capacity(1 << 18, file);
        let sink = if is_packed {
            Sink::Gzip(GzEncoder::new(file, Compression::fast()))
        } else {
            Sink::Plain(file)
        };
        Ok(Self {
            sink,
            path,
            lines: 0,
            bytes: 0,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines and bytes so far, before packing.
    pub fn written(&self) -> (u64, u64) {
        (self.lines, self.bytes)
    }

    /// Records a message. One that is not a single line of JSON is kept as a string.
    pub fn message(&mut self, recv_ts: TsNanos, raw: &str) -> io::Result<()> {
        let is_line = !raw.contains(['\n', '\r']) && !raw.is_empty();
        let is_json = is_line && serde_json::from_str::<serde::de::IgnoredAny>(raw).is_ok();
        if is_json {
            self.line(format!("{{\"recv_ts\":{},\"raw\":{raw}}}", recv_ts.0).as_bytes())
        } else {
            let raw = Value::from(raw);
            self.line(format!("{{\"recv_ts\":{},\"raw\":{raw}}}", recv_ts.0).as_bytes())
        }
    }

    /// Records a REST answer.
    pub fn rest(&mut self, answer: &RestAnswer) -> io::Result<()> {
        let line = json!({
            "recv_ts": answer.recv_ts.0,
            "method": "GET",
            "url": answer.url,
            "raw": String::from_utf8_lossy(&answer.body),
        });
        self.line(line.to_string().as_bytes())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.lines += 1;
        self.bytes += line.len() as u64 + 1;
        match &mut self.sink {
            Sink::Plain(out) => out.write_all(line).and_then(|()| out.write_all(b"\n")),
            Sink::Gzip(out) => out.write_all(line).and_then(|()| out.write_all(b"\n")),
        }
    }

    /// Passes what is buffered to the system, so that a reader of a plain file sees it.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(out) => out.flush(),
            Sink::Gzip(_) => Ok(()),
        }
    }

    /// Writes what is left and the end of a packed file.
    pub fn finish(self) -> io::Result<()> {
        let mut file = match self.sink {
            Sink::Plain(out) => out,
            Sink::Gzip(out) => out.finish()?,
        };
        file.flush()?;
        file.get_ref().sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;

    #[test]
    fn messages_keep_their_bytes_and_odd_ones_become_strings() {
        let dir = tempfile::tempdir().unwrap();
        for packed in [false, true] {
            let mut file = Recording::create(dir.path(), "a.jsonl", packed).unwrap();
            let path = file.path().to_owned();
            file.message(TsNanos(5), r#"{"p": "1.50", "q":0.10}"#)
                .unwrap();
            file.message(TsNanos(6), "not json").unwrap();
            file.message(TsNanos(7), "{\n}").unwrap();
            file.rest(&RestAnswer {
                recv_ts: TsNanos(8),
                url: "https://api.example/depth?symbol=BTCUSDT".into(),
                body: br#"{"lastUpdateId":1}"#.to_vec(),
            })
            .unwrap();
            assert_eq!(file.written().0, 4);
            file.finish().unwrap();
            let input = crate::cli::input::open(&path).unwrap();
            let lines: Vec<String> = input.lines().map(Result::unwrap).collect();
            assert_eq!(lines[0], r#"{"recv_ts":5,"raw":{"p": "1.50", "q":0.10}}"#);
            assert_eq!(lines[1], r#"{"recv_ts":6,"raw":"not json"}"#);
            assert_eq!(lines[2], r#"{"recv_ts":7,"raw":"{\n}"}"#);
            let rest: Value = serde_json::from_str(&lines[3]).unwrap();
            assert_eq!(rest["raw"], r#"{"lastUpdateId":1}"#);
            assert_eq!(rest["url"], "https://api.example/depth?symbol=BTCUSDT");
        }
        let again = Recording::create(dir.path(), "a.jsonl", false);
        assert!(again.is_err(), "nothing is overwritten");
    }
}
