//! The HTTP client as registries need it: bounded in time, in tries and in what it reads.
//!
//! Owns: the only use of the client library; time limits, redirects, what is tried again and after which pause. Proxies come from the usual
//! environment variables. Invariants: credentials go to the host that they are for and do not follow a redirect to another one; an answer is
//! read up to a bound that the caller names; an address is shown without its query.

use super::failure::Failure;
use crate::error::{Error, Result};
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Method, Response, StatusCode, Url};
use std::time::Duration;
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
#[derive(Debug, Default)]
pub(crate) struct Transport {
    pub patience: Patience,
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

    async fn client(&self, insecure: bool) -> Result<&Client> {
        let (cell, stall) = (if insecure { &self.insecure } else { &self.secure }, self.patience.stall);
        // The only provider of TLS in this program. An error means that somebody was first, with the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let make = || async move {
            let builder = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_LIMIT).read_timeout(stall);
            let builder = builder.redirect(Policy::custom(move |attempt| redirect(attempt, insecure))).tls_danger_accept_invalid_certs(insecure);
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
        let answer = request.send().await.map_err(|error| Failure::Network(format!("{} {:?}: {}", verb(&ask.method), shown(&ask.url), chain(&error))))?;
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

/// Seconds only: dates need our clocks to agree.
fn retry_after(answer: &Response) -> Option<Duration> {
    if !matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
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

/// The innermost reason of an error, and the outermost kind; the address is told by the caller.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "cannot connect in time".into() } else { "no data came for too long".into() };
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    // Without a source the library's own text names the whole address.
    if std::ptr::addr_eq(inner, error) { "the request failed".into() } else { text }
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
    fn addresses_are_shown_without_signatures_and_passwords() {
        assert_eq!(shown(&Url::parse("https://u:secret@storage.example/b?signature=secret#x").unwrap()), "https://storage.example/b");
    }
}
