//! `save` and `tag`.

use std::io::{IsTerminal, Write};
use std::path::Path;

use http::Method;

use crate::cli::{Session, args::Matches, errors::Error, format::reference, registry::escape_path, service::options::os_text, stream::Reader};

pub async fn save(session: Session, matches: Matches) -> Result<(), Error> {
    let target = matches.text("output").filter(|path| !path.is_empty());
    if target.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::plain("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    if let Some(path) = target {
        check(Path::new(path)).map_err(|why| Error::Plain(format!("failed to save image: {why}")))?;
    }
    let mut query: Vec<_> = matches.args.iter().map(|image| ("names", image.clone())).collect();
    if let Some(platform) = matches.text("platform").filter(|platform| !platform.is_empty()) {
        query.push(("platform", super::load::platform_json(platform).to_string()));
    }
    let answer = session.client.stream(Method::GET, "/images/get", &query, None).await?;
    let mut reader = Reader::new(answer.into_body());
    let Some(path) = target else {
        let mut out = std::io::stdout().lock();
        while let Some(piece) = reader.chunk().await? {
            out.write_all(&piece)?;
        }
        return Ok(out.flush()?);
    };
    // Under another name until it is whole: a cut connection leaves no half archive.
    let temp = format!("{path}.{}.part", std::process::id());
    let written = write(&mut reader, &temp, path).await;
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    written
}

async fn write(reader: &mut Reader, temp: &str, path: &str) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Plain(format!("open {path}: {}", os_text(&error)));
    let mut file = {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temp).map_err(failed)?
    };
    while let Some(piece) = reader.chunk().await? {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    std::fs::rename(temp, path).map_err(failed)
}

/// docker's look at a place to write to.
fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if !folder.exists() {
        return Err(format!("invalid output path: directory {:?} does not exist", folder.display().to_string()));
    }
    match std::fs::metadata(path) {
        Ok(data) if data.is_dir() => Err(format!("invalid output path: {shown:?} must be a regular file")),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub async fn tag(session: Session, matches: Matches) -> Result<(), Error> {
    let [source, target] = matches.args.as_slice() else { return Err(Error::plain("a source and a target are needed")) };
    let ends = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.ends_with(|c: char| c.is_ascii_alphanumeric());
    let found = reference::parse(target).filter(|found| found.familiar.split('/').all(ends));
    let Some(reference::Reference { familiar, tag, digest: None }) = found else {
        return Err(Error::Plain(format!("Error parsing reference: {target:?} is not a valid repository/tag: invalid reference format")));
    };
    let query = [("repo", familiar.to_owned()), ("tag", tag.unwrap_or("latest").to_owned())];
    session.client.post(&format!("/images/{}/tag", escape_path(source)), &query, None).await.map(drop)
}
