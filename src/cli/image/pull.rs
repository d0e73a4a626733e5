//! `pull` and `push`.

use http::Method;

use super::progress;
use crate::cli::{Session, args::Matches, credentials, errors::Error, format::reference, output, registry};

/// docker's words for a name that is none.
fn bad(image: &str) -> Error {
    let name = image.split('@').next().unwrap_or(image);
    let path = name.split_once('/').filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost").map_or(name, |(_, path)| path);
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Error::Plain(format!("invalid reference format: repository name ({path}) must be lowercase"));
    }
    Error::plain("invalid reference format")
}

/// `docker.io/library/app:latest`.
fn full(image: &str) -> String {
    let host = image.split_once('/').map(|(host, _)| host).filter(|host| host.contains(['.', ':']) || *host == "localhost");
    match (host, image.contains('/')) {
        (Some(_), _) => image.to_owned(),
        (None, true) => format!("docker.io/{image}"),
        (None, false) => format!("docker.io/library/{image}"),
    }
}

/// Takes a name apart; says so when `latest` is meant and not written.
fn named<'a>(given: &'a str, matches: &Matches) -> Result<(&'a str, Option<String>), Error> {
    let reference::Reference { familiar, tag, digest } = reference::parse(given).ok_or_else(|| bad(given))?;
    let (all, quiet) = (matches.on("all-tags"), matches.on("quiet"));
    if all && (tag.is_some() || digest.is_some()) {
        return Err(Error::plain("tag can't be used with --all-tags/-a"));
    }
    let tag = match (tag, digest) {
        (_, Some(digest)) => Some(digest.to_owned()),
        (Some(tag), None) => Some(tag.to_owned()),
        (None, None) if all => None,
        (None, None) => {
            if !quiet {
                output::line("Using default tag: latest")?;
            }
            Some("latest".to_owned())
        }
    };
    Ok((familiar, tag))
}

pub async fn pull(session: Session, matches: Matches) -> Result<(), Error> {
    let given = matches.args.first().map(String::as_str).unwrap_or_default();
    let quiet = matches.on("quiet");
    let (familiar, tag) = named(given, &matches)?;
    let mut query = vec![("fromImage", familiar.to_owned())];
    query.extend(tag.clone().map(|tag| ("tag", tag)));
    if let Some(platform) = matches.text("platform").filter(|platform| !platform.is_empty()) {
        query.push(("platform", platform.to_lowercase()));
    }
    let headers = [credentials::header(familiar)];
    let answer = session.client.stream_with(Method::POST, "/images/create", &query, &headers, None).await?;
    progress::show(answer, quiet).await?;
    let mark = if tag.as_deref().is_some_and(|tag| tag.starts_with("sha256:")) { "@" } else { ":" };
    output::line(&full(&tag.map_or_else(|| familiar.to_owned(), |tag| format!("{familiar}{mark}{tag}"))))
}

pub async fn push(session: Session, matches: Matches) -> Result<(), Error> {
    let given = matches.args.first().map(String::as_str).unwrap_or_default();
    let quiet = matches.on("quiet");
    let (familiar, tag) = named(given, &matches)?;
    let query: Vec<_> = tag.clone().map(|tag| ("tag", tag)).into_iter().collect();
    let headers = [credentials::header(familiar)];
    let path = format!("/images/{}/push", registry::escape_path(familiar));
    let answer = session.client.stream_with(Method::POST, &path, &query, &headers, None).await?;
    progress::show(answer, quiet).await?;
    if quiet {
        output::line(&full(&tag.map_or_else(|| familiar.to_owned(), |tag| format!("{familiar}:{tag}"))))?;
    }
    Ok(())
}
