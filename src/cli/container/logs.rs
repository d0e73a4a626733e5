//! `container logs`: the output of one task of this node, its two streams to ours.

use std::io::Write;

use http::Method;

use crate::cli::{
    Session,
    args::Matches,
    client::escape,
    errors::Error,
    stream::{Channel, Reader},
    system,
    task::text,
};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let found = session.client.get(&format!("/containers/{}/json", escape(&matches.args[0])), &[]).await?;
    let mut query = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned())];
    for name in ["since", "until"] {
        if let Some(given) = matches.text(name).filter(|given| !given.is_empty()) {
            let at = system::timestamp(given).map_err(|why| Error::Plain(format!("invalid value for \"{name}\": {why}")))?;
            query.push((name, at));
        }
    }
    query.extend(["timestamps", "details", "follow"].into_iter().filter(|flag| matches.on(flag)).map(|flag| (flag, "1".to_owned())));
    query.push(("tail", matches.text_or("tail", "all").to_owned()));
    let path = format!("/containers/{}/logs", escape(text(&found["Id"])));
    let mut stream = Reader::new(session.client.stream(Method::GET, &path, &query, None).await?.into_body());
    if found["Config"]["Tty"] == serde_json::Value::Bool(true) {
        while let Some(chunk) = stream.chunk().await? {
            write(Channel::Stdout, &chunk)?;
        }
        return Ok(());
    }
    while let Some((channel, frame)) = stream.frame().await? {
        match channel {
            Channel::System => return Err(Error::Plain(format!("error from daemon in stream: {}", String::from_utf8_lossy(&frame)))),
            channel => write(channel, &frame)?,
        }
    }
    Ok(())
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
