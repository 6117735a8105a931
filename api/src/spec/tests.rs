//! The documents are those of the server: no route without a description, none described that is not
//! there, and who may do what is as it says.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::App;
use bookwire_actors::clock::SystemClock;
use bookwire_actors::gateway::Gateway;
use bookwire_actors::options::GatewayOptions;
use bookwire_engine::config::Config;
use bookwire_engine::keys::KeySpec;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::*;
use crate::auth::Auth;
use crate::rest::body::Body;
use crate::server::{self, ServerHandle};

/// Method and path of everything that the document has.
fn documented() -> BTreeSet<(String, String)> {
    let document = openapi::document();
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let verbs = item.as_object().unwrap().keys();
        verbs.map(move |verb| (verb.clone(), path.clone()))
    });
    all.collect()
}

#[test]
fn every_route_is_documented_and_every_document_has_its_route() {
    let mut taken = Vec::new();
    let _ = App::new().configure(|service| taken = server::routes(service));
    let key = |operation: &&Operation| (operation.verb.as_str(), operation.path);
    let taken: BTreeSet<_> = taken.iter().map(key).collect();
    let all = operations();
    let told: BTreeSet<_> = all.iter().map(key).collect();
    assert_eq!(taken, told);
    assert_eq!(all.len(), told.len(), "one is told twice");
    let mut expected = BTreeSet::new();
    for (verb, path) in taken {
        let paths: Vec<String> = match path == data::ROWS.path {
            true => crate::rest::schema::Schema::all()
                .map(|schema| format!("/api/data/{}", schema.name()))
                .collect(),
            false => vec![path.to_owned()],
        };
        expected.extend(paths.into_iter().map(|path| (verb.to_owned(), path)));
    }
    assert_eq!(documented(), expected);
}

/// Calls `check` with every object of a document.
fn each(value: &Value, check: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            check(map);
            map.values().for_each(|value| each(value, check));
        }
        Value::Array(list) => list.iter().for_each(|value| each(value, check)),
        _ => {}
    }
}

#[test]
fn what_is_referred_to_is_there() {
    for document in [openapi::document(), asyncapi::document()] {
        let mut references = 0;
        each(&document, &mut |map| {
            if let Some(Value::String(to)) = map.get("$ref") {
                references += 1;
                let pointer = to.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{to}");
            }
        });
        assert!(references > 50, "{references}");
    }
}

#[test]
fn every_operation_says_what_it_is() {
    let document = openapi::document();
    let mut ids = BTreeSet::new();
    for (verb, path) in documented() {
        let described = &document["paths"][&path][&verb];
        let id = described["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} is there twice");
        for field in ["summary", "operationId"] {
            assert!(
                !described[field].as_str().unwrap().is_empty(),
                "{verb} {path}: {field}"
            );
        }
        let parameters = described["parameters"].as_array().unwrap();
        let in_path: Vec<&str> = parameters
            .iter()
            .filter(|one| one["in"] == "path")
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        let braces: Vec<&str> = path
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(in_path, braces, "{verb} {path}");
        let names: BTreeSet<&str> = parameters
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names.len(),
            parameters.len(),
            "{verb} {path}: a parameter twice"
        );
        for (status, answer) in described["responses"].as_object().unwrap() {
            let shared = answer["$ref"]
                .as_str()
                .map(|to| document.pointer(&to[1..]).unwrap());
            let answer = shared.unwrap_or(answer);
            assert!(
                !answer["description"].as_str().unwrap().is_empty(),
                "{path} {status}"
            );
            let headers = answer["headers"].as_object().unwrap();
            assert!(headers.contains_key("X-RateLimit-Limit"), "{path} {status}");
            // Each status is one that its codes have, or one of the framework's.
            for code in answer["x-codes"].as_array().into_iter().flatten() {
                let code = CryptoCode::ALL
                    .iter()
                    .find(|one| *code == one.as_str())
                    .unwrap();
                let own = code.http_status().to_string();
                let other = ["405", "408", "412", "413", "414", "431", "503"];
                assert!(
                    own == *status || other.contains(&status.as_str()),
                    "{path} {status}"
                );
            }
        }
    }
}

