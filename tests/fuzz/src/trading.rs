//! What exchanges answer and tell of orders and accounts.

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::trading::probe;

/// The first byte chooses the exchange, the rest is given to all that reads answers and events there.
///
/// Nothing panics; the same bytes mean the same; a frame that can't be read tells nothing; and every
/// refusal says what can be done.
pub fn check(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let all: Vec<ProviderId> = ProviderId::all().collect();
    probe::read_everywhere(all[usize::from(*choice) % all.len()], body);
}
