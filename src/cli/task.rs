//! Tasks in a table, and names for the ids in it: shared by `service ps`, `node ps` and `service logs`.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use serde_json::Value;

use super::{
    client::Client,
    errors::Error,
    format::{self, natural, reference, table, time, units},
    output,
    template::Val,
};

/// Longer errors are cut in a table.
const ERROR_WIDTH: usize = 30;

pub const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
    titles: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
    raw: "id: {{.ID}}\nname: {{.Name}}\nimage: {{.Image}}\nnode: {{.Node}}\ndesired_state: {{.DesiredState}}\ncurrent_state: {{.CurrentState}}\nerror: {{.Error}}\nports: {{.Ports}}\n",
};

/// Names of nodes and services by id, asked once each. With `--no-resolve` an id is its own name.
pub struct Names {
    client: Rc<Client>,
    resolves: bool,
    known: RefCell<BTreeMap<String, String>>,
}

impl Names {
    pub fn new(client: Rc<Client>, resolves: bool) -> Names {
        Names { client, resolves, known: RefCell::default() }
    }

    pub async fn node(&self, id: &str) -> String {
        self.name(id, "nodes", |node| {
            let name = text(&node["Spec"]["Name"]);
            if name.is_empty() { text(&node["Description"]["Hostname"]) } else { name }
        })
        .await
    }

    pub async fn service(&self, id: &str) -> String {
        self.name(id, "services", |service| text(&service["Spec"]["Name"])).await
    }

    async fn name(&self, id: &str, kind: &str, pick: fn(&Value) -> &str) -> String {
        if !self.resolves || id.is_empty() {
            return id.to_owned();
        }
        let known = self.known.borrow().get(id).cloned();
        if let Some(name) = known {
            return name;
        }
        // A name is a convenience: without it the id is shown.
        let object = self.client.get(&format!("/{kind}/{id}"), &[]).await.unwrap_or_default();
        let name = Some(pick(&object)).filter(|name| !name.is_empty()).unwrap_or(id).to_owned();
        self.known.borrow_mut().insert(id.to_owned(), name.clone());
        name
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub struct View<'a> {
    pub format: Option<&'a str>,
    pub quiet: bool,
    pub truncate: bool,
}

/// Prints `tasks`: by name, the newest of a slot first, its predecessors indented below it.
pub async fn print(tasks: &[Value], names: &Names, view: View<'_>) -> Result<(), Error> {
    let mut named = Vec::with_capacity(tasks.len());
    for task in tasks {
        let service = names.service(text(&task["ServiceID"])).await;
        let name = match task["Slot"].as_u64() {
            Some(slot) if slot > 0 => format!("{service}.{slot}"),
            _ => format!("{service}.{}", text(&task["NodeID"])),
        };
        named.push((name, task));
    }
    named.sort_by(|(a, x), (b, y)| natural::compare(a, b).then_with(|| created(y).cmp(&created(x))));
    let format = table::choose(view.format, view.quiet, &COLUMNS);
    let indent = if table::is_table(&format) { " \\_ " } else { "" };
    let mut rows = Vec::with_capacity(named.len());
    let mut previous = "";
    for (name, task) in &named {
        let shown = if name == previous { format!("{indent}{name}") } else { name.clone() };
        previous = name;
        rows.push(row(task, shown, names.node(text(&task["NodeID"])).await, view.truncate));
    }
    output::print(&table::render(&format, &COLUMNS, &rows)?)
}

fn created(task: &Value) -> Option<::time::OffsetDateTime> {
    time::parse(text(&task["CreatedAt"]))
}

fn row(task: &Value, name: String, node: String, truncate: bool) -> Val {
    let id = text(&task["ID"]);
    let image = text(&task["Spec"]["ContainerSpec"]["Image"]);
    let status = &task["Status"];
    let ago = units::human_duration(time::since(text(&status["Timestamp"]))).to_lowercase();
    let error = text(&status["Err"]);
    let error = if truncate { format::ellipsis(error, ERROR_WIDTH) } else { error.to_owned() };
    let ports: Vec<_> = status["PortStatus"]["Ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| format!("*:{}->{}/{}", port["PublishedPort"].as_u64().unwrap_or(0), port["TargetPort"].as_u64().unwrap_or(0), text(&port["Protocol"])))
        .collect();
    Val::row(
        "*task.taskContext",
        [
            ("ID", Val::from(if truncate { format::short_id(id) } else { id })),
            ("Name", Val::from(name)),
            ("Image", Val::from(if truncate { reference::without_digest(image) } else { image.to_owned() })),
            ("Node", Val::from(node)),
            ("DesiredState", Val::from(format::pretty(text(&task["DesiredState"])))),
            ("CurrentState", Val::from(format!("{} {ago} ago", format::pretty(text(&status["State"]))))),
            ("Error", Val::from(if error.is_empty() { error } else { format!("\"{error}\"") })),
            ("Ports", Val::from(ports.join(","))),
        ],
    )
}
