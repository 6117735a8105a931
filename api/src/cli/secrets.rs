//! Where secrets come from and go to on the command line: the master key, and what a user types, pipes or
//! puts into the environment. Never an argument: those are seen by every user of the machine and kept by
//! the shell.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use bookwire_engine::config::Config;
use bookwire_engine::vault::{MASTER_KEY_VARIABLE, MasterKey, MasterSources, Secret, VaultError};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Failure;

/// Most that is read from standard input.
const INPUT_MAX: usize = 64 << 10;

/// Where the master key may be, by configuration and environment.
pub fn master_sources(config: &Config) -> MasterSources {
    // What is not text is no key, and is refused as such.
    let variable = std::env::var_os(MASTER_KEY_VARIABLE)
        .map(|text| Secret::new(text.to_string_lossy().into_owned()));
    MasterSources {
        variable,
        file: config.keys.master_key_file.clone(),
        credentials_dir: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        data_dir: config.server.data_dir.clone(),
    }
}

/// The master key; made, and told, when there is none.
pub fn master_key(config: &Config) -> Result<MasterKey, VaultError> {
    let (key, is_new) = MasterKey::find_or_make(&master_sources(config))?;
    if is_new {
        eprintln!(
            "made the master key {} (mode 0600): without it nothing that is sealed can be opened, and \
             whoever has it and the data directory has the secrets. Keep a copy elsewhere; \
             keys.master_key_file, {MASTER_KEY_VARIABLE} or a systemd credential put it elsewhere for good.",
            key.origin(),
        );
    }
    Ok(key)
}

/// The parts of an exchange's key.
pub struct Parts {
    /// The exchange's name of the key.
    pub api_key: Secret,
    /// What signs.
    pub secret: Secret,
    /// The third part that some have.
    pub passphrase: Option<Secret>,
}

/// Names of the environment's values.
const VARIABLES: [&str; 3] = [
    "BOOKWIRE_API_KEY",
    "BOOKWIRE_API_SECRET",
    "BOOKWIRE_API_PASSPHRASE",
];

/// What is accepted on standard input, for messages.
const FORMS: &str = "three lines (key, secret, passphrase if there is one; the secret may be a PEM block), \
                     or JSON such as {\"api_key\":…,\"secret\":…,\"passphrase\":…} or the file that the \
                     exchange has given out; or BOOKWIRE_API_KEY, BOOKWIRE_API_SECRET and \
                     BOOKWIRE_API_PASSPHRASE in the environment";

/// The parts, out of the environment, a terminal or a pipe.
pub fn read_parts(has_passphrase: Option<bool>) -> Result<Parts, Failure> {
    let [api_key, secret, passphrase] = VARIABLES.map(|name| {
        std::env::var(name)
            .ok()
            .filter(|text| !text.trim().is_empty())
            .map(Secret::new)
    });
    match (api_key, secret) {
        (Some(api_key), Some(secret)) => {
            return Ok(Parts {
                api_key,
                secret,
                passphrase,
            });
        }
        (None, None) => {}
        _ => {
            let names = VARIABLES[..2].join(" and ");
            return Err(Failure::Usage(format!("{names} go together")));
        }
    }
    if std::io::stdin().is_terminal() {
        return ask(has_passphrase);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(INPUT_MAX + 1));
    std::io::stdin()
        .take(INPUT_MAX as u64 + 1)
        .read_to_end(&mut text)?;
    let text = std::str::from_utf8(&text).ok();
    let text = text.filter(|text| text.len() <= INPUT_MAX && !text.trim().is_empty());
    text.and_then(parse)
        .ok_or_else(|| Failure::Usage(format!("standard input holds no key; accepted: {FORMS}")))
}

/// The parts in a text.
fn parse(text: &str) -> Option<Parts> {
    let text = text.trim();
    if text.starts_with('{') {
        return parse_json(text);
    }
    let (api_key, rest) = text.split_once('\n')?;
    let rest = rest.trim_start();
    let (secret, rest) = match rest.starts_with("-----BEGIN ") {
        true => {
            let end = rest.find("-----END ")?;
            let end = rest[end..].find('\n').map_or(rest.len(), |at| end + at);
            rest.split_at(end)
        }
        false => rest.split_once('\n').unwrap_or((rest, "")),
    };
    let mut more = rest.trim().lines();
    let passphrase = more.next().map(|line| Secret::new(line.trim()));
    more.next().is_none().then(|| Parts {
        api_key: Secret::new(api_key.trim()),
        secret: Secret::new(secret.trim()),
        passphrase,
    })
}

