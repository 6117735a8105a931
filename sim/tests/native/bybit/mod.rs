//! Bybit: REST and stream connections, as its documents and recordings have them.

mod rest;
mod streams;

use crate::support::{Client, sim};
use bookwire_sim::{Exchange, Segment, Sim, SimConfig};
use serde_json::{Value, json};

pub(crate) const REST: &str = "api.bybit.com";
pub(crate) const WS: &str = "stream.bybit.com";

pub(crate) async fn bybit() -> Sim {
    bybit_with(SimConfig::default()).await
}

pub(crate) async fn bybit_with(config: SimConfig) -> Sim {
    sim(SimConfig {
        seed: 7,
        exchanges: vec![Exchange::Bybit],
        ..config
    })
    .await
}

pub(crate) fn path(market: Segment) -> &'static str {
    match market {
        Segment::Spot => "/v5/public/spot",
        Segment::Linear => "/v5/public/linear",
    }
}

pub(crate) const MARKETS: [Segment; 2] = [Segment::Spot, Segment::Linear];

pub(crate) async fn open(sim: &Sim, market: Segment, topics: &[&str]) -> Client {
    let mut client = Client::open(sim, WS, path(market)).await;
    subscribe(&mut client, topics).await;
    client
}

pub(crate) async fn ask(client: &mut Client, op: &str, topics: &[&str]) -> Value {
    let request = json!({"op": op, "req_id": "7", "args": topics});
    client.send(&request.to_string()).await;
    client.find(|message| message.get("op").is_some()).await
}

pub(crate) async fn subscribe(client: &mut Client, topics: &[&str]) {
    let answer = ask(client, "subscribe", topics).await;
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(
        (&answer["op"], &answer["req_id"]),
        (&json!("subscribe"), &json!("7"))
    );
}
