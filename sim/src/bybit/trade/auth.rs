//! Who asks: the signed headers of a request, and the authentication of a connection.

use hyper::HeaderMap;

use crate::account::auth::Window;
use crate::account::{AccountId, Accounts, Key, Permissions};

use super::super::rest::Refusal;

/// A client's clock may be ahead by less than a second.
const AHEAD_MS: i64 = 999;
const RECV_WINDOW_MS: i64 = 5_000;

/// Who asks, and what the key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) id: AccountId,
    pub(crate) may: Permissions,
    pub(crate) key: String,
}

impl Who {
    fn of((id, key): (AccountId, &Key)) -> Self {
        Self {
            id,
            may: key.may,
            key: key.name.clone(),
        }
    }
}

/// The refusal of a key that may not do that.
pub(super) fn forbidden() -> Refusal {
    let msg = "Permission denied, please check your API key permissions.";
    Refusal(10_005, msg.to_owned())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Checks a time against the clock and the client's window.
pub(super) fn check_time(headers: (&str, &str), now_ms: i64) -> Result<(), Refusal> {
    let (time, window) = headers;
    let expired = |sent: i64, window: i64| {
        Refusal(
            10_002,
            format!(
                "invalid request, please check your server timestamp or recv_window param. \
                 req_timestamp[{sent}],server_timestamp[{now_ms}],recv_window[{window}]"
            ),
        )
    };
    let behind_ms = match window {
        "" => RECV_WINDOW_MS,
        text => text.parse().map_err(|_| expired(0, 0))?,
    };
    let sent_ms: i64 = time.parse().map_err(|_| expired(0, behind_ms))?;
    let window = Window {
        behind_ms,
        ahead_ms: AHEAD_MS,
    };
    let done = window.check(now_ms, sent_ms);
    done.map_err(|_| expired(sent_ms, behind_ms))
}

/// Checks the headers of a request; `payload`: the query of a GET, the body of a POST.
pub(super) fn check_rest(
    accounts: &Accounts,
    headers: &HeaderMap,
    payload: &str,
    now_ms: i64,
) -> Result<Who, Refusal> {
    let name = header(headers, "x-bapi-api-key");
    let found = accounts.key(name);
    let found = found.ok_or_else(|| Refusal(10_003, "API key is invalid.".to_owned()))?;
    let time = header(headers, "x-bapi-timestamp");
    let window = header(headers, "x-bapi-recv-window");
    check_time((time, window), now_ms)?;
    let text = format!("{time}{name}{window}{payload}");
    let sign = header(headers, "x-bapi-sign");
    match found.1.proof.proves(text.as_bytes(), sign) {
        true => Ok(Who::of(found)),
        false => Err(Refusal(
            10_004,
            format!("error sign! origin_string[{text}]"),
        )),
    }
}

/// Checks what a connection says of itself: key, when that expires, signature.
pub(super) fn check_socket(
    accounts: &Accounts,
    [name, expires, sign]: [&str; 3],
    now_ms: i64,
) -> Result<Who, Refusal> {
    let found = accounts.key(name);
    let found = found.ok_or_else(|| Refusal(10_003, "Invalid apikey".to_owned()))?;
    let until_ms = expires.parse::<i64>().unwrap_or_default();
    if until_ms <= now_ms {
        return Err(Refusal(10_004, "Params Error: expired".to_owned()));
    }
    let text = format!("GET/realtime{expires}");
    match found.1.proof.proves(text.as_bytes(), sign) {
        true => Ok(Who::of(found)),
        false => Err(Refusal(10_004, "Invalid sign".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Rules;
    use crate::account::auth::Proof;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::new(Rules::default());
        accounts.open(vec![Key {
            name: "test_api_key".to_owned(),
            proof: Proof::Secret("test_secret".to_owned()),
            passphrase: None,
            may: Permissions::TRADE,
        }]);
        accounts
    }

    fn check(key: &str, payload: &str, sign: &str, late_ms: i64) -> Result<(), i32> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-bapi-api-key", key),
            ("x-bapi-timestamp", "1700000000000"),
            ("x-bapi-recv-window", "5000"),
            ("x-bapi-sign", sign),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        check_rest(&accounts(), &headers, payload, NOW_MS + late_ms)
            .map(|_| ())
            .map_err(|refusal| refusal.0)
    }

    #[test]
    fn known_signatures() {
        let key = "test_api_key";
        for (payload, sign) in [
            (
                "category=linear&symbol=BTCUSDT",
                "fd4f31228a46109dc6673062328693696df9a96c7ff04e6491a45e7f63a0fdd7",
            ),
            (
                r#"{"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "test-order-1"}"#,
                "2df4a0603d69c08d5dea29ba85b46eb7db64ce9e9ebd34a7802a3d69700cb2a1",
            ),
            (
                r#"{"category":"linear","symbol":"BTCUSDT"}"#,
                "7bcd51e6cac5f2e75114774cb6ed750ab14373088f88455fb861860eaf220e5c",
            ),
        ] {
            assert_eq!(check(key, payload, sign, 0), Ok(()));
            assert_eq!(check(key, payload, sign, 5_000), Ok(()));
            assert_eq!(check(key, payload, sign, 5_001), Err(10_002));
            assert_eq!(check(key, payload, sign, -999), Ok(()));
            assert_eq!(check(key, payload, sign, -1_000), Err(10_002));
            assert_eq!(check(key, "other", sign, 0), Err(10_004));
            assert_eq!(check("other", payload, sign, 0), Err(10_003));
        }
    }

    #[test]
    fn connections_name_themselves() {
        let sign = "bacffe7500499eb829bb58c45d36d1b3e5ac67c14eaeba91df5e99ccee013925";
        let check = |key, sign, now_ms| {
            let said = [key, "1700000000000", sign];
            let done = check_socket(&accounts(), said, now_ms);
            done.map(|_| ()).map_err(|refusal| refusal.0)
        };
        assert_eq!(check("test_api_key", sign, NOW_MS - 1), Ok(()));
        assert_eq!(check("test_api_key", sign, NOW_MS), Err(10_004));
        assert_eq!(check("test_api_key", "00", NOW_MS - 1), Err(10_004));
        assert_eq!(check("other", sign, NOW_MS - 1), Err(10_003));
    }
}