fn parse_json(text: &str) -> Option<Parts> {
    /// A text that is overwritten when it is dropped.
    struct Hidden(Secret);

    impl<'de> Deserialize<'de> for Hidden {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            String::deserialize(from).map(|text| Self(Secret::new(text)))
        }
    }

    // Names under which exchanges and other programs keep them.
    #[derive(Deserialize)]
    struct File {
        #[serde(alias = "apiKey", alias = "key", alias = "name", alias = "id")]
        api_key: Hidden,
        #[serde(
            alias = "privateKey",
            alias = "private_key",
            alias = "apiSecret",
            alias = "api_secret"
        )]
        secret: Hidden,
        #[serde(alias = "password")]
        passphrase: Option<Hidden>,
    }

    let file: File = serde_json::from_str(text).ok()?;
    Some(Parts {
        api_key: file.api_key.0,
        secret: file.secret.0,
        passphrase: file.passphrase.map(|hidden| hidden.0),
    })
}

/// Asks at the terminal; what is secret is not shown.
fn ask(has_passphrase: Option<bool>) -> Result<Parts, Failure> {
    let api_key = line("API key: ", true)?;
    let mut secret = line("secret: ", false)?;
    if secret.starts_with("-----BEGIN ") && !secret.contains("-----END ") {
        let mut whole = Zeroizing::new(String::with_capacity(INPUT_MAX));
        whole.push_str(&secret);
        while !whole.contains("-----END ") && whole.len() < INPUT_MAX / 2 {
            whole.push('\n');
            whole.push_str(&line("", false)?);
        }
        secret = whole;
    }
    let passphrase = match has_passphrase {
        Some(false) => None,
        Some(true) => Some(line("passphrase: ", false)?),
        None => Some(line("passphrase (empty: none): ", false)?),
    };
    Ok(Parts {
        api_key: Secret::new(api_key.as_bytes()),
        secret: Secret::new(secret.as_bytes()),
        passphrase: passphrase
            .filter(|text| !text.is_empty())
            .map(|text| Secret::new(text.as_bytes())),
    })
}

/// A line of the terminal.
fn line(prompt: &str, is_shown: bool) -> Result<Zeroizing<String>, Failure> {
    let mut err = std::io::stderr();
    let _ = write!(err, "{prompt}").and_then(|()| err.flush());
    let _hidden = match is_shown {
        true => None,
        false => Some(Hidden::start()?),
    };
    let mut text = Zeroizing::new(String::with_capacity(INPUT_MAX));
    let read = std::io::stdin()
        .lock()
        .take(INPUT_MAX as u64)
        .read_line(&mut text)?;
    if !is_shown {
        let _ = writeln!(err);
    }
    if read == 0 {
        return Err(Failure::Usage("nothing was typed".to_owned()));
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// While it lives the terminal does not show what is typed.
#[cfg(unix)]
struct Hidden(rustix::termios::Termios);

#[cfg(unix)]
impl Hidden {
    fn start() -> Result<Self, Failure> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)
            .map_err(std::io::Error::from)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        let now = rustix::termios::OptionalActions::Now;
        let _ = rustix::termios::tcsetattr(std::io::stdin(), now, &self.0);
    }
}

#[cfg(not(unix))]
struct Hidden;

#[cfg(not(unix))]
impl Hidden {
    fn start() -> Result<Self, Failure> {
        let what =
            "secrets can't be typed here without being shown: pipe them in, or set the environment";
        Err(Failure::Usage(what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<(String, String, Option<String>)> {
        let own = |secret: &Secret| secret.expose_text().to_owned();
        let parts = parse(text)?;
        let passphrase = parts.passphrase.as_ref().map(own);
        Some((own(&parts.api_key), own(&parts.secret), passphrase))
    }

    #[test]
    fn all_forms_are_read() {
        let found = |a: &str, b: &str, c: Option<&str>| {
            Some((a.to_owned(), b.to_owned(), c.map(str::to_owned)))
        };
        assert_eq!(texts("k\ns\n"), found("k", "s", None));
        assert_eq!(texts("k\r\ns\r\np w\r\n"), found("k", "s", Some("p w")));
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\nBBBB\n-----END PRIVATE KEY-----";
        assert_eq!(texts(&format!("k\n{pem}\n")), found("k", pem, None));
        assert_eq!(texts(&format!("k\n{pem}\np\n")), found("k", pem, Some("p")));
        for json in [
            r#"{"api_key":"k","secret":"s\nt","passphrase":"p"}"#,
            r#" {"apiKey":"k","secret":"s\nt","password":"p"}"#,
            r#"{"name":"k","privateKey":"s\nt","passphrase":"p","more":1}"#,
        ] {
            assert_eq!(texts(json), found("k", "s\nt", Some("p")), "{json}");
        }
        assert_eq!(
            texts(r#"{"id":"k","privateKey":"s"}"#),
            found("k", "s", None)
        );
        for text in [
            "k",
            "k\ns\np\nmore",
            "{}",
            "{\"api_key\":\"k\"}",
            "k\n-----BEGIN X-----\nA",
        ] {
            assert!(texts(text).is_none(), "{text}");
        }
    }
}
