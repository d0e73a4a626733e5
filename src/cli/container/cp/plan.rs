//! Where a copy goes and what it is called there: docker's rules, as pure functions.

use wsw_runtime::transfer::path;

use crate::cli::errors::Error;

/// Source or destination of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    pub path: String,
    pub exists: bool,
    pub is_folder: bool,
    /// What its archive calls it, where a link was followed.
    pub rebase: String,
}

/// Which folder the archive is unpacked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub folder: String,
    /// What the first part of its names becomes; none: it stays.
    pub name: Option<String>,
}

pub fn prepare(source: &Info, destination: &Info) -> Result<Plan, Error> {
    let (folder, name) = path::split(&destination.path);
    if destination.exists && destination.is_folder {
        return Ok(Plan { folder: destination.path.clone(), name: None });
    }
    if destination.exists && source.is_folder {
        return Err(Error::plain("cannot copy directory"));
    }
    if !destination.exists && !source.is_folder && path::names_folder(&destination.path) {
        return Err(Error::plain("no such directory"));
    }
    Ok(Plan { folder, name: Some(name) })
}

/// Where a link leads, as a path.
pub fn target_of(link: &str, target: &str) -> String {
    if target.starts_with('/') { target.to_owned() } else { path::join(&path::split(link).0, target) }
}

/// A resolved path with the end of the one that was asked for, and what the archive is to be called where their last parts differ.
pub fn rebased(asked: &str, resolved: &str) -> (String, String) {
    let mut resolved = resolved.to_owned();
    if path::is_dot(asked) && !path::is_dot(&resolved) {
        resolved += "/.";
    }
    if asked.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let (wanted, found) = (path::base(asked), path::base(&resolved));
    let rebase = if wanted == found { String::new() } else { wanted.to_owned() };
    (resolved, rebase)
}

/// The replacements that bring the archive of a source to its plan: what names begin with, and what they shall begin with.
pub fn renames(source: &Info, plan: &Plan) -> Vec<(String, String)> {
    let own = path::split(&source.path).1;
    let old = |name: &str| if name == "/" { String::new() } else { name.to_owned() };
    let mut all = Vec::new();
    if !source.rebase.is_empty() {
        all.push((old(&own), source.rebase.clone()));
    }
    if let Some(name) = &plan.name {
        all.push((old(if source.rebase.is_empty() { &own } else { &source.rebase }), name.clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(path: &str, kind: &str) -> Info {
        Info { path: path.into(), exists: !kind.is_empty(), is_folder: kind == "folder", rebase: String::new() }
    }

    #[test]
    fn docker_s_table_of_sources_and_destinations() {
        for (source, destination, wanted) in [
            (info("/a/f", "file"), info("/b/g", ""), Ok(("/b", Some("g")))),
            (info("/a/f", "file"), info("/b/g/", ""), Err("no such directory")),
            (info("/a/f", "file"), info("/b/g", "file"), Ok(("/b", Some("g")))),
            (info("/a/f", "file"), info("/b/g", "folder"), Ok(("/b/g", None))),
            (info("/a", "folder"), info("/b/g", ""), Ok(("/b", Some("g")))),
            (info("/a", "folder"), info("/b/g/", ""), Ok(("/b", Some("g")))),
            (info("/a", "folder"), info("/b/g", "file"), Err("cannot copy directory")),
            (info("/a/.", "folder"), info("/b/g", "folder"), Ok(("/b/g", None))),
        ] {
            let plan = prepare(&source, &destination).map_err(|error| error.to_string());
            let plan = plan.as_ref().map(|plan| (plan.folder.as_str(), plan.name.as_deref())).map_err(String::as_str);
            assert_eq!(plan, wanted, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn names_are_changed_at_their_beginning() {
        let renamed = |source: Info, name: &str| renames(&source, &Plan { folder: String::new(), name: Some(name.into()) });
        assert_eq!(renamed(info("/a/f", "file"), "g"), [("f".to_owned(), "g".to_owned())]);
        assert_eq!(renamed(info("/", "folder"), "g"), [(String::new(), "g".to_owned())]);
        assert_eq!(renamed(info("/a/.", "folder"), "g"), [(".".to_owned(), "g".to_owned())]);
        let link = Info { rebase: "link".into(), ..info("/a/f", "file") };
        assert_eq!(renamed(link, "g"), [("f".to_owned(), "link".to_owned()), ("link".to_owned(), "g".to_owned())]);
        assert_eq!(rebased("/x/link/.", "/a/f"), ("/a/f/.".into(), String::new()));
        assert_eq!(rebased("/x/link", "/a/f"), ("/a/f".into(), "link".into()));
        assert_eq!(target_of("/x/link", "../f"), "/f");
    }
}
