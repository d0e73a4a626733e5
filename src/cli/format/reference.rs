//! Image names as users see them.

/// An image name taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The name without what docker.io names leave out.
    pub familiar: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

/// Takes `docker.io/library/app:1@sha256:…` apart; `None` for what is no image name.
pub fn parse(image: &str) -> Option<Reference<'_>> {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_start..].split_once(':') {
        Some((name, tag)) => (&rest[..name_start + name.len()], Some(tag)),
        None => (rest, None),
    };
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let is_id = name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit());
    // The registry's host may have upper case; the path may not.
    let path = name.split_once('/').filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost").map_or(name, |(_, path)| path);
    if path.is_empty() || !path.chars().all(valid) || is_id || tag.is_some_and(str::is_empty) {
        return None;
    }
    let familiar = name.strip_prefix("docker.io/").or_else(|| name.strip_prefix("index.docker.io/")).unwrap_or(name);
    let familiar = if familiar.len() < name.len() || name.starts_with("library/") { familiar.strip_prefix("library/").unwrap_or(familiar) } else { familiar };
    Some(Reference { familiar, tag, digest })
}

/// Why `image` is no image name, in docker's words; `None` where it is one.
pub fn fault(image: &str) -> Option<String> {
    if parse(image).is_some() {
        return None;
    }
    let name = image.split('@').next().unwrap_or_default();
    let host_and_path = name.split_once('/').filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost");
    let path = match host_and_path {
        Some((_, path)) => path.to_owned(),
        None if name.contains('/') => name.to_owned(),
        None => format!("library/{name}"),
    };
    let path = path.rsplit_once(':').map_or(path.as_str(), |(path, _)| path);
    let lower = if path.to_lowercase() == path { String::new() } else { format!(": repository name ({path}) must be lowercase") };
    Some(format!("invalid reference format{lower}"))
}

/// The image of a service or task in a table: a digest behind a tag is not shown.
pub fn without_digest(image: &str) -> String {
    match parse(image) {
        Some(Reference { familiar, tag: Some(tag), .. }) => format!("{familiar}:{tag}"),
        _ => image.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told() {
        assert_eq!(fault("app:1"), None);
        assert_eq!(fault("a b").as_deref(), Some("invalid reference format"));
        assert_eq!(fault("App:1").as_deref(), Some("invalid reference format: repository name (library/App) must be lowercase"));
        assert_eq!(fault("reg.example/a/B").as_deref(), Some("invalid reference format: repository name (a/B) must be lowercase"));
    }

    #[test]
    fn names_are_shown_familiar() {
        assert_eq!(without_digest("docker.io/library/nginx:1@sha256:aa"), "nginx:1");
        assert_eq!(without_digest("app:latest@sha256:aa"), "app:latest");
        assert_eq!(without_digest("localhost:5000/app:2@sha256:aa"), "localhost:5000/app:2");
        assert_eq!(without_digest("nginx@sha256:aa"), "nginx@sha256:aa");
        assert_eq!(without_digest("Not A Name"), "Not A Name");
    }
}
