//! Who asks: the signed headers of a request, and the login of a connection.
//!
//! Signed is `timestamp + METHOD + path?query + body`, in base64; over WebSocket the time is in
//! seconds and the path that of the verification.

use hyper::HeaderMap;
use jiff::Timestamp;

use super::super::rest::ApiError;
use crate::account::auth::Window;
use crate::account::{AccountId, Accounts, Key, Permissions};

/// How far a client's clock may be off either way.
const CLOCK: Window = Window {
    behind_ms: 30_000,
    ahead_ms: 30_000,
};
/// What a login signs after its time.
const LOGIN: &str = "GET/users/self/verify";

/// Who asks, and what the key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) id: AccountId,
    pub(crate) may: Permissions,
}

impl Who {
    fn of((id, key): (AccountId, &Key)) -> Self {
        Self { id, may: key.may }
    }
}

fn denied(code: &'static str, msg: &str) -> ApiError {
    ApiError {
        status: 401,
        code,
        msg: msg.to_owned(),
    }
}

/// The refusal of a key that may only read.
pub(crate) fn forbidden() -> ApiError {
    denied(
        "50120",
        "This API key doesn't have permission to use this function",
    )
}

/// Unix ms of `2020-12-08T09:08:57.715Z`.
fn millis(text: &str) -> Option<i64> {
    let is_utc = text.ends_with('Z');
    let time: Timestamp = text.parse().ok()?;
    is_utc.then(|| time.as_millisecond())
}

/// Checks the headers of a request.
pub(crate) fn check_rest(
    accounts: &Accounts,
    headers: &HeaderMap,
    (method, target, body): (&str, &str, &str),
    now_ms: i64,
) -> Result<Who, ApiError> {
    let header = |name: &str, code, shown: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| !value.is_empty()).ok_or_else(|| {
            let msg = format!("Request header {shown} can not be empty.");
            denied(code, &msg)
        })
    };
    let name = header("ok-access-key", "50103", "OK-ACCESS-KEY")?;
    let passphrase = header("ok-access-passphrase", "50104", "OK-ACCESS-PASSPHRASE")?;
    let sign = header("ok-access-sign", "50106", "OK-ACCESS-SIGN")?;
    let time = header("ok-access-timestamp", "50107", "OK-ACCESS-TIMESTAMP")?;
    let sent_ms = millis(time).ok_or_else(|| denied("50112", "Invalid OK-ACCESS-TIMESTAMP"))?;
    if CLOCK.check(now_ms, sent_ms).is_err() {
        return Err(denied("50102", "Timestamp request expired"));
    }
    let found = accounts.key(name);
    let found = found.ok_or_else(|| denied("50119", "API key doesn't exist"))?;
    // A demo key would be one of another environment.
    let is_demo = headers
        .get("x-simulated-trading")
        .is_some_and(|it| it == "1");
    if is_demo {
        let msg = "APIKey does not match current environment.";
        return Err(denied("50101", msg));
    }
    if found.1.passphrase.as_deref() != Some(passphrase) {
        let msg = "Request header OK-ACCESS-PASSPHRASE incorrect.";
        return Err(denied("50105", msg));
    }
    let payload = format!("{time}{method}{target}{body}");
    match found.1.proof.proves_base64(payload.as_bytes(), sign) {
        true => Ok(Who::of(found)),
        false => Err(denied("50113", "Invalid Sign")),
    }
}

