//! Names as Go's `path/filepath` and docker's archive code take them apart: what a trailing `/` or `/.` means survives.
//!
//! Pure text; what a path leads to is for the kernel to say.

/// Go's `filepath.Clean`: no empty parts, no dots, `..` taken back as far as text allows.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

/// Go's `filepath.Join` of two parts.
pub fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", "") => String::new(),
        ("", only) | (only, "") => clean(only),
        (folder, name) => clean(&format!("{folder}/{name}")),
    }
}

/// Go's `filepath.Base`.
pub fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// Go's `filepath.Dir`.
pub fn parent(path: &str) -> String {
    clean(path.rsplit_once('/').map_or("", |(folder, _)| if folder.is_empty() { "/" } else { folder }))
}

/// Its last part is `.`.
pub fn is_dot(path: &str) -> bool {
    base(path) == "."
}

/// It can only be a folder.
pub fn names_folder(path: &str) -> bool {
    path.ends_with('/') || is_dot(path)
}

/// A path that was cleaned, with the `/` or `/.` that it had at its end.
pub fn with_end_of(cleaned: &str, original: &str) -> String {
    let mut path = cleaned.to_owned();
    if !is_dot(cleaned) && is_dot(original) {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if !path.ends_with('/') && original.ends_with('/') {
        path.push('/');
    }
    path
}

/// Folder and last part; a last `.` stays one.
pub fn split(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if is_dot(path) {
        cleaned += "/.";
    }
    (parent(&cleaned), base(&cleaned).to_owned())
}

/// A path in a container: absolute, with the end that it was given.
pub fn inside(path: &str) -> String {
    with_end_of(&clean(&format!("/{path}")), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_go_does() {
        for (path, cleaned, its_base, its_parent) in [
            ("", ".", ".", "."),
            ("/", "/", "/", "/"),
            ("/..", "/", "..", "/"),
            ("/../a", "/a", "a", "/"),
            ("a/../../b", "../b", "b", ".."),
            ("/a//b/./c/", "/a/b/c", "c", "/a/b/c"),
            ("a/.", "a", ".", "a"),
            ("./a", "a", "a", "."),
        ] {
            assert_eq!((clean(path).as_str(), base(path), parent(path).as_str()), (cleaned, its_base, its_parent), "{path:?}");
        }
        assert_eq!((join("/a", "../b"), join("", "b/"), join("/a", "")), ("/b".into(), "b".into(), "/a".into()));
    }

    #[test]
    fn ends_that_say_folder_are_kept() {
        for (path, wanted) in
            [("a/", "/a/"), ("/a/.", "/a/."), ("a", "/a"), ("/", "/"), (".", "/."), ("..", "/"), ("../../etc/passwd", "/etc/passwd"), ("/.", "/.")]
        {
            assert_eq!(inside(path), wanted, "{path:?}");
        }
        assert_eq!(split("/a/b/."), ("/a/b".into(), ".".into()));
        assert_eq!(split("/a/b/"), ("/a".into(), "b".into()));
        assert_eq!(split("/"), ("/".into(), "/".into()));
        assert_eq!(split("b"), (".".into(), "b".into()));
        assert!(names_folder("a/") && names_folder(".") && !names_folder("a") && !names_folder("a/.b"));
    }
}
