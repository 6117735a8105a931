//! Orders: what they are, what may become of them, what exchanges are asked and answer.
//!
//! Everything here is decided without a socket, a thread or a clock. [`order`] has the words,
//! [`state`] says which change of an order may follow which, [`check`] what is refused before
//! anything is sent ([`funds`]: for want of money), [`risk`] what the user's own limits refuse,
//! [`journal`] what is written down before the wire, [`venue`] is what an exchange's adapter has to
//! be able to do ([`socket`]: over its WebSocket), [`paper`] fills orders against live books without any exchange.
//!
//! Rules that hold everywhere:
//! - quantities are in base units and prices in quote units, exact decimals; an adapter converts
//!   contracts;
//! - an order is written to the journal before it is sent, and never sent twice;
//! - only an exchange's own word moves an order to a final state. A lost answer leads to
//!   [`order::OrderStatus::Unknown`] and to questions.

pub mod check;
pub mod exact;
pub mod funds;
pub mod journal;
pub mod keys;
pub mod ledger;
pub mod order;
pub mod paper;
#[cfg(any(test, feature = "testkit"))]
pub mod probe;
pub mod risk;
pub mod socket;
pub mod state;
pub mod venue;

#[cfg(test)]
mod testing;
