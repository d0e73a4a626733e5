//! `history`.

use serde_json::Value;

use crate::cli::{
    Session,
    args::Matches,
    errors::Error,
    format::{self, table, time, units},
    output,
    registry::escape_path,
    task::text,
    template::Val,
};

const COLUMNS: table::Columns = table::Columns {
    default: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    titles: &[("ID", "IMAGE"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT"), ("CreatedBy", "CREATED BY"), ("Size", "SIZE"), ("Comment", "COMMENT")],
    raw: "",
};
const EXACT: &str = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// Characters of a step's command in the table.
const WIDEST: usize = 45;

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let image = matches.args.first().map(String::as_str).unwrap_or_default();
    let query: Vec<_> =
        matches.text("platform").filter(|text| !text.is_empty()).map(|text| ("platform", super::load::platform_json(text).to_string())).into_iter().collect();
    let steps = session.client.get(&format!("/images/{}/history", escape_path(image)), &query).await?;
    let human = !matches.changed("human") || matches.on("human");
    let mut shape = table::choose(matches.text("format"), matches.on("quiet"), &COLUMNS);
    if !human && matches.text_or("format", "table") == "table" && !matches.on("quiet") {
        shape = EXACT.into();
    }
    let rows: Vec<Val> = steps.as_array().into_iter().flatten().map(|step| row(step, human, !matches.on("no-trunc"))).collect();
    output::print(&table::render(&shape, &COLUMNS, &rows)?)
}

fn row(step: &Value, human: bool, truncate: bool) -> Val {
    let id = text(&step["Id"]);
    let created = step["Created"].as_i64().unwrap_or(0);
    let size = step["Size"].as_i64().unwrap_or(0);
    let by = text(&step["CreatedBy"]).replace('\t', " ");
    let by = match by.char_indices().nth(WIDEST) {
        Some(_) if truncate => format!("{}…", by.chars().take(WIDEST - 1).collect::<String>()),
        _ => by,
    };
    let at = time::rfc3339_local(created);
    let since = if created <= 0 { "N/A".to_owned() } else { format!("{} ago", units::human_duration(time::since_unix(created))) };
    Val::row(
        "*formatter.historyContext",
        [
            ("ID", Val::from(if truncate { format::short_id(id) } else { id })),
            ("CreatedSince", Val::from(if human { since } else { at.clone() })),
            ("CreatedAt", Val::from(at)),
            ("CreatedBy", Val::from(by)),
            ("Size", Val::from(if human { units::human_size_digits(size as f64, 3) } else { size.to_string() })),
            ("Comment", Val::from(text(&step["Comment"]))),
        ],
    )
}
