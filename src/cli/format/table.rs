//! Lists: the `--format` of `ls` commands (table, json, a template) and the aligned tables.

use std::io::Write;

use tabwriter::TabWriter;

use crate::cli::{
    errors::Error,
    template::{Kind, Template, Val},
};

/// docker's tables: cells at least ten wide, three of it space.
const PADDING: usize = 3;
const NARROWEST: usize = 10 - PADDING;

/// What a list looks like by default, and under which titles.
pub struct Columns {
    /// `table {{.ID}}\t…` without the word.
    pub default: &'static str,
    pub titles: &'static [(&'static str, &'static str)],
    /// The `raw` format; empty where there is none.
    pub raw: &'static str,
}

/// The format to use: the flag's, else the table; `--quiet` shows ids where the format is the table.
pub fn choose(given: Option<&str>, quiet: bool, columns: &Columns) -> String {
    match given.unwrap_or_default() {
        "" | "table" if quiet => "{{.ID}}".into(),
        "" | "table" => format!("table {}", columns.default),
        "raw" if !columns.raw.is_empty() => columns.raw.into(),
        other => other.to_owned(),
    }
}

pub fn is_table(format: &str) -> bool {
    format.starts_with("table")
}

/// Renders `rows` in `format`.
pub fn render(format: &str, columns: &Columns, rows: &[Val]) -> Result<String, Error> {
    let body = match format {
        "json" => "{{json .}}",
        other => other.strip_prefix("table").unwrap_or(other).trim_matches(' '),
    };
    let body = body.replace("\\t", "\t").replace("\\n", "\n");
    let parsing = |why: String| Error::Plain(format!("template parsing error: {why}"));
    let template = Template::parse("", &body).map_err(parsing)?;
    let mut lines = String::new();
    for row in rows {
        lines += &template.render(row).map_err(parsing)?;
        lines.push('\n');
    }
    if !is_table(format) {
        return Ok(lines);
    }
    let titles = columns.titles.iter().map(|(name, title)| ((*name).to_owned(), Val::from(*title))).collect();
    let header = template.render_header(&Val::object(Kind::Header, titles));
    Ok(align(&format!("{header}\n{lines}"), NARROWEST, PADDING))
}

/// Go's tabwriter with `minwidth + padding` and `padding`.
pub fn align(text: &str, minwidth: usize, padding: usize) -> String {
    let mut writer = TabWriter::new(Vec::new()).minwidth(minwidth).padding(padding);
    // Writing to memory does not fail.
    let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    writer.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = Columns { default: "{{.ID}}\t{{.Name}}", titles: &[("ID", "ID"), ("Name", "NAME")], raw: "" };

    fn rows() -> Vec<Val> {
        vec![
            Val::row("*x", [("ID", Val::from("abc")), ("Name", Val::from("web"))]),
            Val::row("*x", [("ID", Val::from("a-longer-id")), ("Name", Val::from("b"))]),
        ]
    }

    #[test]
    fn tables_are_docker_wide() {
        let format = choose(None, false, &COLUMNS);
        assert_eq!(render(&format, &COLUMNS, &rows()).unwrap(), "ID            NAME\nabc           web\na-longer-id   b\n");
        assert_eq!(render(&format, &COLUMNS, &[]).unwrap(), "ID        NAME\n");
    }

    #[test]
    fn other_formats() {
        assert_eq!(render(&choose(None, true, &COLUMNS), &COLUMNS, &rows()[..1]).unwrap(), "abc\n");
        assert_eq!(render("json", &COLUMNS, &rows()[..1]).unwrap(), "{\"ID\":\"abc\",\"Name\":\"web\"}\n");
        assert_eq!(render("table {{upper .Name}}\\t{{.ID}}", &COLUMNS, &rows()[..1]).unwrap(), "NAME      ID\nWEB       abc\n");
        assert_eq!(render("{{.Name}}", &COLUMNS, &[]).unwrap(), "");
    }
}
