//! `cp`: files and folders between a container and this machine, by docker's rules.
//!
//! The API knows archives and what a path is, no more: where things go and what they are called is worked out here (`plan`), from what source and destination are. Archives are
//! streamed. The copying itself is the runtime's own (`wsw_runtime::transfer`): what a container sends is unpacked below the destination and nowhere else.

mod local;
mod plan;
mod progress;
mod remote;

use std::io::IsTerminal;

use wsw_runtime::transfer::path;

use self::{plan::Info, progress::Progress};
use crate::cli::{Session, args::Matches, errors::Error, output};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let (source, destination) = (&matches.args[0], &matches.args[1]);
    for (text, what) in [(source, "source"), (destination, "destination")] {
        if text.is_empty() {
            return Err(Error::Plain(format!("{what} can not be empty")));
        }
    }
    let quiet = if matches.changed("quiet") { matches.on("quiet") } else { !output::stdout_is_terminal() };
    let copy = Copy { session: &session, follows: matches.on("follow-link"), archive: matches.on("archive"), quiet };
    match (container_of(source), container_of(destination)) {
        (Some((container, path)), None) => copy.take_out(container, path, destination).await,
        (None, Some((container, path))) => copy.put_in(container, source, path).await,
        (Some(_), Some(_)) => Err(Error::plain("copying between containers is not supported")),
        (None, None) => Err(Error::plain("must specify at least one container source")),
    }
}

/// `CONTAINER:PATH`; what begins with `/` or `.` is a path here, whatever colons it has.
fn container_of(text: &str) -> Option<(&str, &str)> {
    let (container, path) = text.split_once(':')?;
    let is_local = container.is_empty() || container.starts_with(['/', '.']);
    (!is_local).then_some((container, path))
}

struct Copy<'a> {
    session: &'a Session,
    /// The link that the source is counts for what it leads to.
    follows: bool,
    archive: bool,
    quiet: bool,
}

impl Copy<'_> {
    async fn take_out(&self, container: &str, source: &str, destination: &str) -> Result<(), Error> {
        let to = if destination == "-" { destination.to_owned() } else { local::absolute(destination)? };
        local::check_output(&to)?;
        let (mut source, mut rebase) = (source.to_owned(), String::new());
        if self.follows
            && let Ok(found) = remote::stat(self.session, container, &source).await
            && found.is_link()
        {
            (source, rebase) = plan::rebased(&source, &plan::target_of(&source, &found.link_target));
        }
        let (found, body) = remote::archive(self.session, container, &source).await?;
        if to == "-" {
            return remote::print(body).await;
        }
        let info = Info { path: source, exists: true, is_folder: found.is_folder(), rebase };
        let progress = Progress::start(self.quiet, "Copying from container - ");
        let destination = to.clone();
        let done = local::unpack(body, info, destination, progress.counter()).await;
        progress.end(done.is_ok().then_some(to.as_str()));
        done
    }

    async fn put_in(&self, container: &str, source: &str, destination: &str) -> Result<(), Error> {
        let from = if source == "-" { source.to_owned() } else { local::absolute(source)? };
        let info = self.destination(container, destination).await?;
        let shown = format!("{container}:{}", info.path);
        if from == "-" {
            if !info.is_folder {
                return Err(Error::Plain(format!("destination \"{container}:{destination}\" must be a directory")));
            }
            let progress = Progress::start(self.quiet, "Copying to container - ");
            let done = remote::extract(self.session, container, &info.path, self.archive, remote::stdin()).await;
            progress.end(done.is_ok().then_some(shown.as_str()));
            return done;
        }
        let source = local::source(&from, self.follows)?;
        let plan = plan::prepare(&source, &info)?;
        let progress = Progress::start(self.quiet, "Copying to container - ");
        let name = plan.name.unwrap_or_else(|| source.name());
        let (packing, body) = local::pack(source.path, name, progress.counter());
        let done = remote::extract(self.session, container, &plan.folder, self.archive, body).await;
        // What hindered the packing is why the daemon got no whole archive.
        let done = match (packing.await.map_err(|error| Error::Plain(error.to_string()))?, done) {
            (Err(error), Err(_)) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Plain(error.to_string())),
            (_, done) => done,
        };
        progress.end(done.is_ok().then_some(shown.as_str()));
        done
    }

    /// What the destination is; one that cannot be looked at may still come to be.
    async fn destination(&self, container: &str, destination: &str) -> Result<Info, Error> {
        let mut info = Info { path: destination.to_owned(), ..Info::default() };
        let mut found = remote::stat(self.session, container, destination).await;
        if let Ok(link) = &found
            && link.is_link()
        {
            info.path = plan::target_of(destination, &link.link_target);
            found = remote::stat(self.session, container, &info.path).await;
        }
        if let Ok(found) = found {
            if found.is_device() {
                return Err(Error::Plain(format!("destination \"{container}:{destination}\" must be a directory or a regular file: got a device")));
            }
            (info.exists, info.is_folder) = (true, found.is_folder());
        }
        Ok(info)
    }
}

/// Whether there is somebody to show progress to.
fn shows() -> bool {
    std::io::stderr().is_terminal()
}

impl Info {
    /// What its archive's first entry is called.
    fn name(&self) -> String {
        if !self.rebase.is_empty() {
            return self.rebase.clone();
        }
        match path::split(&self.path).1.as_str() {
            "/" => String::new(),
            name => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_stands_before_the_first_colon() {
        for (text, wanted) in [
            ("c:/a:b", Some(("c", "/a:b"))),
            ("c:", Some(("c", ""))),
            ("./c:a", None),
            ("/c:a", None),
            ("file", None),
            ("-", None),
            (":a", None),
            ("..:a", None),
        ] {
            assert_eq!(container_of(text), wanted, "{text}");
        }
    }
}
