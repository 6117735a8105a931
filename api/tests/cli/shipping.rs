//! What is delivered beside the program: its image and composition, the unit, alerts, dashboard and
//! runbook. All of it names things of the program, and the program itself says whether they exist.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bookwire_engine::error::CryptoCode;
use yaml_rust2::{Yaml, YamlLoader};

use super::{bookwire, exit_code, providers_off, text, write};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(path)).unwrap();
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

/// Names and values that a text sets in the environment: `NAME=value` or `NAME: value`.
fn variables(path: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in read(path)
        .lines()
        .filter(|line| !line.trim().starts_with('#'))
    {
        let Some(at) = line.find("BOOKWIRE_") else {
            continue;
        };
        let end = line[at..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or_else(|| panic!("{path}: {line}"));
        let (name, rest) = line[at..].split_at(end);
        let value = rest[1..].trim().trim_end_matches('\\').trim();
        // `${NAME:-default}` as compose reads it, with nothing set.
        let value = match value.strip_prefix("${") {
            Some(inside) => inside
                .trim_end_matches('}')
                .split_once(":-")
                .map_or("", |(_, default)| default),
            None => value.trim_matches('"'),
        };
        found.push((name.to_owned(), value.to_owned()));
    }
    assert!(!found.is_empty(), "{path} sets nothing");
    found
}

#[test]
fn every_variable_that_is_set_exists() {
    // Secrets are no part of the configuration: their names are held to the code's here.
    let secrets = [
        "BOOKWIRE_ADMIN_KEY",
        "BOOKWIRE_MASTER_KEY",
        "BOOKWIRE_QUESTDB_PASSWORD",
    ];
    assert!(secrets.contains(&bookwire_engine::vault::MASTER_KEY_VARIABLE));
    assert!(secrets.contains(&bookwire_api::operator::VARIABLE));
    for path in [
        "Dockerfile",
        "compose.yaml",
        "config/systemd/bookwire.service",
    ] {
        let set = variables(path);
        for (name, _) in &set {
            // Of another form the configuration would not look at it, and not complain.
            let is_known = name.contains("__") || secrets.contains(&name.as_str());
            assert!(is_known, "{path}: {name} is no key of the configuration");
        }
        let output = bookwire()
            .args(["config", "check"])
            .envs(set)
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{path}: {said}");
    }
}

#[test]
fn the_composition_is_closed_to_the_network_and_names_files_that_exist() {
    let compose = yaml("compose.yaml");
    let services = compose["services"].as_hash().unwrap();
    assert!(services.len() >= 4);
    for (name, service) in services {
        for port in service["ports"].as_vec().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name:?}: {port}");
        }
        for volume in service["volumes"].as_vec().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            let exists = match from.strip_prefix("./") {
                Some(path) => root().join(path).exists(),
                None => !compose["volumes"][from].is_badvalue(),
            };
            assert!(exists, "{name:?}: {from}");
        }
        if let Some(image) = service["image"].as_str() {
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
            assert!(!matches!(tag, "" | "latest"), "{image} is not pinned");
        }
    }
    // The server that the tests run against.
    let tested = read("tests/questdb/run");
    let tested = tested
        .lines()
        .find_map(|line| line.strip_prefix("version="))
        .unwrap();
    let image = compose["services"]["questdb"]["image"].as_str().unwrap();
    assert_eq!(image, format!("questdb/questdb:{tested}"));
    let dockerfile = read("Dockerfile");
    let user = dockerfile.lines().find_map(|l| l.strip_prefix("USER "));
    let (uid, gid) = user.unwrap().split_once(':').unwrap();
    for made in [
        format!("groupadd --gid {gid} bookwire "),
        format!("useradd --uid {uid} --gid {gid} "),
    ] {
        assert!(dockerfile.contains(&made), "{made}");
    }
    for line in dockerfile.lines() {
        if let Some(rest) = line.strip_prefix("COPY ")
            && !rest.contains("--from")
        {
            let from = rest
                .split(' ')
                .find(|word| !word.starts_with("--"))
                .unwrap();
            assert!(root().join(from).exists(), "{line}");
        }
    }
    for path in [
        "config/grafana/provisioning/datasources/prometheus.yaml",
        "config/grafana/provisioning/dashboards/bookwire.yaml",
    ] {
        assert_eq!(yaml(path)["apiVersion"].as_i64(), Some(1), "{path}");
    }
}

