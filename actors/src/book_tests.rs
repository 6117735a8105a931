//! Where the book of an exchange begins whose streams may or may not send images.

use std::cell::Cell;

use bookwire_engine::exchange::{Decoder, ProviderId};
use bookwire_engine::instrument::{InstrumentSpec, InstrumentTable, Market};
use bookwire_engine::time::TsNanos;

use super::*;
use crate::clock::SystemClock;
use crate::options::GatewayOptions;
use crate::state::ReadAt;
use crate::testkit;

const ID: InstrumentId = InstrumentId(0);

/// A shard with one instrument of OKX and a decoder of its frames. No exchange can be reached: what
/// is fetched fails.
struct Bench {
    state: Rc<RefCell<ShardState>>,
    decoder: Rc<RefCell<Box<dyn Decoder>>>,
    clock: Arc<dyn Clock>,
    renewals: Rc<Cell<u32>>,
}

impl Bench {
    fn new() -> Self {
        let base = testkit::row(&testkit::table(Market::Spot), 0);
        let spec = InstrumentSpec {
            provider: ProviderId::OKX,
            exchange: "okx".to_owned(),
            native_symbol: "BTC-USDT".to_owned(),
            ..base.spec.clone()
        };
        let table = InstrumentTable::default();
        let table = Arc::new(table.with_market(ProviderId::OKX, Market::Spot, vec![spec]));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut state = ShardState::new(Arc::clone(&clock), Arc::default(), None);
        state.set_table(Arc::clone(&table));
        state.open_book(ID).unwrap();
        let decoder = ProviderId::OKX.exchange().decoder(Market::Spot, table);
        Self {
            state: Rc::new(RefCell::new(state)),
            decoder: Rc::new(RefCell::new(decoder)),
            clock,
            renewals: Rc::default(),
        }
    }

    fn join(&self) {
        let now = self.clock.monotonic();
        let mut state = self.state.borrow_mut();
        state.on_stream_up(ID, bookwire_engine::exchange::Feed::Book, now);
    }

    /// A setup whose renewal joins the stream again; with `sends_images` its image comes.
    fn setup(&self, sends_images: bool) -> BookSetup {
        let (state, decoder) = (self.state.clone(), self.decoder.clone());
        let (clock, renewals) = (self.clock.clone(), self.renewals.clone());
        let renew = move |_| {
            renewals.set(renewals.get() + 1);
            let now = clock.monotonic();
            let mut state = state.borrow_mut();
            state.on_stream_up(ID, bookwire_engine::exchange::Feed::Book, now);
            if sends_images {
                image(&mut state, &mut **decoder.borrow_mut(), &*clock);
            }
        };
        let options = GatewayOptions::default();
        let runtime = tokio::runtime::Handle::current();
        BookSetup {
            instrument: ID,
            state: self.state.clone(),
            clock: self.clock.clone(),
            rest: RestClient::new(&options, &[], runtime, self.clock.clone()).unwrap(),
            permits: Arc::new(Semaphore::new(1)),
            depth: 100,
            renew: Rc::new(renew),
        }
    }

    fn image(&self) {
        let mut state = self.state.borrow_mut();
        image(&mut state, &mut **self.decoder.borrow_mut(), &*self.clock);
    }

    fn is_whole(&self) -> bool {
        self.state.borrow().book_view(ID, 1).is_some()
    }
}

fn image(state: &mut ShardState, decoder: &mut dyn Decoder, clock: &dyn Clock) {
    let frame = br#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[
        {"asks":[["101","1","0","1"]],"bids":[["100","1","0","1"]],"ts":"1700000000000",
         "checksum":0,"seqId":10,"prevSeqId":-1}]}"#;
    let at = ReadAt {
        wall: TsNanos(1),
        monotonic: clock.monotonic(),
    };
    state
        .on_frame(decoder, frame, at, &mut Vec::new())
        .expect("an image");
}

#[tokio::test]
async fn a_lost_book_of_a_stream_with_images_gets_another_image() {
    let bench = Bench::new();
    bench.join();
    bench.image();
    assert!(bench.is_whole());
    assert!(bench.state.borrow_mut().desync(ID, DesyncReason::Requested));
    assert!(!bench.is_whole());
    let work = synchronise(bench.setup(true));
    let ended = tokio::time::timeout(Duration::from_secs(10), work).await;
    assert!(ended.is_ok() && bench.is_whole());
    assert_eq!(bench.renewals.get(), 1, "nothing was fetched and joined");
}

#[tokio::test]
async fn a_stream_that_never_sent_an_image_is_not_asked_for_one() {
    let bench = Bench::new();
    bench.join();
    // As if the wait for its image were over.
    let work = tokio::time::timeout(Duration::from_secs(5), synchronise(bench.setup(false)));
    assert!(work.await.is_err(), "it goes on fetching");
    assert_eq!(bench.renewals.get(), 0);
}
