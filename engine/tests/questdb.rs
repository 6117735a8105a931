//! The QuestDB store against a real server, which `tests/questdb/run` starts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "questdb/server.rs"]
mod server;

use bookwire_engine::store::suite::{self, Fixture};
use bookwire_engine::store::{Store, open_questdb};

use server::Server;

/// Stores of one server, each with tables of its own.
struct Tables<'s> {
    server: &'s Server,
    stores: usize,
}

impl Tables<'_> {
    fn open(&self) -> Box<dyn Store> {
        let options = self.server.options(&format!("t{}_", self.stores));
        Box::new(open_questdb(options).unwrap())
    }
}

impl Fixture for Tables<'_> {
    fn fresh(&mut self) -> Box<dyn Store> {
        self.stores += 1;
        self.open()
    }

    fn seeds(&self) -> u64 {
        // Each store of the suite has tables to make and statements to compile.
        3
    }

    fn reopen(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        drop(store);
        self.open()
    }
}

#[test]
fn passes_the_suite_of_all_stores() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let mut tables = Tables {
        server: &server,
        stores: 0,
    };
    suite::run(&mut tables);
}