/// A login: key, passphrase, time in seconds, signature. An error is a code and a text.
pub(crate) fn check_login(
    accounts: &Accounts,
    [name, passphrase, time, sign]: [&str; 4],
    now_ms: i64,
) -> Result<Who, (&'static str, &'static str)> {
    let found = accounts.key(name);
    let found = found.ok_or(("60032", "API key doesn't exist"))?;
    if found.1.passphrase.as_deref() != Some(passphrase) {
        return Err(("60024", "Wrong passphrase"));
    }
    let seconds = time.split('.').next().and_then(|it| it.parse::<i64>().ok());
    let sent_ms = seconds.and_then(|seconds| seconds.checked_mul(1_000));
    let sent_ms = sent_ms.ok_or(("60004", "Invalid timestamp"))?;
    // The time is cut to whole seconds.
    if CLOCK.check(now_ms, sent_ms).is_err() && CLOCK.check(now_ms, sent_ms + 999).is_err() {
        return Err(("60006", "Timestamp request expired"));
    }
    let payload = format!("{time}{LOGIN}");
    match found.1.proof.proves_base64(payload.as_bytes(), sign) {
        true => Ok(Who::of(found)),
        false => Err(("60007", "Invalid sign")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Rules;
    use crate::account::auth::Proof;

    const SECRET: &str = "22582BD0CFF14C41EDBF1AB98506286D";

    fn accounts(secret: &str) -> Accounts {
        let mut accounts = Accounts::new(Rules::default());
        accounts.open(vec![Key {
            name: "key".to_owned(),
            proof: Proof::Secret(secret.to_owned()),
            passphrase: Some("pass".to_owned()),
            may: Permissions::TRADE,
        }]);
        accounts
    }

    struct Signed<'a> {
        secret: &'a str,
        time: &'a str,
        method: &'a str,
        target: &'a str,
        body: &'a str,
        sign: &'a str,
    }

    fn check(
        signed: &Signed<'_>,
        late_ms: i64,
        change: impl FnOnce(&mut HeaderMap),
    ) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ok-access-key", "key"),
            ("ok-access-passphrase", "pass"),
            ("ok-access-timestamp", signed.time),
            ("ok-access-sign", signed.sign),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        change(&mut headers);
        let now_ms = millis(signed.time).unwrap() + late_ms;
        let request = (signed.method, signed.target, signed.body);
        check_rest(&accounts(signed.secret), &headers, request, now_ms)
            .map(|_| ())
            .map_err(|error| error.code)
    }

    const BALANCE: Signed<'_> = Signed {
        secret: SECRET,
        time: "2020-12-08T09:08:57.715Z",
        method: "GET",
        target: "/api/v5/account/balance?ccy=BTC",
        body: "",
        sign: "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=",
    };

    #[test]
    fn known_signatures() {
        let order = "{\"instId\":\"BTC-USDT-SWAP\",\"tdMode\":\"cross\",\"side\":\"buy\",\
                     \"ordType\":\"limit\",\"px\":\"45000\",\"sz\":\"0.1\",\"clOrdId\":\"abc123\"}";
        for signed in [
            BALANCE,
            Signed {
                secret: "chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO",
                target: "/api/v5/account/balance",
                sign: "PJ61e1nb2F2Qd7D8SPiaIcx2gjdELc+o0ygzre9z33k=",
                ..BALANCE
            },
            Signed {
                method: "POST",
                target: "/api/v5/trade/order",
                body: order,
                sign: "ocZdeHmRRL0PXzUIATXZfZwO4Y+9wvo+c6dtlO201Vo=",
                ..BALANCE
            },
            Signed {
                time: "2024-01-02T03:04:05.678Z",
                target: "/api/v5/account/config",
                sign: "nXG/OpYLN+tIq/bEAKbsy2fRqrIPmp0KFlCpW4By8kE=",
                ..BALANCE
            },
        ] {
            assert_eq!(check(&signed, 0, |_| {}), Ok(()), "{}", signed.target);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let set = |name: &'static str, value: &'static str| {
            move |headers: &mut HeaderMap| {
                headers.insert(name, value.parse().unwrap());
            }
        };
        assert_eq!(check(&BALANCE, 30_000, |_| {}), Ok(()));
        assert_eq!(check(&BALANCE, 30_001, |_| {}), Err("50102"));
        assert_eq!(check(&BALANCE, -30_001, |_| {}), Err("50102"));
        for (name, value, code) in [
            ("ok-access-key", "", "50103"),
            ("ok-access-passphrase", "", "50104"),
            ("ok-access-sign", "", "50106"),
            ("ok-access-timestamp", "", "50107"),
            ("ok-access-key", "other", "50119"),
            ("ok-access-passphrase", "other", "50105"),
            ("ok-access-timestamp", "1607418537", "50112"),
            ("ok-access-timestamp", "2020-12-08T09:08:57.716Z", "50113"),
            ("ok-access-sign", "aGVsbG8=", "50113"),
            ("x-simulated-trading", "1", "50101"),
        ] {
            assert_eq!(check(&BALANCE, 0, set(name, value)), Err(code), "{name}");
        }
    }

    #[test]
    fn logins() {
        let accounts = accounts(SECRET);
        let good = [
            "key",
            "pass",
            "1704876947",
            "5/36BgGV6m/6pmdc20zdqk0mzF5ZalmzzPD2fo3wavU=",
        ];
        let check = |fields: [&str; 4], late_ms: i64| {
            let done = check_login(&accounts, fields, 1_704_876_947_000 + late_ms);
            done.map(|_| ()).map_err(|(code, _)| code)
        };
        assert_eq!(check(good, 500), Ok(()));
        assert_eq!(check(good, 32_000), Err("60006"));
        for (at, value, code) in [
            (0, "other", "60032"),
            (1, "other", "60024"),
            (2, "soon", "60004"),
            (2, "1704876948", "60007"),
            (3, "aGVsbG8=", "60007"),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(check(bad, 0), Err(code), "{value}");
        }
    }
}
