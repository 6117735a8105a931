//! Where the configuration comes from, and `bookwire config check`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use bookwire_engine::config::{Config, FileText, LogFormat, Override};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::vault::MasterKey;
use clap::Subcommand;

use super::{Failure, GlobalArgs, log, secrets};
use crate::audit::{self, Audit};
use crate::auth::{Auth, KeyFiles, Started};
use crate::engine;
use crate::net::tls::TlsFiles;
use crate::operator::{self, OperatorKey};
use crate::settings::Settings;

/// Looks at configuration files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Says what is wrong and where; exit code 2 when something is
    Check {
        /// The file; without one the environment alone is checked
        #[arg(env = "BOOKWIRE_CONFIG")]
        file: Option<PathBuf>,
    },
}

/// Runs `bookwire config …`.
pub fn run(global: &GlobalArgs, command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { file } => {
            let config = load(global, file.as_deref())?;
            operator_key(&config)?;
            MasterKey::find(&secrets::master_sources(&config))?;
            engine::questdb(&config).map_err(Failure::Usage)?;
            tls(&config)?;
            Settings::load(config).map_err(Failure::Usage)?;
            match file {
                Some(file) => super::say(&format!("{}: no problem found", file.display())),
                None => super::say("no problem found"),
            }
            Ok(())
        }
    }
}

/// The configuration out of the file, the environment and the options.
pub fn load(global: &GlobalArgs, file: Option<&Path>) -> Result<Config, Failure> {
    let text =
        match file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                Failure::Usage(format!("can't read {}: {error}", path.display()))
            })?),
            None => None,
        };
    let name = file
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let file = text.as_deref().map(|text| FileText { name: &name, text });
    // A variable whose value is not text can't be one of ours.
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(file, env, &overrides(global)).map_err(|errors| Failure::Usage(errors.to_string()))
}

fn overrides(global: &GlobalArgs) -> Vec<Override> {
    let set = |key: &str, flag: &str, value: Option<String>| {
        value.map(|value| Override {
            key: key.to_owned(),
            value,
            flag: flag.to_owned(),
        })
    };
    let data_dir = global
        .data_dir
        .as_ref()
        .map(|dir| dir.display().to_string());
    let format = global.log_format.map(|format| match format {
        super::LogFormat::Text => "text".to_owned(),
        super::LogFormat::Json => "json".to_owned(),
    });
    let level = global.quiet.then(|| "warn".to_owned());
    [
        set("server.listen", "--listen", global.listen.clone()),
        set("server.data_dir", "--data-dir", data_dir),
        set("log.format", "--log-format", format),
        set("log.level", "--quiet", level),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Looks whether the certificate and its key can be used, before anything is started.
pub fn tls(config: &Config) -> Result<(), Failure> {
    if let Some(files) = TlsFiles::configured(config) {
        files.load().map_err(Failure::Usage)?;
    }
    Ok(())
}

/// `http` or `https`, and `ws` or `wss`.
pub fn schemes(config: &Config) -> (&'static str, &'static str) {
    match TlsFiles::configured(config) {
        None => ("http", "ws"),
        Some(_) => ("https", "wss"),
    }
}

/// The operator's key; `None` when there is none.
pub fn operator_key(config: &Config) -> Result<Option<OperatorKey>, Failure> {
    let variable = std::env::var_os(operator::VARIABLE);
    // What is not text is no key, and is refused as such.
    let variable = variable.map(|text| text.to_string_lossy().into_owned());
    OperatorKey::configured(variable.as_deref(), &config.server.admin_key_file)
        .map_err(Failure::Usage)
}

/// Who has keys, and the vault of the exchanges' credentials, both following their files.
pub fn auth(config: &Config) -> Result<Auth, Failure> {
    let auth = Auth::new(config, operator_key(config)?);
    let find_key = audit::finder(secrets::master_sources(config));
    auth.set_audit(Audit::start(config, find_key)?);
    let files = KeyFiles {
        sources: secrets::master_sources(config),
        data_dir: config.server.data_dir.clone(),
    };
    match auth.follow(files)? {
        Started::Open => {}
        Started::NoMasterKey => tracing::info!(
            "live trading is off: there is no master key. The first `bookwire keys create` or \
             `bookwire credentials set` makes one, and it is taken without a restart"
        ),
    }
    Ok(auth)
}

/// Starts logging as configured.
pub fn start_logging(config: &Config) {
    let format = match config.log.format {
        LogFormat::Text => super::LogFormat::Text,
        LogFormat::Json => super::LogFormat::Json,
    };
    log::start(format, &config.log.filter());
}

/// Where a provider's hosts are, for those that are not at their usual address.
pub fn hosts(config: &Config, provider: ProviderId) -> BTreeMap<String, String> {
    config
        .providers
        .get(provider.name())
        .map(|provider| provider.hosts.clone())
        .unwrap_or_default()
}

/// Points the configuration at the hosts of a file that `bookwire sim --endpoints` wrote.
pub fn use_endpoints_file(config: &mut Config, path: &Path) -> Result<(), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("can't read {name}: {error}")))?;
    let endpoints = serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{name} is not JSON: {error}")))?;
    use_endpoints(config, &name, &endpoints)
}

/// Points the configuration at the hosts of an endpoints object.
pub fn use_endpoints(
    config: &mut Config,
    source: &str,
    endpoints: &serde_json::Value,
) -> Result<(), Failure> {
    match config.use_endpoints(source, endpoints) {
        Ok(0) => Err(anyhow!("{source} names no host of a provider").into()),
        Ok(_) => Ok(()),
        Err(errors) => Err(Failure::Usage(errors.to_string())),
    }
}
