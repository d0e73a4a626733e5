//! `service rollback`.

use super::{
    progress::{self, Patience},
    scale,
};
use crate::cli::{Session, args::Matches, client::escape, errors::Error, output};

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let name = &matches.args[0];
    let service = session.client.get(&format!("/services/{}", escape(name)), &[]).await?;
    scale::send(&session, &service, &[("rollback", "previous".into())]).await?;
    output::line(name)?;
    if matches.on("detach") {
        return Ok(());
    }
    progress::wait(&session.client, name, matches.on("quiet"), Patience::UntilRunning).await
}
