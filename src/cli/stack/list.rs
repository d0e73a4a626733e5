//! `stack ls`, `stack services` and `stack ps`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{check_name, of_stack};
use crate::cli::{
    Session,
    args::Matches,
    client::{filter_query, given_filters},
    compose::convert::NAMESPACE,
    errors::Error,
    format::{config, natural, table},
    output, service,
    task::{self, Names, text},
    template::Val,
};

const COLUMNS: table::Columns = table::Columns { default: "{{.Name}}\t{{.Services}}", titles: &[("Name", "NAME"), ("Services", "SERVICES")], raw: "" };

pub async fn ls(session: Session, matches: Matches) -> Result<(), Error> {
    let query = filter_query(&[("label".to_owned(), NAMESPACE.to_owned())]);
    let services = session.client.get("/services", &query).await?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for service in services.as_array().into_iter().flatten() {
        *counts.entry(text(&service["Spec"]["Labels"][NAMESPACE])).or_default() += 1;
    }
    let mut stacks: Vec<_> = counts.into_iter().collect();
    stacks.sort_by(|(a, _), (b, _)| natural::compare(a, b));
    let row = |(name, count): (&str, usize)| Val::row("*formatter.stackContext", [("Name", Val::from(name)), ("Services", Val::from(count.to_string()))]);
    let rows: Vec<Val> = stacks.into_iter().map(row).collect();
    let format = table::choose(matches.text("format"), false, &COLUMNS);
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

/// The filters of the command line with that of the stack.
fn filters_of(matches: &Matches, stack: &str) -> Vec<(String, String)> {
    let mut given = given_filters(matches.list("filter"));
    given.push(("label".into(), format!("{NAMESPACE}={stack}")));
    given
}

pub async fn services(session: Session, matches: Matches) -> Result<(), Error> {
    let stack = &matches.args[0];
    check_name(stack)?;
    let quiet = matches.on("quiet");
    let mut query = filter_query(&filters_of(&matches, stack));
    if !quiet {
        query.push(("status", "true".into()));
    }
    let services = session.client.get("/services", &query).await?;
    let services = services.as_array().map_or(&[][..], Vec::as_slice);
    if services.is_empty() {
        output::warn(&format!("Nothing found in stack: {stack}"));
        return Ok(());
    }
    service::ls::print(services, &matches)
}

pub async fn ps(session: Session, matches: Matches) -> Result<(), Error> {
    let stack = &matches.args[0];
    check_name(stack)?;
    let tasks = session.client.get("/tasks", &filter_query(&filters_of(&matches, stack))).await?;
    let tasks: &[Value] = tasks.as_array().map_or(&[], Vec::as_slice);
    if tasks.is_empty() {
        return Err(Error::Plain(format!("nothing found in stack: {stack}")));
    }
    let names = Names::new(session.client.clone(), !matches.on("no-resolve"));
    let format = config::format(&matches, "tasksFormat");
    let view = task::View { format: format.as_deref(), quiet: matches.on("quiet"), truncate: !matches.on("no-trunc") };
    task::print(tasks, &names, view).await
}

/// The services of a stack, as they are.
pub async fn owned_services(session: &Session, stack: &str) -> Result<Vec<Value>, Error> {
    of_stack(&session.client, "/services", stack).await
}
