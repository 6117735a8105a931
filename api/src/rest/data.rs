//! `/api/data/…`: entities, bars, trades, funding and books.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::gateway::read::Asked;
use bookwire_actors::history::Rows;
use bookwire_actors::recorder::Recorder;
use bookwire_actors::shard::messages::BookView;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{EXCHANGES, ProviderId};
use bookwire_engine::instrument::Instrument;
use bookwire_engine::store::Series;
use bookwire_engine::time::Level;
use bookwire_engine::wire::OrderbookView;
use serde_json::json;

use super::answer::{Listing, Shape};
use super::entities::{self, Served};
use super::kept::{KeptAnswers, Question};
use super::pages::{self, Outline, Shelf};
use super::params::{self, Params};
use super::schema::Schema;
use super::series::{self, SeriesRequest};
use crate::error::ApiError;
use crate::spec::data as spec;
use crate::zvt::{self, Upstream};

/// Longest time that an answer may take, exchange included.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for a book that nobody has asked for before.
const BOOK_WAIT: Duration = Duration::from_secs(5);

/// Books in one answer.
const BOOKS_MAX: usize = 50;

/// Levels a side of all stored books in one answer: what they need has to fit into memory.
const STORED_LEVELS_MAX: usize = 1_000_000;

/// Trades that are looked through, at least and at most, for those that pass a filter.
const FILTERED_TRADES_MIN: usize = 1000;
const FILTERED_TRADES_MAX: usize = 10_000;

/// Rows in an answer of ZVT's generic form.
const QUERY_DATA_ROWS: usize = 100;

type Answer = Result<HttpResponse, ApiError>;

