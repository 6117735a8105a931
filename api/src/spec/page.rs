//! `GET /docs`: one page with its style and its script in it, so that it needs nothing from anywhere.
//! The browser is told to run nothing else: the two are named by their digests.

use std::sync::OnceLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::rest::ops::no_parameters;

const PAGE: &str = include_str!("../../../web/docs.html");
const STYLE: &str = include_str!("../../../web/docs.css");
const SCRIPT: &str = include_str!("../../../web/docs.js");

/// The page, and what the browser may do on it.
struct Page {
    text: String,
    policy: String,
}

fn digest(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text)))
}

fn page() -> &'static Page {
    static MADE: OnceLock<Page> = OnceLock::new();
    MADE.get_or_init(|| Page {
        text: PAGE
            .replace("/*style*/", STYLE)
            .replace("/*script*/", SCRIPT),
        policy: format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            digest(STYLE),
            digest(SCRIPT)
        ),
    })
}

/// `GET /docs`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn docs(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    no_parameters(&request)?;
    let page = page();
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, page.policy.as_str()))
        .body(page.text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page();
        assert!(page.text.contains(SCRIPT) && page.text.contains(STYLE));
        for outside in ["http://", "https://", "src=", "@import", "url(", "<link"] {
            assert!(!page.text.contains(outside), "{outside}");
        }
        // What is in the elements is what the digests are of.
        assert!(page.text.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.text.contains(&format!("<script>{SCRIPT}</script>")));
    }
}
