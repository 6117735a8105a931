//! `bookwire export`: stored rows to a file, out of the store alone.
//!
//! It only reads: it takes no lock of the data directory, changes no schema and asks no exchange, so
//! it can run beside `bookwire serve` on the same store. Rows that wait in the spool are not in the
//! store yet, and rows that arrive while it runs can be in the file or not.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::store::{
    EmbeddedOptions, EmbeddedReader, QuestDbOptions, Store, StoreError, StoreReader, open_questdb,
};
use bookwire_engine::time::TsNanos;
use clap::Args;
use tempfile::NamedTempFile;

use super::{Failure, GlobalArgs, config, serve, signal};
use crate::engine;
use crate::export::sink::{About, Format, Sink, WITHOUT_PARQUET};
use crate::export::{self, ExportError, Progress, Selection};
use crate::rest::params::{TIME_FORMS, provider_names};
use crate::rest::schema::Schema;

/// How often the progress is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Stored rows to a file.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// What: CryptoTrade, CryptoFunding, CryptoOrderbook, CryptoPair1mKdata, CryptoPerp1hKdata …
    #[arg(long, env = "BOOKWIRE_SCHEMA", value_name = "SCHEMA")]
    pub schema: String,
    /// Source of the data
    #[arg(long, env = "BOOKWIRE_PROVIDER")]
    pub provider: String,
    /// Whose rows: btcusdt, BTC/USDT, btcusdt-perp … [default: everything stored]
    #[arg(
        long,
        env = "BOOKWIRE_CODES",
        value_name = "CODE",
        value_delimiter = ','
    )]
    pub codes: Vec<String>,
    /// Whose rows, by entity id: cryptopair_binance_btcusdt …
    #[arg(
        long,
        env = "BOOKWIRE_ENTITY_IDS",
        value_name = "ID",
        value_delimiter = ','
    )]
    pub entity_ids: Vec<String>,
    /// Earliest row, inclusive: RFC 3339, a date, or epoch s/ms/us/ns [default: the first]
    #[arg(long, env = "BOOKWIRE_START", value_name = "TIME")]
    pub start: Option<String>,
    /// Latest row, inclusive [default: the last]
    #[arg(long, env = "BOOKWIRE_END", value_name = "TIME")]
    pub end: Option<String>,
    /// Form of the file: parquet or csv [default: what the file's name ends with]
    #[arg(long, env = "BOOKWIRE_FORMAT")]
    pub format: Option<String>,
    /// The file; - is stdout
    #[arg(
        long,
        short,
        env = "BOOKWIRE_OUTPUT",
        value_name = "FILE",
        default_value = "-"
    )]
    pub output: PathBuf,
    /// Replaces a file that exists
    #[arg(long, env = "BOOKWIRE_OVERWRITE", value_parser = clap::builder::FalseyValueParser::new())]
    pub overwrite: bool,
    /// Configuration file, which can say where the store is
    #[arg(long, env = "BOOKWIRE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The options, checked.
struct Job {
    schema: Schema,
    provider: ProviderId,
    texts: Vec<String>,
    start: Option<TsNanos>,
    end: Option<TsNanos>,
    format: Format,
    /// `None`: standard output.
    output: Option<PathBuf>,
    overwrite: bool,
    store: Source,
}

/// Runs the command.
pub fn run(global: &GlobalArgs, args: &ExportArgs) -> Result<(), Failure> {
    let job = Job::read(global, args)?;
    let is_shown = !global.quiet && std::io::stderr().is_terminal();
    let (rows, output) = serve::block_on(async move {
        let stop = signal::listen()?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let flag = is_stopped.clone();
        let output = job.output.clone();
        let mut work = tokio::task::spawn_blocking(move || job.run(&flag, is_shown));
        let done = tokio::select! {
            done = &mut work => done,
            () = signal::stopped(stop) => {
                is_stopped.store(true, Ordering::Relaxed);
                work.await
            }
        };
        let rows = done.map_err(anyhow::Error::from)??;
        Ok::<_, Failure>((rows, output))
    })?;
    match output {
        _ if global.quiet => {}
        Some(path) => super::say(&format!("{rows} rows in {}", path.display())),
        // Standard output is the file.
        None => eprintln!("{rows} rows"),
    }
    Ok(())
}

fn wrong(option: &str, value: &str, accepted: &str) -> Failure {
    Failure::Usage(format!(
        "--{option} has the value `{value}`; accepted: {accepted}"
    ))
}

fn time(option: &str, text: Option<&str>) -> Result<Option<TsNanos>, Failure> {
    let read = |text| TsNanos::parse(text).ok_or_else(|| wrong(option, text, TIME_FORMS));
    text.map(read).transpose()
}

