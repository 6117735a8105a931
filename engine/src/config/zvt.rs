//! `[zvt]`: a ZVT server that this one stands in front of.

use super::read::Reader;
use super::url::{self, Serves};

/// `[zvt]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZvtConfig {
    /// Base URL of the server, without a path or with one to put before each; empty: none.
    pub upstream: String,
    /// Milliseconds within which it has to begin an answer.
    pub timeout_ms: u64,
}

impl Default for ZvtConfig {
    fn default() -> Self {
        Self {
            upstream: String::new(),
            timeout_ms: 30_000,
        }
    }
}

pub(super) fn visit(zvt: &mut ZvtConfig, r: &mut Reader<'_>) {
    let accepted = "a base URL such as http://127.0.0.1:8090, or \"\" for none";
    r.text("upstream", &mut zvt.upstream, accepted, |text| {
        let is_url = text.is_empty() || url::check(text, Serves::Rest).is_ok();
        is_url.then(|| text.trim_end_matches('/').to_owned())
    });
    r.int("timeout_ms", &mut zvt.timeout_ms, 100..=600_000);
}