/// Values of a unit's key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_unit_gives_up_on_a_wrong_configuration_and_its_commands_run_as_the_service() {
    let unit = read("config/systemd/bookwire.service");
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "config.toml", "nonsense = 1\n");
    let output = bookwire()
        .args(["serve", "--config", &config])
        .output()
        .unwrap();
    let code = output.status.code().unwrap().to_string();
    assert_eq!(values(&unit, "RestartPreventExitStatus"), [code]);
    // What the command at its head gives a process besides is what the unit gives the service: as another
    // user, or with another key, it would write what the service can't read.
    let head: String = unit.lines().take_while(|l| l.starts_with('#')).collect();
    for key in [
        "DynamicUser",
        "User",
        "StateDirectory",
        "StateDirectoryMode",
        "UMask",
        "LoadCredential",
    ] {
        for value in values(&unit, key) {
            assert!(
                head.contains(&format!(" -p {key}={value} ")),
                "{key}={value}"
            );
        }
    }
    let folder = "BOOKWIRE_SERVER__DATA_DIR=";
    let folder = unit.split(folder).nth(1).unwrap().lines().next().unwrap();
    assert!(head.contains(&format!("-E BOOKWIRE_DATA_DIR={folder} ")));
}

/// Names of metrics in an expression of Prometheus'.
fn names(expression: &str, into: &mut BTreeSet<String>) {
    for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("bookwire_") || word.starts_with("process_") {
            into.insert(word.to_owned());
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

struct Running {
    child: Child,
    address: String,
}

fn serve(dir: &Path) -> Running {
    let config = write(dir, "config.toml", &providers_off(None));
    let mut child = bookwire()
        .args(["serve", "--listen", "127.0.0.1:0", "--config", &config])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_else(|| panic!("{line:?}"))
        .to_owned();
    Running { child, address }
}

#[cfg(unix)]
#[test]
fn metrics_that_are_watched_exist_and_the_probe_tells_ready_from_alive() {
    let mut wanted = BTreeSet::new();
    let alerts = yaml("config/prometheus/alerts.yml");
    let runbook = read("docs/runbook.md");
    for group in alerts["groups"].as_vec().unwrap() {
        for rule in group["rules"].as_vec().unwrap() {
            names(rule["expr"].as_str().unwrap(), &mut wanted);
            let alert = rule["alert"].as_str().unwrap();
            assert!(runbook.contains(alert), "the runbook lacks {alert}");
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("config/grafana/dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            names(target["expr"].as_str().unwrap(), &mut wanted);
        }
    }
    // Names in the runbook's code spans too.
    for span in runbook.split('`').skip(1).step_by(2) {
        names(span, &mut wanted);
    }
    // Crates, whose log levels it tells how to change.
    for name in ["bookwire_actors", "bookwire_api", "bookwire_engine"] {
        wanted.remove(name);
    }
    assert!(wanted.len() > 30, "{wanted:?}");

    let dir = tempfile::tempdir().unwrap();
    let running = serve(dir.path());
    let told = get(&running.address, "/metrics");
    let mut known: BTreeSet<String> = told
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    // Figures of accounts, of which there are none while all providers are off.
    for family in told.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        match family.split_once(' ') {
            Some((name, "histogram")) => known.insert(format!("{name}_bucket")),
            Some((name, _)) => known.insert(name.to_owned()),
            None => panic!("{family}"),
        };
    }
    // Where the kernel does not tell the memory of a process there is no such metric.
    wanted.retain(|name| cfg!(target_os = "linux") || !name.starts_with("process_"));
    let missing: Vec<&String> = wanted
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");

    // Nothing is loaded, for all providers are off: alive and not ready.
    assert!(get(&running.address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(&running.address, "/readyz").starts_with("HTTP/1.1 503"));
    let port = running.address.rsplit(':').next().unwrap().to_owned();
    let probe = |path: &str| {
        let probe = root().join("config/docker/probe");
        let output = Command::new(probe).args([&port, path]).output();
        output.map(|output| output.status.success())
    };
    if let Err(error) = probe("/livez") {
        eprintln!("skipped: the probe needs bash: {error}");
    } else {
        assert!(probe("/livez").unwrap());
        assert!(!probe("/readyz").unwrap());
    }
    let id = running.child.id().to_string();
    let stopped = Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(stopped.success());
    assert_eq!(exit_code(running.child), Some(0));
    if Command::new("bash").arg("--version").output().is_ok() {
        assert!(!probe("/livez").unwrap_or(false), "nobody is there");
    }
}

#[test]
fn prometheus_takes_its_files() {
    let output = Command::new("promtool")
        .args(["check", "config"])
        .arg(root().join("config/prometheus/prometheus.yml"))
        .output();
    match output {
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        ),
        Err(_) => eprintln!("skipped: no promtool here to check config/prometheus"),
    }
}

#[test]
fn every_error_code_has_a_section_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    for code in CryptoCode::ALL {
        let heading = format!("\n### {}\n", code.as_str());
        let (_, section) = runbook
            .split_once(&heading)
            .unwrap_or_else(|| panic!("no section for {}", code.as_str()));
        let section = section.split("\n#").next().unwrap_or_default();
        let status = format!("HTTP {}", code.http_status());
        assert!(section.contains(&status), "{}: {status}", code.as_str());
        for part in ["**Do:**", "**See:**"] {
            assert!(section.contains(part), "{}: no {part}", code.as_str());
        }
    }
    let told = runbook.matches("\n### CRYPTO_").count();
    assert_eq!(told, CryptoCode::ALL.len(), "a code that there is not");
}
