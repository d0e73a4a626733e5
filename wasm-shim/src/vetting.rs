//! What is not given to a guest: requests that can be read in two ways, or that ask for what wasi:http does not have.
//!
//! Owns: the rules beyond those of the parser (which refuses folded lines, differing lengths, bare CR and the like, and closes a connection
//! whose request had both a length and chunks). Pure: the same head gives the same answer.

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version, header, uri::Authority};

/// An answer instead of a guest's. The connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub text: &'static str,
}

const fn bad(text: &'static str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, text }
}

const fn missing(text: &'static str) -> Refused {
    Refused { status: StatusCode::NOT_IMPLEMENTED, text }
}

/// Judges a request by its head.
pub fn vet<B>(request: &Request<B>) -> Result<(), Refused> {
    let headers = request.headers();
    if request.method() == Method::CONNECT {
        return Err(missing("CONNECT is not served here: a wasi:http service is no proxy\n"));
    }
    host(request)?;
    target(request)?;
    if let Some(expectation) = headers.get(header::EXPECT)
        && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Refused { status: StatusCode::EXPECTATION_FAILED, text: "the only expectation that is served is 100-continue\n" });
    }
    // Other protocols in `Upgrade` (h2c among them) are offers, which may be ignored; a WebSocket client can do nothing else with the answer.
    if request.version() == Version::HTTP_11 && names(headers, &header::CONNECTION, "upgrade") && names(headers, &header::UPGRADE, "websocket") {
        return Err(missing("WebSocket is not served here: wasi:http has no upgrade of connections\n"));
    }
    Ok(())
}

fn host<B>(request: &Request<B>) -> Result<(), Refused> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(bad("the request has more than one Host\n"));
    }
    let parsed = host.map(|host| Authority::try_from(host.as_bytes()));
    if matches!(&parsed, Some(Err(_))) {
        return Err(bad("the request's Host is not valid\n"));
    }
    let named = parsed.and_then(Result::ok);
    let target = request.uri().authority();
    if [named.as_ref(), target].into_iter().flatten().any(|authority| authority.as_str().contains('@')) {
        return Err(bad("a user name in the host is not allowed\n"));
    }
    match (target, &named) {
        (None, None) => Err(bad("the request names no host\n")),
        // An absolute target wins over `Host` (RFC 9112, 3.2.2), which has to be there all the same.
        (Some(_), None) if request.version() == Version::HTTP_11 => Err(bad("the request has no Host\n")),
        (Some(target), Some(named)) if request.version() >= Version::HTTP_2 && target != named => Err(bad(":authority and Host differ\n")),
        _ => Ok(()),
    }
}

fn target<B>(request: &Request<B>) -> Result<(), Refused> {
    let uri = request.uri();
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => {}
        Some(path) if path == "*" && request.method() == Method::OPTIONS => {}
        _ => return Err(bad("the request's target is not valid\n")),
    }
    match uri.scheme_str() {
        None | Some("http" | "https") => Ok(()),
        Some(_) => Err(bad("the request's target is of a scheme that is not served here\n")),
    }
}

/// True when the header's comma lists name the token.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(target: &str, headers: &[(&str, &str)]) -> u16 {
        let (method, uri) = target.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        vet(&request.body(()).unwrap()).map_or_else(|refused| refused.status.as_u16(), |()| 200)
    }

    #[test]
    fn heads_are_judged() {
        let host = ("Host", "a");
        for (target, headers, want) in [
            ("GET /", &[host] as &[_], 200),
            ("GET /", &[("Host", "a:80")], 200),
            ("GET /", &[("Host", "[::1]:80")], 200),
            ("GET http://b/", &[host], 200),
            ("OPTIONS *", &[host], 200),
            ("GET /", &[host, ("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings")], 200),
            ("GET /", &[host, ("Upgrade", "websocket")], 200),
            ("GET /", &[host, ("Expect", "100-Continue")], 200),
            ("GET /", &[], 400),
            ("GET /", &[("Host", "")], 400),
            ("GET /", &[("Host", "a b")], 400),
            ("GET /", &[("Host", "a/b")], 400),
            ("GET /", &[("Host", "u@a")], 400),
            ("GET /", &[host, host], 400),
            ("GET http://b/", &[], 400),
            ("GET http://u@b/", &[host], 400),
            ("GET ftp://b/", &[host], 400),
            ("GET *", &[host], 400),
            ("GET b:80", &[host], 400),
            ("GET /", &[host, ("Expect", "the worst")], 417),
            ("GET /", &[host, ("Upgrade", "h2c, WebSocket"), ("Connection", "keep-alive, upgrade")], 501),
            ("CONNECT b:80", &[host], 501),
        ] {
            assert_eq!(status(target, headers), want, "{target} {headers:?}");
        }
    }

    #[test]
    fn the_two_names_of_an_http_2_request_agree() {
        let request = |host: &str| Request::builder().version(Version::HTTP_2).uri("http://a/").header("host", host).body(()).unwrap();
        assert_eq!(vet(&request("a")), Ok(()));
        assert_eq!(vet(&request("b")).map_err(|refused| refused.status.as_u16()), Err(400));
    }
}
