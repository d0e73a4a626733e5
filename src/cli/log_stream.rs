//! What `container logs` and `service logs` share: the query, and the two streams of an answer to ours.

use std::io::Write;

use http::Method;

use super::{
    Session,
    args::Matches,
    errors::Error,
    stream::{Channel, Reader},
    system,
};

pub type Query = Vec<(&'static str, String)>;

/// The query as the flags say; `times` are those that the command has.
pub fn query(matches: &Matches, times: &[&'static str], details: bool) -> Result<Query, Error> {
    let on = || "1".to_owned();
    let mut query = vec![("stdout", on()), ("stderr", on())];
    for name in times {
        if let Some(given) = matches.text(name).filter(|given| !given.is_empty()) {
            let at = system::timestamp(given).map_err(|why| Error::Plain(format!("invalid value for \"{name}\": {why}")))?;
            query.push((name, at));
        }
    }
    query.extend(["timestamps", "follow"].into_iter().filter(|flag| matches.on(flag)).map(|flag| (flag, on())));
    if details {
        query.push(("details", on()));
    }
    query.push(("tail", matches.text_or("tail", "all").to_owned()));
    Ok(query)
}

/// Writes the answer as it is. A terminal's has no frames.
pub async fn copy(session: &Session, path: &str, query: &Query, tty: bool) -> Result<(), Error> {
    if !tty {
        return copy_lines(session, path, query, async |frame| Ok(frame.to_vec())).await;
    }
    let mut stream = open(session, path, query).await?;
    while let Some(chunk) = stream.chunk().await? {
        write(Channel::Stdout, &chunk)?;
    }
    Ok(())
}

/// Writes each frame as `dress` makes it, to the stream that it is of.
pub async fn copy_lines(session: &Session, path: &str, query: &Query, dress: impl AsyncFn(&[u8]) -> Result<Vec<u8>, Error>) -> Result<(), Error> {
    let mut stream = open(session, path, query).await?;
    while let Some((channel, frame)) = stream.frame().await? {
        if channel == Channel::System {
            return Err(Error::Plain(format!("error from daemon in stream: {}", String::from_utf8_lossy(&frame))));
        }
        write(channel, &dress(&frame).await?)?;
    }
    Ok(())
}

async fn open(session: &Session, path: &str, query: &Query) -> Result<Reader, Error> {
    Ok(Reader::new(session.client.stream(Method::GET, path, query, None).await?.into_body()))
}

fn write(channel: Channel, bytes: &[u8]) -> Result<(), Error> {
    if channel == Channel::Stderr {
        std::io::stderr().lock().write_all(bytes)?;
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}
