//! Go's `text/template` for `--format`: the part of the language that docker's formats use, with docker's functions.
//!
//! Owned here and nowhere else: parsing, evaluation, Go's printing rules and error texts. Values keep the field order of their
//! source, maps print sorted, as Go does (this is why no template crate is used: those known iterate maps in random order and
//! cannot call a field with an argument, as in `{{.Label "x"}}`). Not supported: `define`, `template`, `block`.

mod exec;
mod funcs;
mod json;
mod lex;
mod parse;
mod value;

pub use json::{compact, indent_raw, indented};
pub use value::{Kind, Val};

/// A parsed template; `name` appears in error texts.
pub struct Template {
    name: &'static str,
    text: String,
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses `text`; an error reads `template: name:1: …`.
    pub fn parse(name: &'static str, text: &str) -> Result<Template, String> {
        let nodes = parse::parse(name, text)?;
        Ok(Template { name, text: text.to_owned(), nodes })
    }

    pub fn render(&self, value: &Val) -> Result<String, String> {
        exec::run(self, value, exec::Mode::Normal)
    }

    /// As [`Template::render`], but a missing key of a map is an error.
    pub fn render_strict(&self, value: &Val) -> Result<String, String> {
        exec::run(self, value, exec::Mode::Strict)
    }

    /// Renders a table's header: functions leave the column's title as it is.
    pub fn render_header(&self, header: &Val) -> String {
        exec::run(self, header, exec::Mode::Header).unwrap_or_default()
    }

    /// Whether the template names `field` anywhere.
    pub fn mentions(&self, field: &str) -> bool {
        self.text.contains(&format!(".{field}"))
    }
}

#[cfg(test)]
mod tests;
