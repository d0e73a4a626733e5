//! The routes: one flat table of all that Docker's API has, and the way of a request through it.
//!
//! Owns: which route is served, which is known but missing (501, with what is missing), and what every answer has in common: headers,
//! JSON errors, a caught panic. Our own matcher, because an image's name in the middle of a path may hold slashes.
//! Invariant: moby's order: an unknown path is 404 before anything else, then the version is checked, then the route runs.

use crate::backend::Backend;
use crate::call::{Call, Query};
use crate::error::{Answer, ApiError};
use crate::negotiate;
use crate::routes::{
    archive, attach, containers, control, events, exec, images, logs, networks, nodes, services, stats, stubs, swarm, system, tasks, top, transfers, volumes,
};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Method;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use wsw_api::Error;

type Handler = fn(Call) -> BoxFuture<'static, Answer>;

enum Action {
    Serve(Handler),
    /// Known to Docker, not to us: what is missing.
    Missing(&'static str),
}

struct Route {
    method: Method,
    /// `{}` stands for one part of the path, `{*}` for one or more.
    pattern: &'static str,
    action: Action,
}

macro_rules! table {
    ($($method:ident $pattern:literal => $($handler:path)? $([$missing:expr])?;)*) => {
        &[$(Route { method: Method::$method, pattern: $pattern, action: table!(@ $($handler)? $([$missing])?) },)*]
    };
    (@ $handler:path) => { Action::Serve(|call| Box::pin($handler(call))) };
    (@ [$missing:expr]) => { Action::Missing($missing) };
}

const RUN: &str = "containers are started and ended by services; use docker service";
const FILES: &str = "docker cp copies files out of a container, docker image save whole images";
const BUILD: &str = "images are built elsewhere; load them with docker load";
const SEARCH: &str = "registries have no search of their own; Docker Hub has a web page for it";
const NETWORKS: &str = "a task is on the networks of its service; use docker service update --network-add";
const SECRETS: &str = "secrets come with a later version";
const CONFIGS: &str = "configs come with a later version";
const PLUGINS: &str = "there are no plugins; shims are named by the label wsw.runtime";
const PAUSE: &str = "a Wasm task has no processes of its own that could be frozen; scale its service instead";
const REPLACED: &str =
    "a Wasm task is never started again in its place; docker stop ends it and its service starts another, docker service update --force replaces all";
const SPEC: &str = "a task has its name and limits from its service; use docker service update";

static ROUTES: &[Route] = table! {
    GET "/_ping" => system::ping;
    HEAD "/_ping" => system::ping;
    GET "/version" => system::version;
    GET "/info" => system::info;
    GET "/events" => events::stream;
    GET "/system/df" => system::disk_usage;
    POST "/auth" => transfers::login;

    GET "/swarm" => swarm::inspect;
    POST "/swarm/init" => swarm::init;
    POST "/swarm/join" => swarm::join;
    POST "/swarm/leave" => swarm::leave;
    POST "/swarm/update" => swarm::update;
    GET "/swarm/unlockkey" => swarm::unlock_key;
    POST "/swarm/unlock" => swarm::unlock;

    GET "/nodes" => nodes::list;
    GET "/nodes/{}" => nodes::inspect;
    POST "/nodes/{}/update" => nodes::update;
    DELETE "/nodes/{}" => nodes::remove;

    GET "/services" => services::list;
    POST "/services/create" => services::create;
    GET "/services/{}" => services::inspect;
    POST "/services/{}/update" => services::update;
    DELETE "/services/{}" => services::remove;
    GET "/services/{}/logs" => logs::service;

    GET "/tasks" => tasks::list;
    GET "/tasks/{}" => tasks::inspect;
    GET "/tasks/{}/logs" => logs::task;

    GET "/images/json" => images::list;
    GET "/images/{*}/json" => images::inspect;
    POST "/images/load" => transfers::load;
    DELETE "/images/{*}" => images::remove;
    GET "/distribution/{*}/json" => transfers::distribution;
    POST "/images/create" => transfers::create;
    GET "/images/search" => [SEARCH];
    GET "/images/get" => transfers::save_all;
    GET "/images/{*}/get" => transfers::save;
    GET "/images/{*}/history" => images::history;
    GET "/images/{*}/attestations" => ["attestations are not kept"];
    POST "/images/{*}/push" => transfers::push;
    POST "/images/{*}/tag" => images::tag;
    POST "/images/prune" => images::prune;
    POST "/commit" => [BUILD];
    POST "/build" => [BUILD];
    POST "/build/prune" => images::prune_code;
    POST "/build/cancel" => [BUILD];
    POST "/session" => [BUILD];
    POST "/grpc" => [BUILD];

    GET "/containers/json" => containers::list;
    GET "/containers/{}/json" => containers::inspect;
    GET "/containers/{}/logs" => logs::container;
    POST "/containers/create" => [RUN];
    POST "/containers/prune" => control::prune;
    POST "/containers/{}/start" => [REPLACED];
    POST "/containers/{}/stop" => control::stop;
    POST "/containers/{}/restart" => [REPLACED];
    POST "/containers/{}/kill" => control::kill;
    POST "/containers/{}/pause" => [PAUSE];
    POST "/containers/{}/unpause" => [PAUSE];
    POST "/containers/{}/rename" => [SPEC];
    POST "/containers/{}/update" => [SPEC];
    POST "/containers/{}/wait" => control::wait;
    DELETE "/containers/{}" => control::remove;
    POST "/containers/{}/attach" => attach::attach;
    GET "/containers/{}/attach/ws" => ["attach over a web socket; use POST /containers/{id}/attach"];
    POST "/containers/{}/resize" => attach::resize;
    POST "/containers/{}/exec" => exec::create;
    POST "/exec/{}/start" => exec::start;
    POST "/exec/{}/resize" => exec::resize;
    GET "/exec/{}/json" => exec::inspect;
    GET "/containers/{}/top" => top::top;
    GET "/containers/{}/stats" => stats::stats;
    GET "/containers/{}/changes" => [FILES];
    GET "/containers/{}/export" => [FILES];
    GET "/containers/{}/archive" => archive::archive;
    HEAD "/containers/{}/archive" => archive::stat;
    PUT "/containers/{}/archive" => archive::extract;
    GET "/containers/{}/checkpoints" => ["tasks cannot be frozen to disk"];
    POST "/containers/{}/checkpoints" => ["tasks cannot be frozen to disk"];
    DELETE "/containers/{}/checkpoints/{}" => ["tasks cannot be frozen to disk"];

    GET "/networks" => networks::list;
    GET "/networks/{}" => networks::inspect;
    POST "/networks/create" => networks::create;
    POST "/networks/prune" => networks::prune;
    POST "/networks/{}/connect" => [NETWORKS];
    POST "/networks/{}/disconnect" => [NETWORKS];
    DELETE "/networks/{}" => networks::remove;

    GET "/volumes" => volumes::list;
    GET "/volumes/{}" => volumes::inspect;
    POST "/volumes/create" => volumes::create;
    POST "/volumes/prune" => volumes::prune;
    PUT "/volumes/{}" => volumes::update;
    DELETE "/volumes/{}" => volumes::remove;

    GET "/secrets" => stubs::none;
    GET "/secrets/{}" => stubs::secret;
    POST "/secrets/create" => [SECRETS];
    POST "/secrets/{}/update" => [SECRETS];
    DELETE "/secrets/{}" => stubs::secret;

    GET "/configs" => stubs::none;
    GET "/configs/{}" => stubs::config;
    POST "/configs/create" => [CONFIGS];
    POST "/configs/{}/update" => [CONFIGS];
    DELETE "/configs/{}" => stubs::config;

    GET "/plugins" => stubs::none;
    GET "/plugins/privileges" => [PLUGINS];
    GET "/plugins/{*}/json" => stubs::plugin;
    POST "/plugins/pull" => [PLUGINS];
    POST "/plugins/create" => [PLUGINS];
    POST "/plugins/{*}/enable" => [PLUGINS];
    POST "/plugins/{*}/disable" => [PLUGINS];
    POST "/plugins/{*}/upgrade" => [PLUGINS];
    POST "/plugins/{*}/push" => [PLUGINS];
    POST "/plugins/{*}/set" => [PLUGINS];
    DELETE "/plugins/{*}" => [PLUGINS];
};

/// The API over a backend.
pub fn router(backend: Arc<dyn Backend>) -> Router {
    Router::new().fallback(move |request: Request| answer(backend.clone(), request))
}

/// Any request to its answer: never without the headers, never a panic.
async fn answer(backend: Arc<dyn Backend>, request: Request) -> Response {
    let done = AssertUnwindSafe(dispatch(backend, request)).catch_unwind().await;
    let result = done.unwrap_or_else(|_| Err(Error::internal("a fault in the daemon ended this request; its log says more").into()));
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    negotiate::add_headers(response.headers_mut());
    response
}

async fn dispatch(backend: Arc<dyn Backend>, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let (version, path) = negotiate::split(parts.uri.path());
    let Some((route, name)) = find(&parts.method, path) else {
        return Err(ApiError::not_found("page not found"));
    };
    let version = negotiate::check(version)?;
    match &route.action {
        Action::Missing(why) => Err(ApiError::missing(&format!("{} {}", parts.method, path), why)),
        Action::Serve(handler) => {
            let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
                .map_err(|error| ApiError::invalid(format!("query could not be read: {error}")))?;
            let upgrade = parts.extensions.remove();
            handler(Call { backend, version, name, query: Query(query.0), headers: parts.headers, body: Mutex::new(body), upgrade }).await
        }
    }
}

/// The route of a path and the variable part of it. Fixed parts win: `/images/json` is no image's name.
fn find(method: &Method, path: &str) -> Option<(&'static Route, String)> {
    let fits = |route: &'static Route| (route.method == *method).then(|| captured(route.pattern, path)).flatten().map(|name| (route, name));
    let fixed = ROUTES.iter().find(|route| route.method == *method && route.pattern == path);
    match fixed {
        Some(route) => Some((route, String::new())),
        None => ROUTES.iter().find_map(fits),
    }
}

/// What stands for the variable part of the pattern (the first, when there are two); none when the path does not fit.
fn captured(pattern: &str, path: &str) -> Option<String> {
    let Some((head, tail)) = pattern.split_once('{') else { return (pattern == path).then(String::new) };
    let (kind, tail) = tail.split_once('}')?;
    let rest = path.strip_prefix(head)?;
    let name = match tail {
        "" => rest,
        _ if kind == "*" => rest.strip_suffix(tail)?,
        _ => {
            let (name, after) = rest.split_at(rest.find('/')?);
            captured(tail, after)?;
            name
        }
    };
    if name.is_empty() || (kind.is_empty() && name.contains('/')) {
        return None;
    }
    percent_encoding::percent_decode_str(name).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: Method, path: &str) -> Option<(&'static str, String)> {
        find(&method, path).map(|(route, name)| (route.pattern, name))
    }

    #[test]
    fn names_may_hold_slashes_only_where_images_stand() {
        assert_eq!(name(Method::GET, "/images/reg.example:5000/lib/app:v1/json"), Some(("/images/{*}/json", "reg.example:5000/lib/app:v1".into())));
        assert_eq!(name(Method::GET, "/images/json"), Some(("/images/json", String::new())));
        assert_eq!(name(Method::GET, "/services/a%2Fb"), Some(("/services/{}", "a/b".into())));
        assert_eq!(name(Method::GET, "/services/web/logs"), Some(("/services/{}/logs", "web".into())));
        assert_eq!(name(Method::DELETE, "/containers/a/checkpoints/b").map(|found| found.0), Some("/containers/{}/checkpoints/{}"));
        for path in ["/services/a/b", "/services/", "/images//json", "/nope", "/", "", "/services/a/logs/x"] {
            assert_eq!(name(Method::GET, path), None, "{path}");
        }
        assert_eq!(name(Method::PATCH, "/services"), None);
    }

    #[test]
    fn no_route_stands_twice() {
        let mut all: Vec<_> = ROUTES.iter().map(|route| (route.method.as_str(), route.pattern)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
