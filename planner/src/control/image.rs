//! Image references: whether a text can name an image at all.
//!
//! Owns: the grammar of `distribution/reference` as far as a yes or no needs it. Whether the image exists is for others to say.

/// Longest repository name, with its registry.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Shortest hexadecimal digest.
const MIN_DIGEST: usize = 32;

/// True for `[registry[:port]/]path[:tag][@algorithm:digest]`.
pub(super) fn is_reference(text: &str) -> bool {
    let (rest, digest) = split(text, '@');
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) || name.is_empty() || name.len() > MAX_NAME {
        return false;
    }
    let path = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => {
            if !is_host(first) {
                return false;
            }
            path
        }
        _ => name,
    };
    // 64 hexadecimal characters are an image id, not a name.
    let is_id = path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) && path == name;
    !is_id && path.split('/').all(is_component)
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

/// The first part is a registry when it looks like a host (`localhost`, a dot, a port, or letters no path may have).
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(inner) = name.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    name.split('.').all(|label| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && ends && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Lower case letters and digits, with single separators between them: `.`, `_`, `__` or dashes.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(word) && part.bytes().next_back().is_some_and(word);
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|text| !text.is_empty());
    ends && part.is_ascii() && separators.into_iter().all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let head = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    head && tag.len() <= MAX_TAG && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let named = algorithm.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    named
        && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-_".contains(&b))
        && hex.len() >= MIN_DIGEST
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references() {
        let digest = "a".repeat(64);
        for good in
            ["alpine", "app:latest", "my_app", "a--b", "localhost/app", "localhost:5000/x/y:1.0", "Registry.example/x", "[::1]:5000/app", "library/alpine:3"]
        {
            assert!(is_reference(good), "{good}");
        }
        assert!(is_reference(&format!("app:latest@sha256:{digest}")));
        assert!(is_reference(&format!("app@sha256:{digest}")));
        for bad in ["", "UPPER", "a//b", "a b", "-a", "a-", "a___b", "app:", "app:.x", "app@sha256:12", "app@", ":tag", "http://x", "x:99999999/y", "ünï"] {
            assert!(!is_reference(bad), "{bad}");
        }
        assert!(!is_reference(&digest), "an id is not a name");
    }
}