#[test]
fn bodies_to_try_are_made_of_their_tables() {
    for operation in operations() {
        if operation.body.is_empty() {
            assert!(operation.body_example.is_empty());
            continue;
        }
        let body = Body::parse(operation.body_example.as_bytes(), operation.body).unwrap();
        for field in operation.body.iter().filter(|field| field.is_required) {
            assert!(body.has(field.name), "{}: {}", operation.path, field.name);
        }
    }
}

fn serve(spec: &str) -> (ServerHandle, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::default();
    config.server.workers = 1;
    let folder = std::env::temp_dir();
    config.server.data_dir = folder;
    let gateway = Gateway::start(
        GatewayOptions::default(),
        Arc::new(SystemClock::new()),
        None,
    )
    .unwrap();
    let auth = Auth::new(&config, None);
    // Without anybody who may command, commands are off for all.
    auth.add("ops", KeySpec::parse("admin", "", "").unwrap())
        .unwrap();
    let secret = auth
        .add("reader", KeySpec::parse(spec, "", "").unwrap())
        .unwrap();
    let key = format!("reader.{}", secret.expose_text());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (
        server::start_for(listener, &config, gateway, auth).unwrap(),
        key,
    )
}

#[actix_web::test]
async fn who_may_do_what_is_as_documented() {
    let (server, key) = serve("data_access");
    let client = Client::new();
    for operation in operations() {
        let mut path = operation.path.to_owned();
        for field in operation.path_fields {
            let value = match field.kind {
                Kind::Integer(..) => "1",
                _ => field.example.unwrap_or("1"),
            };
            path = path.replace(&format!("{{{}}}", field.name), value);
        }
        let mut query: Vec<(&str, &str)> = Vec::new();
        for field in operation.query.iter().filter(|field| field.is_required) {
            query.push((field.name, field.example.unwrap_or("1")));
        }
        let url =
            reqwest::Url::parse_with_params(&format!("http://{}{path}", server.address()), query)
                .unwrap();
        let method = operation.verb.as_str().to_uppercase();
        let ask = || {
            let request = client.request(method.parse().unwrap(), url.clone());
            request.body(operation.body_example)
        };
        let status = ask().send().await.unwrap().status();
        let is_refused = status == StatusCode::UNAUTHORIZED;
        assert_eq!(
            is_refused,
            operation.access != Access::Open,
            "{method} {path}: {status}"
        );
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        if let Access::Key([Permission::Admin]) = operation.access {
            let status = ask().bearer_auth(&key).send().await.unwrap().status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    server.stop().await;
}

#[actix_web::test]
async fn the_documents_and_the_page_are_served() {
    let (server, _) = serve("data_access");
    let client = Client::new();
    let get = |path: &str| {
        client
            .get(format!("http://{}{path}", server.address()))
            .send()
    };
    for (path, field, version) in [
        ("/api/openapi.json", "openapi", "3.1.0"),
        ("/api/asyncapi.json", "asyncapi", "3.0.0"),
    ] {
        let answer = get(path).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        let document: Value = answer.json().await.unwrap();
        assert_eq!(document[field], version);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
    let page = get("/docs").await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.text().await.unwrap().contains("<main"));
    server.stop().await;
}

/// As long as what is taken.
#[test]
fn a_clients_own_order_id_is_as_long_as_it_may_be() {
    let mut found = 0;
    each(&openapi::document(), &mut |object| {
        let about = object.get("description").and_then(Value::as_str);
        if about.is_some_and(|about| about.contains("printable ASCII characters")) {
            assert_eq!(object["maxLength"], 64, "{object:?}");
            found += 1;
        }
    });
    assert_eq!(found, 1);
}
