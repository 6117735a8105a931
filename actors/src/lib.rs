//! bookwire's actors: who owns what, on which thread.
//!
//! Market data never rides in a mailbox. Inside a shard it is direct calls ([`state`]), between
//! threads a bounded ring ([`ring`], [`recorder`]); mailboxes carry control only. No HTTP route and
//! no JSON of an exchange or a client is known here.
//!
//! # Threads
//! | thread | runs | count |
//! |---|---|---|
//! | `shard-N` | one arbiter: [`shard::Shard`], its connections and books, the data path | `engine.shards` |
//! | API worker | [`dispatcher::WorkerHub`], [`session::SubscriptionSession`]s | `server.workers` |
//! | `control` | requests to exchanges, instrument lists, history, heartbeats; queries of the store on its blocking threads | 1 |
//! | `orders` | [`trading`]: the order routers, their private streams and requests | 1 |
//! | `recorder` | writes to the store, may block | 1 with a store |
//!
//! # Who starts whom
//! ```text
//! Gateway ──► shard thread ──► Supervisor ──► Shard ──► ExchangeConnection  (one for each upstream socket)
//!    │                              │                └► OrderBook           (one for each book wanted)
//!    │                              └ starts each of them again after a panic or a stop
//!    ├──► control runtime: loader of each market, heartbeat of each provider, RestClient
//!    └──► Recorder thread
//! API worker ──► WorkerHub, SubscriptionSession of each client
//! ```
//!
//! # Mailboxes
//! | actor | messages | from | capacity | when full |
//! |---|---|---|---|---|
//! | [`shard::Shard`] | [`shard::messages`] | gateway, hubs | 1024 | the sender waits up to 5 s, then `CRYPTO_INTERNAL_ERROR` |
//! | [`connection::ExchangeConnection`] | `Nudge` `Renew` `ReconnectNow` `UseTable` | shard | 64 | dropped: it looks at its plan ten times a second; a lost `Renew` comes again with the next silence |
//! | | `StopConnection` | shard | 64 | the sender waits |
//! | [`book::OrderBook`] | `NeedSnapshot` `CheckQuiet` | shard | 16 | dropped: the same request is in the mailbox already |
//! | | `StopBook` | shard | 16 | the sender waits |
//! | [`trading::router::OrderRouter`] | orders, cancels, questions | API workers | 1024 | the sender waits |
//! | [`session::SubscriptionSession`] | client requests | pump | see there | see there |
//!
//! What must survive an actor's panic is outside it: books, bars and topics in
//! [`state::ShardState`], wishes in [`upstream`], both held by the shard's thread.
//!
//! # Rings
//! | ring | from, to | capacity | when full |
//! |---|---|---|---|
//! | [`ring::LaneTx`] | shard, API worker | `GatewayOptions::lane_capacity` | counted for each topic, told as `Lost`; delta books go on from a new image |
//! | [`recorder::RecorderPort`] | shard, recorder | `RecorderOptions::ring` + `overflow` | rows are lost, counted, logged |
//! | [`keeper`] | shards and control, its thread | 4096 lines | lines are lost, counted, logged |
//! | [`tap`] | shard and control, `bookwire record` | chosen by the caller | messages are lost and counted |
//!
//! # Stop order
//! [`gateway::Gateway::shutdown`], after the sessions have gone: connections and books of each
//! shard, last promises and rows to the recorder, shard threads, then the recorder writes what is
//! left and flushes, and the [`keeper`] its lines. Each step is bounded in time.
//!
//! # Tasks of the control runtime
//! Loaders of instruments and heartbeats for each provider, [`history::backfill`] for each provider,
//! and [`uptime`], which looks at the connections once a second. All hold the engine weakly.

pub mod alive;
pub mod body;
pub mod book;
pub mod bridge;
pub mod clock;
pub mod connection;
pub mod dispatcher;
pub mod endpoints;
pub mod gateway;
pub mod history;
pub mod incidents;
pub mod keeper;
pub mod latency;
mod loader;
pub mod options;
pub mod quarantine;
pub mod recorder;
pub mod rest_client;
pub mod ring;
pub mod session;
pub mod shard;
pub mod state;
pub mod status;
pub mod supervisor;
pub mod tap;
#[cfg(test)]
mod testkit;
pub mod topic;
pub mod trace;
pub mod trading;
pub mod upstream;
pub mod uptime;
pub mod worker;