impl Job {
    fn read(global: &GlobalArgs, args: &ExportArgs) -> Result<Self, Failure> {
        let schema = export::schemas().find(|schema| schema.name() == args.schema);
        let schema = schema.ok_or_else(|| {
            let names: Vec<String> = export::schemas().map(Schema::name).collect();
            let accepted = format!("one of {} (what is stored)", names.join(", "));
            wrong("schema", &args.schema, &accepted)
        })?;
        let provider = ProviderId::parse(&args.provider)
            .ok_or_else(|| wrong("provider", &args.provider, &provider_names()))?;
        let (start, end) = (
            time("start", args.start.as_deref())?,
            time("end", args.end.as_deref())?,
        );
        if let (Some(from), Some(to)) = (start, end)
            && from > to
        {
            let given = args.start.as_deref().unwrap_or_default();
            return Err(wrong("start", given, "an instant that is not after --end"));
        }
        let output = Some(args.output.clone()).filter(|path| path.as_os_str() != "-");
        let format = format(args.format.as_deref(), output.as_deref())?;
        if format == Format::Parquet && output.is_none() && std::io::stdout().is_terminal() {
            let text = "Parquet is not for terminals: name a file with --output";
            return Err(Failure::Usage(text.to_owned()));
        }
        if let Some(path) = output.as_deref().filter(|_| !args.overwrite)
            && path.exists()
        {
            return Err(exists(path));
        }
        let config = config::load(global, args.config.as_deref())?;
        let store =
            match engine::questdb(&config).map_err(|error| Failure::Failed(anyhow!(error)))? {
                Some(options) => Source::QuestDb(Box::new(options)),
                None => Source::Embedded(config.store_file()),
            };
        Ok(Self {
            schema,
            provider,
            texts: [&args.codes[..], &args.entity_ids[..]].concat(),
            start,
            end,
            format,
            output,
            overwrite: args.overwrite,
            store,
        })
    }

    /// Reads and writes; returns how many rows there were.
    fn run(&self, is_stopped: &AtomicBool, is_shown: bool) -> Result<u64, Failure> {
        let failed = |error: ExportError| Failure::Failed(anyhow::Error::new(error));
        let reader = self.store.reader()?;
        let stored = reader
            .entities_of(self.provider.name())
            .map_err(|error| failed(error.into()))?;
        let entities = export::choose(self.schema, stored, &self.texts).map_err(Failure::Usage)?;
        let total = entities.len();
        let selection = Selection {
            schema: self.schema,
            entities,
            start: self.start,
            end: self.end,
        };
        let mut drawn = Instant::now();
        let mut progress = |at: Progress| {
            if is_stopped.load(Ordering::Relaxed) {
                return Err(ExportError::Interrupted);
            }
            if is_shown && drawn.elapsed() >= DRAW_EVERY {
                drawn = Instant::now();
                let done = at.entities_done;
                eprint!("\r\x1b[2K{} rows, {done} of {total} instruments", at.rows);
            }
            Ok(())
        };
        let mut write = |out: &mut (dyn Write + Send)| {
            let about = About {
                schema: self.schema.name(),
                provider: self.provider.name().to_owned(),
            };
            let columns = export::columns(self.schema);
            let mut sink = Sink::new(self.format, columns, &about, out)?;
            let rows = export::write(
                &*reader,
                self.provider,
                &selection,
                &mut sink,
                &mut progress,
            )?;
            sink.finish()?;
            Ok(rows)
        };
        let rows = match &self.output {
            None => {
                let mut out = std::io::stdout();
                write(&mut out).map_err(failed)
            }
            Some(path) => self.to_file(path, &mut write),
        };
        if is_shown {
            eprint!("\r\x1b[2K");
        }
        rows
    }

    /// Writes beside the file and puts the whole in its place: nobody sees half of it.
    fn to_file(
        &self,
        path: &Path,
        write: &mut dyn FnMut(&mut (dyn Write + Send)) -> Result<u64, ExportError>,
    ) -> Result<u64, Failure> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut file = beside(folder)
            .with_context(|| format!("can't write to the folder `{}`", folder.display()))?;
        let rows = write(file.as_file_mut())
            .with_context(|| format!("`{}` is not there", path.display()))?;
        let named = || format!("can't write `{}`", path.display());
        file.as_file().sync_all().with_context(named)?;
        let placed = if self.overwrite {
            file.persist(path)
        } else {
            file.persist_noclobber(path)
        };
        match placed {
            Ok(_) => Ok(rows),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(exists(path))
            }
            Err(error) => Err(anyhow::Error::new(error.error).context(named()).into()),
        }
    }
}

/// Where the rows are.
#[derive(Debug)]
enum Source {
    Embedded(PathBuf),
    QuestDb(Box<QuestDbOptions>),
}

impl Source {
    fn reader(&self) -> Result<Box<dyn StoreReader>, Failure> {
        let failed = |error: StoreError| Failure::Failed(anyhow::Error::new(error));
        match self {
            Self::Embedded(path) if !path.exists() => Err(anyhow!(
                "there is no store at `{}`: name its directory with --data-dir, or the \
                 configuration with --config",
                path.display()
            )
            .into()),
            Self::Embedded(path) => Ok(Box::new(
                EmbeddedReader::open(EmbeddedOptions::new(path)).map_err(failed)?,
            )),
            Self::QuestDb(options) => open_questdb((**options).clone())
                .and_then(|store| store.reader())
                .map_err(failed),
        }
    }
}

fn beside(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bookwire-export-");
    // Readable for whom the user's mask allows, as any file that a program makes.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

fn exists(path: &Path) -> Failure {
    Failure::Usage(format!(
        "`{}` exists: --overwrite replaces it",
        path.display()
    ))
}

fn format(given: Option<&str>, output: Option<&Path>) -> Result<Format, Failure> {
    let names: Vec<&str> = Format::ALL.map(Format::as_str).to_vec();
    let accepted = names.join(", ");
    let format = match given {
        Some(text) => Format::parse(text).ok_or_else(|| wrong("format", text, &accepted))?,
        None => output
            .and_then(Path::extension)
            .and_then(|end| Format::parse(end.to_str()?))
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "--format is missing, and the name of --output does not end with one; \
                     accepted: {accepted}"
                ))
            })?,
    };
    if format == Format::Parquet && cfg!(not(feature = "parquet")) {
        return Err(wrong(
            "format",
            "parquet",
            &format!("csv; {WITHOUT_PARQUET}"),
        ));
    }
    Ok(format)
}
