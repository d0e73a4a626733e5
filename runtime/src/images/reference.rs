//! Image references, as Docker reads and writes them: `[domain/]path[:tag][@digest]`.
//!
//! Owns: the grammar (distribution's `reference` package), the defaults (`docker.io/library/`, `latest`) and the short form.

use crate::error::{Error, Result};
use std::fmt;

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest repository name and longest tag of the grammar.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A reference with its domain; printed in full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io/library/app`
    pub name: String,
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a reference; what is not one is refused in Docker's words.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::Invalid(format!("invalid reference format: {text:?}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        if digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
            return Err(bad());
        }
        let colon = rest.rfind(':').filter(|at| !rest[*at..].contains('/'));
        let (name, tag) = match colon {
            Some(at) => (&rest[..at], Some(rest[at + 1..].to_owned())),
            None => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(bad());
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Error::Invalid(format!("invalid reference format: repository name ({name}) must be lowercase")));
        }
        let name = format!("{domain}/{}{path}", if domain == DEFAULT_DOMAIN && !path.contains('/') { OFFICIAL } else { "" });
        if !is_domain(domain) || !path.split('/').all(is_component) || name.len() > MAX_NAME {
            return Err(bad());
        }
        Ok(Self { name, tag, digest })
    }

    /// The name under which the index keeps it: with its tag, `latest` when none is given.
    pub fn tagged(&self) -> String {
        format!("{}:{}", self.name, self.tag.as_deref().unwrap_or(DEFAULT_TAG))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// The short form of a full name: `docker.io/library/app:latest` is `app:latest`.
pub fn familiar(full: &str) -> &str {
    let short = full.strip_prefix("docker.io/").unwrap_or(full);
    short.strip_prefix(OFFICIAL).unwrap_or(short)
}

fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) => {
            (if first == "index.docker.io" { DEFAULT_DOMAIN } else { first }, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label =
        |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    host.split('.').all(label) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(inner)
        && !["..", "._", "_.", "___", ".-", "-."].iter().any(|pair| text.contains(pair))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG && text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// `sha256:` and 64 hexadecimal digits: the only algorithm that is served.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && is_hex(hex))
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_shortened_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, full) in [
            ("app", "docker.io/library/app:latest"),
            ("app:v1", "docker.io/library/app:v1"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/app:1.0", "localhost/app:1.0"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x"),
            ("docker.io/library/app:latest", "docker.io/library/app:latest"),
            ("index.docker.io/app", "docker.io/library/app:latest"),
            ("hello-http_x.wasm", "docker.io/library/hello-http_x.wasm:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().tagged(), full, "{text}");
        }
        assert_eq!(familiar("docker.io/library/app:latest"), "app:latest");
        assert_eq!(familiar("docker.io/me/app:v1"), "me/app:v1");
        assert_eq!(familiar("ghcr.io/a/b:x"), "ghcr.io/a/b:x");
        let pinned = Reference::parse(&format!("app:latest@{digest}")).unwrap();
        assert_eq!(pinned.digest.as_deref(), Some(digest.as_str()));
        assert_eq!(pinned.to_string(), format!("docker.io/library/app:latest@{digest}"));
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        let short = format!("app@sha256:{}", "a".repeat(63));
        for text in [
            "",
            ":",
            "app:",
            "/app",
            "app/",
            "a//b",
            "-app",
            "app-",
            "app:-x",
            "app@sha256:zz",
            &short,
            "app@md5:00",
            "a b",
            "a\n",
            "../a",
            "./app.wasm",
            "a:b:c/d",
            "a..b",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse("App").unwrap_err().to_string().contains("must be lowercase"));
    }
}
