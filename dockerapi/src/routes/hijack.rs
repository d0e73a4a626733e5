//! Taking over a client's connection: HTTP is over, and what follows are streams (`exec`, `attach`).
//!
//! Owns: the two ways in which docker's clients ask for it (`Upgrade: tcp`, and before API 1.22 by nothing) and the answer. Never: what the streams carry.

use crate::call::Call;
use crate::error::{Answer, ApiError};
use axum::body::Body;
use http::{Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use wsw_api::Error;

/// A connection that is no HTTP any more.
pub type Wire = TokioIo<Upgraded>;

/// Answers that the protocol changes, and then has `talk` use the connection.
pub fn take<F>(call: &mut Call, kind: &'static str, talk: impl FnOnce(Wire) -> F + Send + 'static) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let asked = call.headers.get(header::UPGRADE).is_some();
    let Some(upgrade) = call.upgrade.take().filter(|_| asked) else {
        return Err(ApiError::invalid("this takes over the connection: send the headers \"Connection: Upgrade\" and \"Upgrade: tcp\""));
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => talk(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a client left before its connection was taken over"),
        }
    });
    let builder = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header(header::CONTENT_TYPE, kind);
    let built = builder.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp").body(Body::empty());
    built.map_err(|error| Error::internal(format!("answer could not be made: {error}")).into())
}
