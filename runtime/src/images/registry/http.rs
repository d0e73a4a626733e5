//! The HTTP client as registries need it: bounded in time, in tries and in what it reads.
//!
//! Owns: the only use of the client library; time limits, redirects, what is tried again and after which pause. Proxies come from the usual
//! environment variables. Invariants: credentials go to the host that they are for and do not follow a redirect to another one; an answer is
//! read up to a bound that the caller names; an address is shown without its query.

use super::certs::Certs;
use super::failure::Failure;
use super::words::{certificate, chain};
use crate::error::{Error, Result};
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::OnceCell;

/// To connect, TLS included; a registry on the other side of the world takes a second.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Registries send blobs from storage elsewhere: one hop, two at most.
const MAX_REDIRECTS: usize = 5;
/// What is read of an answer that says no.
const MAX_REFUSAL: usize = 64 * 1024;
const USER_AGENT: &str = concat!("wsw/", env!("CARGO_PKG_VERSION"));

/// How patient to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// No byte for so long, and the connection counts as dead.
    pub stall: Duration,
    /// Tries of one request, or of one blob without any progress.
    pub tries: u32,
    /// The first pause; each further one is twice as long, up to `longest_pause`.
    pub pause: Duration,
    pub longest_pause: Duration,
    /// A registry that asks for a longer pause (`Retry-After`) is given up.
    pub retry_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { stall: 30 * second, tries: 5, pause: second / 4, longest_pause: 8 * second, retry_after: 60 * second }
    }
}

impl Patience {
    /// The pause before try number `attempt` (from 1), or none when there is none left or the registry asks for too much.
    pub(crate) fn before(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.tries || asked.is_some_and(|asked| asked > self.retry_after) {
            return None;
        }
        let own = self.pause.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(self.longest_pause);
        Some(asked.unwrap_or(own).max(own))
    }
}

/// Both clients: the one that wants certificates, and the one for registries that the operator trusts anyway.
#[derive(Default)]
pub(crate) struct Transport {
    pub patience: Patience,
    /// Of one registry; the transport that all share has none.
    certs: Certs,
    secure: OnceCell<Client>,
    insecure: OnceCell<Client>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub authorization: Option<&'a HeaderValue>,
    pub body: Option<String>,
    /// May go on over plain HTTP.
    pub insecure: bool,
}

impl Ask<'_> {
    pub(crate) fn get(url: Url, insecure: bool) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), authorization: None, body: None, insecure }
    }
}

impl Transport {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// The same for a registry with certificates of its own.
    pub(crate) fn with(&self, certs: Certs) -> Self {
        Self { patience: self.patience, certs, ..Self::default() }
    }

    /// The authorities that vouch for the registry beside the system's.
    pub(crate) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.certs.authorities
    }

    async fn client(&self, insecure: bool) -> Result<&Client> {
        let (cell, stall) = (if insecure { &self.insecure } else { &self.secure }, self.patience.stall);
        // The only provider of TLS in this program. An error means that somebody was first, with the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let make = || async move {
            let builder = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_LIMIT).read_timeout(stall);
            let builder = builder.redirect(Policy::custom(move |attempt| redirect(attempt, insecure))).tls_danger_accept_invalid_certs(insecure);
            let authorities =
                self.certs.authorities.iter().map(|authority| reqwest::Certificate::from_der(authority)).collect::<std::result::Result<Vec<_>, _>>();
            let unusable = |error: reqwest::Error| Error::Invalid(format!("an authority of the registry cannot be used: {}", chain(&error)));
            let builder = builder.tls_certs_merge(authorities.map_err(unusable)?);
            let builder = self.certs.identity.clone().into_iter().fold(builder, reqwest::ClientBuilder::identity);
            builder.build().map_err(|error| Error::Temporary(format!("cannot speak TLS: {}; is the package ca-certificates installed?", chain(&error))))
        };
        cell.get_or_try_init(make).await
    }

    /// Sends once. What is not a success is a failure with the registry's words.
    pub(crate) async fn once(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let client = self.client(ask.insecure).await.map_err(Failure::Own)?;
        let mut request = client.request(ask.method.clone(), ask.url.clone()).headers(ask.headers.clone());
        if let Some(value) = ask.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        let answer = request.send().await.map_err(|error| {
            let text = format!("{} {:?}: {}", verb(&ask.method), shown(&ask.url), chain(&error));
            if certificate(&error).is_some() { Failure::Own(Error::Temporary(text)) } else { Failure::Network(text) }
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let (headers, retry_after) = (Box::new(answer.headers().clone()), retry_after(&answer));
        // A refusal whose text cannot be read is still the refusal.
        let (body, _) = read_up_to(answer, MAX_REFUSAL).await.unwrap_or_default();
        Err(Failure::Status { status, headers, body, retry_after, asked: format!("{} {:?}", verb(&ask.method), shown(&ask.url)) })
    }

    /// Sends, and again after a pause while that can help.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        for attempt in 1.. {
            let failure = match self.once(ask).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause = if failure.may_pass() { self.patience.before(attempt, failure.retry_after()) } else { None };
            let Some(pause) = pause else { return Err(failure) };
            tracing::debug!(%failure, ?pause, "asking the registry again");
            tokio::time::sleep(pause).await;
        }
        Err(Failure::Network("no try is left".into()))
    }
}

