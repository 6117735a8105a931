//! What of the harness is used outside of it: reports, and the load scenario, a short form of which
//! is one of the whole-system tests.

pub mod load;
pub mod report;
