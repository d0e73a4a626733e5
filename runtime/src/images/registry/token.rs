//! Answering a registry's 401: a bearer token from its token server, or name and password (the distribution's `auth/token` and `auth/oauth`).
//!
//! Owns: reading `WWW-Authenticate`, the request to the token server. Invariants: credentials go nowhere over plain HTTP unless the registry
//! itself is spoken to in it; no text of a token server that may repeat them is passed on.

use super::credentials::Credentials;
use super::failure::Failure;
use super::http::{Ask, Transport, read_up_to};
use crate::error::Error;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

/// Tokens are a few KiB.
const MAX_ANSWER: usize = 256 * 1024;
const CLIENT: &str = "wsw";

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The parameters of a `Bearer` challenge.
struct Bearer {
    realm: String,
    service: String,
    scope: Option<String>,
}

enum Challenge {
    Bearer(Bearer),
    Basic,
}

/// The `Authorization` that a challenge asks for; none when there is nothing to show and the registry may be asked without.
pub(super) async fn answer(
    transport: &Transport,
    headers: &HeaderMap,
    credentials: &Credentials,
    scope: Option<&str>,
    plain: bool,
) -> Result<Option<HeaderValue>, Failure> {
    match challenge(headers) {
        Some(Challenge::Bearer(bearer)) => {
            let text = match credentials.registry_token.as_str() {
                "" => token(transport, &bearer, credentials, scope, plain).await?,
                own => own.to_owned(),
            };
            secret(&format!("Bearer {text}")).map(Some)
        }
        Some(Challenge::Basic) => credentials.basic().map(|basic| secret(&basic)).transpose(),
        None => Err(Failure::Own(Error::Invalid("the registry asks for a login of a kind that is not known here (Basic and Bearer are)".into()))),
    }
}

fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
        for found in http_auth::parse_challenges(value).ok().into_iter().flatten() {
            let get = |name: &str| found.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped());
            if found.scheme.eq_ignore_ascii_case("bearer") {
                return Some(Challenge::Bearer(Bearer { realm: get("realm")?, service: get("service").unwrap_or_default(), scope: get("scope") }));
            }
            if found.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

async fn token(transport: &Transport, bearer: &Bearer, credentials: &Credentials, scope: Option<&str>, plain: bool) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::Own(Error::Invalid(format!("the registry names a token server that cannot be used: {why}")));
    let mut url = Url::parse(&bearer.realm).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if plain => {}
        "http" => return Err(wrong("it is reached over plain http, the registry is not")),
        other => return Err(wrong(&format!("its scheme is {other:?}"))),
    }
    // What the registry asks for wins: it may be more than one scope.
    let scope = bearer.scope.as_deref().or(scope);
    let mut ask = Ask::get(url.clone(), plain);
    let basic = credentials.basic().map(|basic| secret(&basic)).transpose()?;
    if credentials.identity_token.is_empty() {
        let mut query = url.query_pairs_mut();
        if !bearer.service.is_empty() {
            query.append_pair("service", &bearer.service);
        }
        for scope in scope.iter().flat_map(|scope| scope.split(' ')) {
            query.append_pair("scope", scope);
        }
        if !credentials.username.is_empty() {
            query.append_pair("account", &credentials.username);
        }
        drop(query);
        ask.url = url;
        ask.authorization = basic.as_ref();
    } else {
        let mut form = Url::parse("form:").map_err(|error| wrong(&error.to_string()))?;
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", &credentials.identity_token)
            .append_pair("service", &bearer.service)
            .append_pair("client_id", CLIENT)
            .append_pair("scope", scope.unwrap_or_default());
        ask.method = Method::POST;
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        ask.body = form.query().map(str::to_owned);
    }
    let answer = match transport.send(&ask).await {
        Err(Failure::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST, headers, retry_after, asked, .. }) => {
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#.to_vec();
            return Err(Failure::Status { status: StatusCode::UNAUTHORIZED, headers, body, retry_after, asked });
        }
        other => other?,
    };
    let (bytes, whole) = read_up_to(answer, MAX_ANSWER).await?;
    let read: Option<Answer> = if whole { serde_json::from_slice(&bytes).ok() } else { None };
    let found = read.map(|answer| if answer.token.is_empty() { answer.access_token } else { answer.token }).filter(|token| !token.is_empty());
    found.ok_or_else(|| Failure::Own(Error::Invalid("the token server of the registry answered without a token".into())))
}

/// A header value that no debug print shows.
fn secret(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Failure::Own(Error::Invalid(format!("{AUTHORIZATION}: the credentials hold characters that no header can"))))?;
    value.set_sensitive(true);
    Ok(value)
}
