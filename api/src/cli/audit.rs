//! `bookwire audit …`, and entries for what is done on the command line.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use bookwire_engine::audit::{AUDIT_FOLDER, AuditLog, Entry, Outcome, Report, Sealer, verify};
use bookwire_engine::config::Config;
use bookwire_engine::time::TsNanos;
use bookwire_engine::vault::MasterKey;
use clap::Subcommand;
use serde_json::{Map, Value};

use super::keys::Place;
use super::{Failure, GlobalArgs, secrets};
use crate::audit as log;
use crate::error::wall_clock;

/// Looks at the log of who commanded what.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Looks for entries that were changed, moved, taken out or cut off; exit code 1 when there is one
    Verify {
        /// Folder of the log [default: audit in the data directory]
        dir: Option<PathBuf>,
        /// Older files have been taken elsewhere
        #[arg(long, env = "BOOKWIRE_AUDIT_PARTIAL")]
        partial: bool,
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
    /// Prints entries as they are, one JSON object a line
    Show {
        /// Folder of the log [default: audit in the data directory]
        dir: Option<PathBuf>,
        /// Only what this key did
        #[arg(long, env = "BOOKWIRE_AUDIT_WHO", value_name = "KEY")]
        who: Option<String>,
        /// Only this action, or all that begin so: order.place, order
        #[arg(long, env = "BOOKWIRE_AUDIT_ACTION", value_name = "ACTION")]
        action: Option<String>,
        /// Only from this time on
        #[arg(long, env = "BOOKWIRE_AUDIT_SINCE", value_name = "TIME")]
        since: Option<String>,
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
}

/// Runs `bookwire audit …`.
pub fn run(global: &GlobalArgs, command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify {
            dir,
            partial,
            place,
        } => {
            let config = place.load(global)?;
            let folder = folder(&config, dir.as_deref())?;
            let report = verify(&folder, &sealer(&config)?, *partial);
            tell(&folder, &report.map_err(anyhow::Error::from)?)
        }
        AuditCommand::Show {
            dir,
            who,
            action,
            since,
            place,
        } => {
            let config = place.load(global)?;
            let folder = folder(&config, dir.as_deref())?;
            let since = match since {
                None => None,
                Some(text) => Some(TsNanos::parse(text).ok_or_else(|| {
                    Failure::Usage(format!("--since {text:?}; accepted: a time or a date"))
                })?),
            };
            let is_wanted = |entry: &Value| {
                let is = |name: &str, wanted: &Option<String>| {
                    let told = entry[name].as_str().unwrap_or_default();
                    wanted.as_deref().is_none_or(|wanted| {
                        let rest = told.strip_prefix(wanted);
                        rest.is_some_and(|rest| {
                            rest.is_empty() || name == "action" && rest.starts_with('.')
                        })
                    })
                };
                let at = entry["at"].as_str().and_then(TsNanos::parse);
                is("who", who)
                    && is("action", action)
                    && since.is_none_or(|since| at >= Some(since))
            };
            show(&folder, is_wanted)
        }
    }
}

fn folder(config: &Config, dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let folder = dir.map_or_else(|| log::folder(config), Path::to_owned);
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(anyhow!("there is no audit log in {}", folder.display()).into()),
    }
}

fn sealer(config: &Config) -> Result<Sealer, Failure> {
    Ok(match MasterKey::find(&secrets::master_sources(config))? {
        Some(master) => Sealer::keyed(&master)?,
        None => Sealer::plain(),
    })
}

fn tell(folder: &Path, report: &Report) -> Result<(), Failure> {
    for note in &report.notes {
        super::say(&format!("note: {note}"));
    }
    if let Some(broken) = &report.broken {
        let file = folder.join(&broken.file);
        let place = match broken.line {
            0 => file.display().to_string(),
            line => format!("{}:{line}", file.display()),
        };
        return Err(anyhow!("{place}: {}", broken.why).into());
    }
    super::say(&format!(
        "{} entries in {} files are as they were written, {} of them sealed with the master key",
        report.entries, report.files, report.keyed
    ));
    if report.keyed < report.entries {
        super::say(
            "note: entries without a master key could have been written anew by whoever can write to \
             the folder",
        );
    }
    Ok(())
}

/// Prints the entries that are wanted; what is no entry is left to `verify`.
fn show(folder: &Path, is_wanted: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    for path in files {
        for line in BufReader::new(std::fs::File::open(&path)?).split(b'\n') {
            let line = line?;
            let Ok(entry) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            if entry.is_object() && is_wanted(&entry) {
                // Ours are ASCII; somebody else's may hold what a terminal obeys.
                let text = String::from_utf8_lossy(&line);
                super::say(&text.replace(|c: char| !matches!(c, ' '..='~'), "?"));
            }
        }
    }
    Ok(())
}

/// Records what was done here.
///
/// # Errors
/// It can't be recorded, and `audit.required` is set; otherwise that is told.
pub fn record(config: &Config, action: &str, details: Value) -> Result<(), Failure> {
    if !config.audit.enabled {
        return Ok(());
    }
    let Err(error) = add(config, action, details) else {
        return Ok(());
    };
    let what = format!("done, but not recorded in the audit log: {error}");
    match config.audit.required {
        true => Err(anyhow!(what).into()),
        false => {
            eprintln!("bookwire: {what}");
            Ok(())
        }
    }
}

/// Another master key is in force: the log so far stays as it is, in a folder of its own, and what is done
/// from now on is sealed with the new one. Its name, where there was a log.
///
/// # Errors
/// The system refuses.
pub fn put_aside(config: &Config, old: &MasterKey) -> Result<Option<PathBuf>, Failure> {
    let folder = log::folder(config);
    let aside = folder.with_file_name(format!("{AUDIT_FOLDER}.{}", old.id()));
    if folder.is_dir() && !aside.exists() {
        std::fs::rename(&folder, &aside)?;
    }
    Ok(aside.is_dir().then_some(aside))
}

/// Records something under a master key that is not in its place yet.
///
/// # Errors
/// It can't be recorded.
pub fn record_under(
    config: &Config,
    master: &MasterKey,
    action: &str,
    details: Value,
) -> Result<(), Failure> {
    if !config.audit.enabled {
        return Ok(());
    }
    let added = add_sealed(config, Sealer::keyed(master)?, action, details);
    added.map_err(|error| anyhow!("not recorded in the audit log: {error}").into())
}

fn add(config: &Config, action: &str, details: Value) -> Result<(), String> {
    let sealer = sealer(config).map_err(|error| error.to_string())?;
    add_sealed(config, sealer, action, details)
}

fn add_sealed(config: &Config, sealer: Sealer, action: &str, details: Value) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let now = wall_clock();
    let folder = log::folder(config);
    let size = config.audit.file_bytes_max;
    let opened = AuditLog::open(&folder, sealer, size, now, || None);
    let (mut log, opened) = opened.map_err(|error| text(&error))?;
    if opened.is_damaged || opened.missing.is_some() {
        eprintln!("bookwire: the audit log is damaged: `bookwire audit verify` says where");
    }
    let details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let entry = Entry {
        who: format!("user:{}", user.unwrap_or_else(|| "unknown".to_owned())),
        via: "cli",
        outcome: Outcome::Done,
        ..Entry::own(now, action, details)
    };
    log.append(&[entry]).map_err(|error| text(&error))?;
    log.sync().map_err(|error| text(&error))
}
