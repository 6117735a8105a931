//! The server's certificate and key: read, checked, and read anew when their files change.
//!
//! A connection is encrypted with what is in force when it begins, and stays as it is. A new pair is
//! checked as a whole first, for the two files can't change at the same moment: as long as they do not
//! fit, the pair before them stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use bookwire_engine::config::Config;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Pause between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Largest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// What is in force. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

/// Tells one state of the files from another.
type Marks = [Option<(SystemTime, u64)>; 2];

impl TlsFiles {
    /// The configured files; `None`: no TLS.
    #[must_use]
    pub fn configured(config: &Config) -> Option<Self> {
        let server = &config.server;
        if server.tls_certificate_file.as_os_str().is_empty() {
            return None;
        }
        Some(Self {
            certificate: server.tls_certificate_file.clone(),
            key: server.tls_key_file.clone(),
        })
    }

    /// Reads and checks both.
    ///
    /// # Errors
    /// Which key of the configuration, which file, and what is wrong with it.
    pub fn load(&self) -> Result<ServerConfig, String> {
        let certificate = place("tls_certificate_file", &self.certificate);
        let text = read(&certificate, &self.certificate)?;
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|error| format!("{certificate}: {}", told(&error)))?;
        if chain.is_empty() {
            return Err(format!(
                "{certificate}: no certificate in it; accepted: PEM that begins with -----BEGIN CERTIFICATE-----"
            ));
        }
        let key = place("tls_key_file", &self.key);
        let text = read(&key, &self.key)?;
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => format!(
                "{key}: no private key in it; accepted: PEM, PKCS#8, PKCS#1 or SEC1, without a passphrase"
            ),
            error => format!("{key}: {}", told(&error)),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, private);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!(
                    "{key}: the key is not that of the certificate in {}",
                    self.certificate.display()
                )
            }
            rustls::Error::InvalidCertificate(_) => format!("{certificate}: {error}"),
            error => format!("{key}: {error}"),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Says that others than its owner can read the key.
    pub fn warn_if_readable(&self) {
        if super::files::is_readable_for_others(&self.key) {
            let file = self.key.display();
            tracing::warn!(%file, "others can read the private key of the TLS certificate: chmod 600");
        }
    }

    fn marks(&self) -> Marks {
        [&self.certificate, &self.key].map(|path| {
            let data = fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        })
    }
}

fn place(key: &str, path: &Path) -> String {
    format!("server.{key} {}", path.display())
}

/// The file's bytes. Never part of a message.
fn read(place: &str, path: &Path) -> Result<Vec<u8>, String> {
    let data = fs::metadata(path).map_err(|error| format!("{place}: {error}"))?;
    if !data.is_file() || data.len() > FILE_MAX {
        return Err(format!("{place}: no PEM file of at most {FILE_MAX} bytes"));
    }
    fs::read(path).map_err(|error| format!("{place}: {error}"))
}

/// What is wrong with a PEM text, without a word of it.
fn told(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "not valid PEM: a section without its end",
        pem::Error::IllegalSectionStart { .. } => "not valid PEM: the beginning of a section",
        pem::Error::Base64Decode(_) => "not valid PEM: no base64",
        pem::Error::NoItemsFound => "not valid PEM: nothing in it",
        _ => "not valid PEM",
    }
}

impl Tls {
    /// Reads the files, and follows them as long as this is used.
    ///
    /// # Errors
    /// What is wrong with them, or no thread can be started.
    pub fn follow(files: TlsFiles) -> Result<Self, String> {
        let marks = files.marks();
        let first = files.load()?;
        files.warn_if_readable();
        let tls = Self(Arc::new(RwLock::new(Arc::new(first))));
        let weak = Arc::downgrade(&tls.0);
        std::thread::Builder::new()
            .name("tls".to_owned())
            .spawn(move || run(&files, marks, &weak))
            .map_err(|error| {
                format!("can't start the thread that follows the certificate: {error}")
            })?;
        Ok(tls)
    }

    /// What new connections are encrypted with.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

fn run(files: &TlsFiles, mut marks: Marks, weak: &Weak<RwLock<Arc<ServerConfig>>>) {
    loop {
        std::thread::sleep(LOOK);
        let Some(shared) = weak.upgrade() else { return };
        let now = files.marks();
        if now == marks {
            continue;
        }
        marks = now;
        match files.load() {
            Ok(newer) => {
                *shared.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(newer);
                tracing::info!("the TLS certificate was read anew");
                files.warn_if_readable();
            }
            Err(error) => {
                tracing::error!("the TLS certificate stays as it was: {error}");
            }
        }
    }
}
