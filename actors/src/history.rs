//! History on demand: what a query needs and the store does not hold is fetched from the exchange,
//! stored, and then read like everything else.

use std::sync::Arc;

use crate::clock::Clock;
use crate::recorder::Recorder;
use crate::rest_client::RestClient;

/// Fetches history.
pub struct History {
    rest: RestClient,
    recorder: Option<Recorder>,
    clock: Arc<dyn Clock>,
}

impl History {
    pub(crate) fn new(rest: RestClient, recorder: Option<Recorder>, clock: Arc<dyn Clock>) -> Self {
        Self {
            rest,
            recorder,
            clock,
        }
    }
}
