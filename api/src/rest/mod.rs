//! REST: check the request, ask the engine or the store, encode. No business rule lives here.

mod abilities;
pub mod answer;
pub mod auth;
pub mod backfill;
pub mod body;
pub mod config;
pub mod data;
pub mod entities;
pub mod kept;
pub mod log;
pub mod metrics;
pub mod ops;
pub mod pages;
pub mod params;
pub mod prices;
pub mod providers;
pub mod schema;
pub mod series;
pub mod trading;
pub mod validation;
