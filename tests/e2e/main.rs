//! Whole-system tests: simulators that speak the exchanges' own protocols, the gateway as its users
//! start it, and clients that know nothing but the public contract.

mod ccxt;
mod contract;
mod faults;
mod restart;
mod rig;