/// `GET /api/data/providers`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn providers(request: HttpRequest) -> Answer {
    let params = Params::parse(request.query_string(), spec::PROVIDERS.query)?;
    let names: Vec<&str> = EXCHANGES.iter().map(|exchange| exchange.name()).collect();
    let is_flat = params.choice("format", &[("list", true), ("json", false)])?;
    let (lists, error) = match request.app_data::<web::Data<Upstream>>() {
        Some(upstream) => upstream.lists().await,
        None => Default::default(),
    };
    if is_flat == Some(true) {
        let theirs = lists.all.iter().map(String::as_str);
        let theirs = theirs.filter(|name| !names.contains(name));
        let all: Vec<&str> = names.iter().copied().chain(theirs).collect();
        return Ok(HttpResponse::Ok().json(all));
    }
    let mut answer = json!({
        "stock": lists.of("stock"),
        "crypto": names,
        "index": lists.of("index"),
        "etf": lists.of("etf"),
    });
    if let Some(error) = error {
        answer["warnings"] = json!([format!("{}: {}", error.code.as_str(), error.message)]);
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /api/data/schemas`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn schemas(request: HttpRequest) -> Answer {
    if let Some(upstream) = zvt::owner_of(&request) {
        return upstream.forward(&request, None).await;
    }
    let params = Params::parse(request.query_string(), spec::SCHEMAS.query)?;
    let is_flat = params.choice("format", &[("list", true), ("json", false)])?;
    let [entity, kdata, tick] = match params.provider()? {
        Some(provider) => entities::offered(provider),
        None => ProviderId::all().map(entities::offered).fold(
            [Vec::new(), Vec::new(), Vec::new()],
            |mut all, lists| {
                for (all, list) in all.iter_mut().zip(lists) {
                    let new: Vec<String> = list
                        .into_iter()
                        .filter(|name| !all.contains(name))
                        .collect();
                    all.extend(new);
                }
                all
            },
        ),
    };
    Ok(HttpResponse::Ok().json(if is_flat == Some(true) {
        json!([entity, kdata, tick].concat())
    } else {
        json!({"entity_schemas": entity, "kdata_schemas": kdata, "tick_schemas": tick})
    }))
}

/// `GET /api/data/{Schema}`.
///
/// # Errors
/// An unknown schema, a parameter that is wrong, or what the engine answers.
pub async fn rows(
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    if let Some(upstream) = zvt::owner_of(&request) {
        return upstream.forward(&request, None).await;
    }
    let schema = Schema::of_path(&path)?;
    let params = Params::parse(request.query_string(), &spec::parameters(schema))?;
    let shape = Shape::read(&params)?;
    answer(&request, &gateway, schema, &params, shape).await
}

/// `GET /api/data/query_data`: up to 100 rows of any schema as a bare list.
///
/// # Errors
/// As [`rows`].
pub async fn query_data(request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    if let Some(upstream) = zvt::owner_of(&request) {
        return upstream.forward(&request, None).await;
    }
    let query = request.query_string();
    // The schema decides which other parameters there are, so it is read first, by itself.
    let params = Params::parse(query, &spec::any_parameters())?;
    let all: Vec<String> = Schema::all().map(Schema::name).collect();
    let name = params
        .text("schema")?
        .ok_or_else(|| params::missing("schema", &format!("one of {}", all.join(", "))))?;
    let schema = Schema::of_parameter(name)?;
    let known = [spec::parameters(schema), vec![spec::SCHEMA]].concat();
    let params = Params::parse(query, &known)?;
    params.provider_required()?;
    let mut shape = Shape::read(&params)?;
    shape.limit = shape.limit.min(QUERY_DATA_ROWS);
    shape.is_bare = true;
    answer(&request, &gateway, schema, &params, shape).await
}

/// What answers are made with.
struct Serving<'a> {
    gateway: &'a Gateway,
    kept: Option<&'a KeptAnswers>,
}

async fn answer(
    request: &HttpRequest,
    gateway: &Gateway,
    schema: Schema,
    params: &Params,
    shape: Shape,
) -> Answer {
    let kept = request.app_data::<web::Data<KeptAnswers>>();
    let server = Serving {
        gateway,
        kept: kept.map(|kept| &***kept),
    };
    match list(&server, schema, params, shape).await? {
        Reply::Whole(listing) => Ok(listing.respond()),
        Reply::Pages(outline) => {
            let shelf = request.app_data::<web::Data<Shelf>>();
            let shelf = shelf.map_or_else(Arc::default, |shelf| Arc::clone(shelf));
            Ok(pages::respond(request, gateway, &shelf, outline).await?)
        }
    }
}

async fn list(
    server: &Serving<'_>,
    schema: Schema,
    params: &Params,
    shape: Shape,
) -> Result<Reply, CryptoError> {
    let gateway = server.gateway;
    prepare(gateway, schema, params).await?;
    let table = gateway.instruments();
    let served = Served(gateway.markets().collect());
    match schema {
        Schema::Asset => entities::assets(&table, &served, params, &shape).map(Reply::Whole),
        Schema::Instruments(market) => {
            entities::instruments((&table, &served), market, params, &shape).map(Reply::Whole)
        }
        Schema::Orderbook => {
            let depth = params.integer("depth")?.unwrap_or(20) as usize;
            let series = SeriesRequest::read(schema, (&table, &served), params, &shape)?;
            let books = in_time(books(gateway, series, depth, &shape));
            books.await.map(Reply::Whole)
        }
        Schema::Klines(..) | Schema::Trades | Schema::Funding => {
            let request = SeriesRequest::read(schema, (&table, &served), params, &shape)?;
            series::check_columns(schema, &shape)?;
            in_time(stored(server, schema, request, shape)).await
        }
    }
}

/// Has the instruments of a venue behind a bridge loaded, when the request is about one: named by
/// `exchange`, or by the entity ids.
async fn prepare(gateway: &Gateway, schema: Schema, params: &Params) -> Result<(), CryptoError> {
    let Some(provider) = params.provider()? else {
        return Ok(());
    };
    if provider.exchange().bridge().is_none() {
        return Ok(());
    }
    let ids = params.list("entity_ids")?;
    let mut venues: Vec<&str> = match params.text("exchange")? {
        Some(venue) => vec![venue],
        None => ids.iter().filter_map(|id| id.split('_').nth(1)).collect(),
    };
    venues.sort_unstable();
    venues.dedup();
    let is_list = matches!(schema, Schema::Asset | Schema::Instruments(_));
    if venues.is_empty() && is_list && !gateway.venues(provider).is_empty() {
        return Ok(());
    }
    if venues.is_empty() {
        // Says what is missing.
        return gateway.prepare(provider, None).await;
    }
    for venue in venues {
        in_time(gateway.prepare(provider, Some(venue))).await?;
    }
    Ok(())
}

/// What a request is answered with.
enum Reply {
    Whole(Listing),
    /// Too long for that.
    Pages(Outline),
}

/// Rows out of the store, after what it lacks has been fetched. Only for requests that name their
/// instruments: a look at everything stored must not set off thousands of fetches.
async fn stored(
    server: &Serving<'_>,
    schema: Schema,
    request: SeriesRequest,
    shape: Shape,
) -> Result<Reply, CryptoError> {
    let gateway = server.gateway;
    let asked = |series| Asked {
        provider: request.provider.name().to_owned(),
        entity_ids: request.entity_ids(),
        series,
        window: request.window,
        is_fetched: request.is_named,
    };
    match schema {
        Schema::Klines(_, level) => bars(server, level, request, shape).await.map(Reply::Whole),
        Schema::Trades => {
            let (mut asked, query) = (asked(Series::Trades), request.trade_query());
            if request.is_filtered() {
                asked.window.limit = filtered_from(asked.window.limit);
            }
            let read = query.clone();
            let answer = gateway.answer(
                asked,
                move |reader| reader.trades(&read),
                move |_, rows| {
                    let (request, rows) = told(request, rows);
                    match Outline::of(&query, &shape, &rows, &request.warnings) {
                        Some(outline) => Ok(Reply::Pages(outline)),
                        None => series::trades(&request, &rows, &shape).map(Reply::Whole),
                    }
                },
            );
            answer.await
        }
        Schema::Funding => {
            let (asked, query) = (asked(Series::Funding), request.funding_query());
            let answer = gateway.answer(
                asked,
                move |reader| reader.funding(&query),
                move |_, rows| {
                    let (request, rows) = told(request, rows);
                    series::funding(&request, &rows, &shape).map(Reply::Whole)
                },
            );
            answer.await
        }
        Schema::Asset | Schema::Instruments(_) | Schema::Orderbook => Err(CryptoError::new(
            CryptoCode::Unsupported,
            format!("{} is not stored", schema.name()),
        )),
    }
}

/// The latest so many trades are looked through for some that pass a filter: the exchange has no filter, and how
/// many pass is known only when they are here.
fn filtered_from(limit: usize) -> usize {
    limit
        .saturating_mul(2)
        .clamp(FILTERED_TRADES_MIN, FILTERED_TRADES_MAX.max(limit))
}

/// Closed bars; an answer that was given before is given again while it is right.
async fn bars(
    server: &Serving<'_>,
    level: Level,
    request: SeriesRequest,
    shape: Shape,
) -> Result<Listing, CryptoError> {
    let gateway = server.gateway;
    let changes = gateway.recorder().and_then(Recorder::changes);
    let kept = server.kept.filter(|kept| kept.is_on() && request.is_named);
    let question = kept.zip(changes).map(|(kept, changes)| {
        let question = Question::of(&request, level, &shape, gateway.settled(level));
        (kept, changes, question)
    });
    let mut mark = 0;
    if let Some((kept, changes, question)) = &question {
        if let Some(listing) = kept.get(question, changes) {
            return Ok(listing);
        }
        // Before the store is read.
        mark = changes.mark();
    }
    let query = request.kline_query(level);
    let asked = Asked {
        provider: query.provider.clone(),
        entity_ids: query.entity_ids.clone(),
        series: Series::Klines(level),
        window: query.window,
        is_fetched: request.is_named,
    };
    let depends = question.as_ref().map(|(_, _, question)| question.clone());
    let answer = gateway.answer(
        asked,
        move |reader| reader.klines(&query),
        move |reader, rows| {
            let (request, rows) = told(request, rows);
            let bars = depends.map(|question| question.bars(&rows));
            let listing = series::klines(reader, &request, level, rows, &shape)?;
            Ok((listing, bars))
        },
    );
    let (listing, bars) = answer.await?;
    if let (Some((kept, _, question)), Some(bars)) = (question, bars) {
        kept.put(question, &listing, bars, mark);
    }
    Ok(listing)
}

/// The rows; that they may not be all of them is told in a warning.
fn told<T>(mut request: SeriesRequest, rows: Rows<T>) -> (SeriesRequest, Vec<T>) {
    if let Some(error) = rows.incomplete {
        request
            .warnings
            .push(format!("{}: {}", error.code.as_str(), error.message));
    }
    (request, rows.rows)
}

/// Books as they were recorded.
async fn stored_books(
    gateway: &Gateway,
    request: SeriesRequest,
    depth: usize,
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    if shape.limit.saturating_mul(depth) > STORED_LEVELS_MAX {
        return Err(CryptoError::invalid_parameter(
            "depth",
            &format!("{depth} with limit={}", shape.limit),
            format!("depth times limit up to {STORED_LEVELS_MAX}"),
        ));
    }
    let query = request.book_query(depth);
    let shape = shape.clone();
    let answer = gateway.query_store(move |reader| {
        let rows = reader.books(&query)?;
        Ok(series::books(&request, &rows, &shape))
    });
    answer.await?
}

/// Live books.
async fn books(
    gateway: &Gateway,
    request: SeriesRequest,
    depth: usize,
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let columns = shape.columns::<OrderbookView<'_>>()?;
    if request.window.start.is_some() || request.window.end.is_some() {
        return stored_books(gateway, request, depth, shape).await;
    }
    if !request.is_named {
        return Err(params::missing("codes", "symbols separated by commas"));
    }
    if request.instruments.len() > BOOKS_MAX {
        return Err(CryptoError::invalid_parameter(
            "codes",
            &format!("{} symbols", request.instruments.len()),
            format!("at most {BOOKS_MAX} symbols"),
        ));
    }
    let asked = request
        .instruments
        .iter()
        .take(shape.limit)
        .map(|instrument| async {
            (
                Arc::clone(instrument),
                gateway.order_book(instrument.id, depth, BOOK_WAIT).await,
            )
        });
    let mut warnings = request.warnings.clone();
    let mut failure = None;
    let mut found: Vec<(Arc<Instrument>, BookView)> = Vec::new();
    for (instrument, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(book) => found.push((instrument, book)),
            Err(error) => {
                let symbol = instrument.stream_symbol();
                warnings.push(format!(
                    "{symbol}: {}: {}",
                    error.code.as_str(),
                    error.message
                ));
                failure.get_or_insert(error);
            }
        }
    }
    if let (true, Some(error)) = (found.is_empty(), failure) {
        return Err(error);
    }
    Ok(Listing::encode(
        shape,
        &columns,
        &found,
        |(instrument, book)| OrderbookView {
            instrument,
            price_scale: book.instrument.price_scale,
            qty_scale: book.instrument.qty_scale,
            bids: &book.bids,
            asks: &book.asks,
            sequence: book.seq,
            ts: book.ts_event,
        },
        warnings,
    ))
}

/// Bounds the time of an answer.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, CryptoError>>,
) -> Result<T, CryptoError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(CryptoError::new(
            CryptoCode::ProviderUnavailable,
            format!("no answer within {} s", PATIENCE.as_secs()),
        )
        .with("timeout_seconds", PATIENCE.as_secs())
        .suggest("ask for a shorter range or fewer symbols, or retry later")),
    }
}