/// Follows within bounds; from an encrypted connection never to a plain one.
fn redirect(attempt: Attempt<'_>, insecure: bool) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    if attempt.url().scheme() != "https" && !insecure {
        return attempt.error("a redirect from https to plain http is not followed");
    }
    attempt.follow()
}

/// Reads at most `max` bytes; the flag says whether that was all.
pub(crate) async fn read_up_to(answer: Response, max: usize) -> Result<(Vec<u8>, bool), Failure> {
    let url = answer.url().clone();
    let (mut bytes, mut stream) = (Vec::new(), answer.bytes_stream());
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| Failure::Network(format!("Get {:?}: {}", shown(&url), chain(&error))))?;
        if bytes.len() + piece.len() > max {
            bytes.extend_from_slice(piece.get(..max - bytes.len()).unwrap_or_default());
            return Ok((bytes, false));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes, true))
}

/// HTTP's own form of a date; the others that the standard knows are of the last century.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// The pause that a registry asks for.
fn retry_after(answer: &Response) -> Option<Duration> {
    if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    pause(answer.headers())
}

/// Seconds, or a date: that counts from the registry's own clock, which need not agree with ours.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| time::PrimitiveDateTime::parse(text, HTTP_DATE).map(|date| date.assume_utc()).ok();
    let until = date(asked)?;
    let now = text(DATE).and_then(date).unwrap_or_else(OffsetDateTime::now_utc);
    Some(Duration::try_from(until - now).unwrap_or_default())
}

/// The address without what may be a secret: storage behind a registry signs its queries.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

/// docker's (Go's) spelling of a method in errors.
pub(crate) fn verb(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        _ => "Get",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_heed_the_registry_within_one() {
        let second = Duration::from_secs(1);
        let patience = Patience { stall: second, tries: 6, pause: second, longest_pause: 4 * second, retry_after: 10 * second };
        let pauses = (1..=6).map(|attempt| patience.before(attempt, None).map(|pause| pause.as_secs())).collect::<Vec<_>>();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(4), Some(4), None]);
        assert_eq!(patience.before(1, Some(7 * second)), Some(7 * second));
        assert_eq!(patience.before(1, Some(11 * second)), None);
    }

    #[test]
    fn a_registry_says_in_two_ways_how_long_to_wait() {
        let asked = |after: &'static str, date: Option<&'static str>| {
            let date = date.map(|date| (DATE, HeaderValue::from_static(date)));
            pause(&HeaderMap::from_iter(std::iter::once((RETRY_AFTER, HeaderValue::from_static(after))).chain(date))).map(|pause| pause.as_secs())
        };
        assert_eq!(asked("7", None), Some(7));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:09 GMT", Some("Wed, 21 Oct 2015 07:28:00 GMT")), Some(9));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:09 GMT", Some("Wed, 21 Oct 2015 07:29:00 GMT")), Some(0), "it is over");
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:09 GMT", None), Some(0), "by our own clock");
        assert_eq!(asked("tomorrow", None), None);
    }

    #[test]
    fn addresses_are_shown_without_signatures_and_passwords() {
        assert_eq!(shown(&Url::parse("https://u:secret@storage.example/b?signature=secret#x").unwrap()), "https://storage.example/b");
    }
}
