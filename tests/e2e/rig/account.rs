//! An account as a client of the gateway has it, and whether it is what the exchange's own record says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bookwire_sim::{AccountTruth, Segment, SimControl};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// Where orders are placed.
pub const ORDERS: &str = "/api/trading/orders?numbers=string";

/// A client of one account, whose gateway may be away. Clones are the same.
#[derive(Clone)]
pub struct Account {
    /// Where it has its account.
    pub provider: String,
    /// Address of the gateway's API.
    pub api: String,
    /// A key that may trade.
    pub key: String,
    pub http: reqwest::Client,
}

/// The number of a text; zero where there is none.
pub fn number(value: &Value) -> Decimal {
    value.as_str().unwrap_or("0").parse().unwrap()
}

impl Account {
    /// Asks once; `None`: nobody answered.
    pub async fn try_ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let url = format!("http://{}{path}", self.api);
        let mut request = self.http.request(method.clone(), url);
        request = request.bearer_auth(&self.key);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// Asks until somebody answers, with the same client order id where there is one: what every
    /// careful client does.
    pub async fn insist(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let end = Instant::now() + Duration::from_secs(180);
        let (mut last, mut pause) = (None, Duration::from_millis(50));
        loop {
            match self.try_ask(&method, path, body).await {
                // Not ready, limits: nothing was done.
                Some((status @ (503 | 429), answer)) => last = Some((status, answer)),
                Some(answer) => return answer,
                None => {}
            }
            assert!(
                Instant::now() < end,
                "no answer to {method} {path}: {last:?}"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Waits until orders are taken.
    pub async fn comes_back(&self) {
        let end = Instant::now() + Duration::from_secs(180);
        while !self.is_ready().await {
            assert!(Instant::now() < end, "orders are not taken again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        let path = format!("/api/trading/accounts?provider={}", self.provider);
        let (_, told) = self.insist(Method::GET, &path, None).await;
        told["accounts"][0]["ready"] == true
    }

    /// Cancels everything.
    pub async fn cancel_all(&self) {
        let path = format!("/api/trading/orders?provider={}", self.provider);
        self.insist(Method::DELETE, &path, None).await;
    }

    /// Cancels what is open and waits until everything is known.
    pub async fn settle(&self) {
        let provider = &self.provider;
        let end = Instant::now() + Duration::from_secs(120);
        let open = format!(
            "/api/trading/orders?provider={provider}&status=pending,open,partially_filled,unknown&limit=10000"
        );
        loop {
            let is_ready = self.is_ready().await;
            if is_ready {
                self.cancel_all().await;
            }
            let (_, answer) = self.insist(Method::GET, &open, None).await;
            if is_ready && answer["orders"].as_array().is_some_and(Vec::is_empty) {
                return;
            }
            assert!(Instant::now() < end, "{is_ready} {answer}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Closes positions: what they are worth moves with the market, and some exchanges tell balances
    /// with it.
    pub async fn flatten(&self) {
        let provider = &self.provider;
        let path = format!("/api/trading/positions?provider={provider}&numbers=string");
        let (_, answer) = self.insist(Method::GET, &path, None).await;
        for position in answer["positions"].as_array().unwrap() {
            let quantity = number(&position["quantity"]);
            let order = json!({
                "provider": provider,
                "entity_id": position["entity_id"],
                "side": if quantity > Decimal::ZERO { "sell" } else { "buy" },
                "type": "market",
                "quantity": quantity.abs().to_string(),
                "reduce_only": true,
                "client_order_id": "flatten",
            });
            let (status, answer) = self.insist(Method::POST, ORDERS, Some(&order)).await;
            assert!(matches!(status, 200..=202), "{answer}");
        }
        self.settle().await;
    }

    /// Ends everything that is open; then, soon, what the gateway believes of orders, executions,
    /// balances and positions is what the exchange really has. `what` is said when it is not.
    pub async fn comes_to_the_truth(&self, control: &SimControl, what: &str) {
        control.clear_all();
        self.settle().await;
        self.flatten().await;
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            // What is told last is told after the order: executions, balances.
            let differences = self.differences(&control.accounts()[0]).await;
            if differences.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{what}: {differences:#?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// All rows of a list, however many: each page ends where the one before began.
    async fn list(&self, what: &str, id: &str, time: &str) -> Vec<Value> {
        let provider = &self.provider;
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        let mut end = String::new();
        loop {
            let path =
                format!("/api/trading/{what}?provider={provider}&limit=10000&numbers=string{end}");
            let (status, page) = self.insist(Method::GET, &path, None).await;
            assert_eq!(status, 200, "{page}");
            let before = all.len();
            for row in page[what].as_array().unwrap() {
                // Trades of two instruments can have the same number.
                let key = format!("{}/{}", row["entity_id"], row[id]);
                end = format!("&end_timestamp={}", row[time].as_str().unwrap());
                all.insert(key, row.clone());
            }
            if all.len() == before {
                return all.into_values().collect();
            }
        }
    }

    /// What the gateway believes and the exchange does not have, or the other way round.
    async fn differences(&self, truth: &AccountTruth) -> Vec<String> {
        let mut wrong = Vec::new();
        let ours = self.list("orders", "order_id", "created_at").await;
        let ours: BTreeMap<&str, &Value> = ours
            .iter()
            .map(|order| (order["order_id"].as_str().unwrap(), order))
            .collect();
        let mut theirs = BTreeMap::new();
        for order in &truth.orders {
            if theirs.insert(order.client_id.as_str(), order).is_some() {
                wrong.push(format!("{} is there twice", order.client_id));
            }
        }
        for (id, order) in &ours {
            let status = order["status"].as_str().unwrap();
            match theirs.get(id) {
                None if status == "rejected" => {}
                None => wrong.push(format!("{id} is {status} here and not there at all")),
                Some(real) => {
                    let asked = number(&order["quantity"]);
                    let filled = number(&order["filled_quantity"]);
                    // It never came into the book.
                    let state = match (real.state, real.reason, real.filled.is_zero()) {
                        ("expired", "post_only", true) => "rejected",
                        (state, ..) => state,
                    };
                    if status != state || filled != real.filled || asked != real.qty {
                        wrong.push(format!(
                            "{id} is {status} with {filled} of {asked} here, {} ({}) with {} of {} there: {order}",
                            real.state, real.reason, real.filled, real.qty
                        ));
                    }
                }
            }
        }
        for id in theirs.keys().filter(|id| !ours.contains_key(*id)) {
            wrong.push(format!("{id} is there and not here"));
        }
        let mut clients: Vec<&str> = ours
            .values()
            .filter_map(|order| order["client_order_id"].as_str())
            .collect();
        clients.sort_unstable();
        if let Some(pair) = clients.windows(2).find(|pair| pair[0] == pair[1]) {
            wrong.push(format!("{} made two orders", pair[0]));
        }
        self.fills_differ(truth, &mut wrong).await;
        self.holdings_differ(truth, &mut wrong).await;
        wrong
    }

    async fn fills_differ(&self, truth: &AccountTruth, wrong: &mut Vec<String>) {
        let fills = self.list("fills", "fill_id", "timestamp").await;
        // Number, quantity and value of each order's executions.
        let sums = |rows: Vec<(String, Decimal, Decimal)>| {
            let mut sums: BTreeMap<String, (usize, Decimal, Decimal)> = BTreeMap::new();
            for (order, quantity, value) in rows {
                let sum = sums.entry(order).or_default();
                sum.0 += 1;
                sum.1 += quantity;
                sum.2 += value;
            }
            sums
        };
        let rows = fills.iter().map(|fill| {
            let (price, quantity) = (number(&fill["price"]), number(&fill["quantity"]));
            let order = fill["order_id"].as_str().unwrap().to_owned();
            (order, quantity, price * quantity)
        });
        let here = sums(rows.collect());
        let rows = truth.fills.iter().map(|fill| {
            let value = fill.price * fill.qty;
            (fill.client_id.clone(), fill.qty, value)
        });
        let there = sums(rows.collect());
        for (order, sum) in &there {
            if here.get(order) != Some(sum) {
                let here = here.get(order);
                wrong.push(format!(
                    "executions of {order}: {here:?} here, {sum:?} there"
                ));
            }
        }
        for order in here.keys().filter(|order| !there.contains_key(*order)) {
            wrong.push(format!("executions of {order} are here and not there"));
        }
    }

    async fn holdings_differ(&self, truth: &AccountTruth, wrong: &mut Vec<String>) {
        let provider = &self.provider;
        let path = format!("/api/trading/balances?provider={provider}&numbers=string");
        let (_, balances) = self.insist(Method::GET, &path, None).await;
        for real in &truth.balances {
            let rows = balances["balances"].as_array().unwrap().iter();
            let market = real.market.map(|market| match market {
                Segment::Spot => "spot",
                Segment::Linear => "perp",
            });
            // One wallet for all is told without a market.
            let mut own = rows.filter(|row| {
                let is_of = row["market"].is_null() || row["market"] == json!(market);
                row["asset"] == json!(real.asset) && is_of
            });
            let total = own
                .next()
                .map_or(Decimal::ZERO, |row| number(&row["total"]));
            // Exchanges print eight digits.
            if (total - real.total).abs() > Decimal::new(2, 8) {
                wrong.push(format!(
                    "{} {market:?}: {total} here, {} there",
                    real.asset, real.total
                ));
            }
        }
        let path = format!("/api/trading/positions?provider={provider}&numbers=string");
        let (_, positions) = self.insist(Method::GET, &path, None).await;
        let sum: Decimal = positions["positions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| number(&row["quantity"]))
            .sum();
        let real: Decimal = truth.positions.iter().map(|position| position.qty).sum();
        if sum != real {
            wrong.push(format!("positions: {sum} here, {real} there"));
        }
    }
}
