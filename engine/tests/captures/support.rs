//! What the tests over recordings share.
//!
//! The recordings are found through `BOOKWIRE_CAPTURES` (default: `../shared/captures` beside the
//! workspace). Without them a test says that it was skipped, unless `BOOKWIRE_REQUIRE_CAPTURES=1`
//! makes that a failure.

use std::io::Read;
use std::path::{Path, PathBuf};

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentSpec, Market};
use rust_decimal::Decimal;

/// The list recorded with Bybit's streams.
pub const BYBIT_LIST: &str = "bybit_rest_instruments_20260809.jsonl.gz";
/// The list recorded with OKX's streams.
pub const OKX_LIST: &str = "okx_rest_instruments_20220228.jsonl";

/// The folder of the recordings; `None` (said on stderr) when there is none.
pub fn captures() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("BOOKWIRE_CAPTURES")
        .map_or_else(|| workspace.join("../shared/captures"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let is_required = std::env::var("BOOKWIRE_REQUIRE_CAPTURES").is_ok_and(|value| value == "1");
    assert!(!is_required, "no recordings in {}", folder.display());
    eprintln!("skipped: no recordings in {}", folder.display());
    None
}

/// Lines of a recording, unpacked, without the blank ones.
pub fn lines(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_some_and(|extension| extension == "gz") {
        let packed = std::mem::take(&mut bytes);
        let mut reader = flate2::read::MultiGzDecoder::new(&packed[..]);
        reader.read_to_end(&mut bytes).unwrap();
    }
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    lines.filter(|line| !line.is_empty()).collect()
}

/// An instrument of which nothing but the name is known, with eight digits of everything.
pub fn instrument(provider: ProviderId, market: Market, native_symbol: &str) -> InstrumentSpec {
    InstrumentSpec {
        provider,
        exchange: provider.name().to_owned(),
        market,
        native_symbol: native_symbol.to_owned(),
        base_symbol: native_symbol.to_owned(),
        quote_symbol: String::new(),
        settlement_symbol: None,
        price_step: Decimal::new(1, 8),
        qty_step: Decimal::new(1, 8),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    }
}
