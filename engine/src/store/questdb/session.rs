//! A connection of the PostgreSQL wire on a thread of its own.
//!
//! The client library has no time limit for an answer. So the connection lives on a thread, and who
//! asks waits for that thread with a limit. A server that takes a question and never answers makes
//! an error here; its thread is left alone, and nothing is asked until it has ended: there is never
//! more than one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::types::ToSql;
use postgres::{Client, Config, NoTls, Row, Statement};

use super::super::StoreError;
use super::value::Binds;
use super::{QuestDbOptions, schema};

/// Prepared statements that are kept.
const STATEMENTS: usize = 128;

/// Why a question was not answered.
pub(super) enum Fault {
    Pg(postgres::Error),
    /// A stored value that bookwire can't have written.
    Damaged(&'static str),
    Store(StoreError),
}

impl From<postgres::Error> for Fault {
    fn from(error: postgres::Error) -> Self {
        Self::Pg(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

type Job = Box<dyn FnOnce(&mut Link) + Send>;

struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
    is_abandoned: bool,
}

/// Asks questions, and dials when it has to.
pub(super) struct Session {
    options: Arc<QuestDbOptions>,
    worker: RefCell<Option<Worker>>,
}

impl Session {
    pub(super) fn new(options: Arc<QuestDbOptions>) -> Self {
        Self {
            options,
            worker: RefCell::new(None),
        }
    }

    pub(super) fn options(&self) -> &QuestDbOptions {
        &self.options
    }

    /// Runs `ask` with a connection. It is run again, once, when the connection was an old one and
    /// turns out to be gone.
    pub(super) fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        ask: impl Fn(&mut Link) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = channel();
        let job: Job = Box::new(move |link| {
            let had_client = link.client.is_some();
            let mut result = link.attempt(operation, &ask);
            if had_client && link.client.is_none() && result.is_err() {
                result = link.attempt(operation, &ask);
            }
            // Who asked may have given up.
            let _ = reply.send(result);
        });
        let mut worker = self.worker.borrow_mut();
        if worker.as_ref().is_some_and(|w| w.thread.is_finished()) {
            *worker = None;
        }
        let worker = match &mut *worker {
            Some(worker) if worker.is_abandoned => return Err(self.no_answer()),
            Some(worker) => worker,
            none => none.insert(self.spawn()?),
        };
        if worker.jobs.send(job).is_err() {
            return Err(self.no_answer());
        }
        // The server ends what takes longer than the limit by itself; a dial comes before it.
        match answer.recv_timeout(self.options.request_timeout * 2 + Duration::from_secs(1)) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                worker.is_abandoned = true;
                // Its loop ends with the question that it is stuck in.
                worker.jobs = channel().0;
                Err(self.no_answer())
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.no_answer()),
        }
    }

    fn spawn(&self) -> Result<Worker, StoreError> {
        let (jobs, inbox) = channel();
        let mut link = Link {
            options: Arc::clone(&self.options),
            client: None,
            statements: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("questdb".to_owned())
            .spawn(move || serve(&mut link, &inbox))
            .map_err(|error| StoreError::Server {
                address: self.options.pg.to_string(),
                operation: "start a thread",
                source: Box::new(error),
            })?;
        Ok(Worker {
            jobs,
            thread,
            is_abandoned: false,
        })
    }

    fn no_answer(&self) -> StoreError {
        StoreError::Unreachable {
            address: self.options.pg.to_string(),
            detail: "no answer within the time limit".to_owned(),
        }
    }
}

fn serve(link: &mut Link, inbox: &Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        job(link);
    }
}

/// The connection.
pub(super) struct Link {
    pub(super) options: Arc<QuestDbOptions>,
    client: Option<Client>,
    statements: HashMap<String, Statement>,
}

impl Link {
    fn attempt<T>(
        &mut self,
        operation: &'static str,
        ask: &impl Fn(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let result = self.dial().and_then(|()| ask(self));
        if self.client.as_ref().is_some_and(Client::is_closed) {
            self.client = None;
            self.statements.clear();
        }
        result.map_err(|fault| self.failure(operation, fault))
    }

    fn dial(&mut self) -> Result<(), Fault> {
        if self.client.is_some() {
            return Ok(());
        }
        let options = &self.options;
        let limit = options.request_timeout;
        let mut config = Config::new();
        config
            .host(&options.pg.host)
            .port(options.pg.port)
            .user(&options.user)
            .password(options.password.expose())
            .dbname("qdb")
            .application_name("bookwire")
            .connect_timeout(limit)
            .tcp_user_timeout(limit)
            .options(&format!("-c statement_timeout={}", limit.as_millis()));
        self.client = Some(config.connect(NoTls)?);
        self.statements.clear();
        let ready = schema::ensure(self);
        if ready.is_err() {
            self.client = None;
        }
        ready
    }

    fn client(&mut self) -> Result<&mut Client, Fault> {
        let address = self.options.pg.to_string();
        self.client
            .as_mut()
            .ok_or(Fault::Store(StoreError::Unreachable {
                address,
                detail: "not connected".to_owned(),
            }))
    }

    /// Runs statements that take no values.
    pub(super) fn execute(&mut self, sql: &str) -> Result<(), Fault> {
        Ok(self.client()?.batch_execute(sql)?)
    }

    /// Asks a question.
    pub(super) fn query(&mut self, sql: &str, binds: &Binds) -> Result<Vec<Row>, Fault> {
        let values: Vec<&(dyn ToSql + Sync)> = binds
            .values
            .iter()
            .map(|value| &**value as &(dyn ToSql + Sync))
            .collect();
        if let Some(statement) = self.statements.get(sql).cloned() {
            let client = self.client()?;
            match client.query(&statement, &values) {
                // What a kept statement stands for can have changed: it is prepared once more.
                Err(error) if error.as_db_error().is_some() => self.statements.remove(sql),
                result => return Ok(result?),
            };
        }
        let client = self.client()?;
        let statement = client.prepare_typed(sql, &binds.types)?;
        let rows = client.query(&statement, &values)?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement);
        Ok(rows)
    }

    fn failure(&self, operation: &'static str, fault: Fault) -> StoreError {
        let address = self.options.pg.to_string();
        let error = match fault {
            Fault::Store(error) => return error,
            Fault::Damaged(detail) => {
                return StoreError::ForeignTable {
                    address,
                    table: format!("{}*", self.options.table_prefix),
                    detail: detail.to_owned(),
                };
            }
            Fault::Pg(error) => error,
        };
        let Some(database) = error.as_db_error() else {
            let detail = chain(&error);
            let is_transport =
                std::error::Error::source(&error).is_some_and(|cause| cause.is::<std::io::Error>());
            return match is_transport || error.is_closed() {
                true => StoreError::Unreachable { address, detail },
                false => StoreError::Server {
                    address,
                    operation,
                    source: detail.into(),
                },
            };
        };
        let text = database.message();
        if text.contains("invalid username/password") {
            return StoreError::Denied {
                address,
                detail: text.to_owned(),
            };
        }
        if is_read_only(text) {
            return StoreError::ReadOnly {
                address,
                detail: text.to_owned(),
            };
        }
        StoreError::Server {
            address,
            operation,
            source: text.into(),
        }
    }
}

/// Whether a server says that it takes no rows: over the PostgreSQL wire, over HTTP.
pub(super) fn is_read_only(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("write permission denied") || text.contains("not accepting writes")
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
