//! `inspect`: objects as indented JSON, or through a template, in the order asked for; what is missing is said at the end.

use crate::cli::{
    errors::Error,
    output,
    template::{Template, Val, compact, indent_raw, indented},
};

/// docker's code for a template that cannot be parsed.
const BAD_TEMPLATE: u8 = 64;

/// An inspected object.
pub enum Inspected {
    /// With Go's field order and zero values; prints from the value.
    Typed(Val),
    /// As the daemon wrote it; prints byte for byte.
    Raw(String),
}

/// Collects what `inspect` found and prints it.
pub struct Inspector {
    template: Option<Template>,
    compact: bool,
    rendered: String,
    objects: Vec<Inspected>,
    errors: Vec<Error>,
}

impl Inspector {
    pub fn new(format: Option<&str>) -> Result<Inspector, Error> {
        let format = format.unwrap_or_default();
        let template = match format {
            "" | "json" => None,
            text => Some(Template::parse("", text).map_err(|why| Error::Status { code: BAD_TEMPLATE, text: format!("template parsing error: {why}") })?),
        };
        Ok(Inspector { template, compact: format == "json", rendered: String::new(), objects: Vec::new(), errors: Vec::new() })
    }

    pub fn add(&mut self, found: Result<Inspected, Error>) {
        let object = match found {
            Ok(object) => object,
            Err(error) => return self.errors.push(error),
        };
        let Some(template) = &self.template else { return self.objects.push(object) };
        let rendered = match &object {
            Inspected::Typed(value) => template.render(value),
            Inspected::Raw(text) => match serde_json::from_str::<Val>(text) {
                Ok(value) => template.render_strict(&value),
                Err(error) => Err(format!("unable to read inspect data: {error}")),
            },
        };
        match rendered {
            Ok(text) => self.rendered += &format!("{text}\n"),
            Err(why) => self.errors.push(Error::Plain(format!("template parsing error: {why}"))),
        }
    }

    pub fn finish(self) -> Result<(), Error> {
        let text = match (&self.template, self.objects.as_slice()) {
            (Some(_), _) if self.rendered.is_empty() => "\n".into(),
            (Some(_), _) => self.rendered,
            (None, []) => "[]\n".into(),
            (None, objects) => print(objects, self.compact),
        };
        output::print(&text)?;
        Error::join(self.errors)
    }
}

fn print(objects: &[Inspected], one_line: bool) -> String {
    let raw: Vec<_> = objects.iter().filter_map(|object| if let Inspected::Raw(text) = object { Some(text.trim()) } else { None }).collect();
    if raw.is_empty() {
        let values = objects.iter().filter_map(|object| if let Inspected::Typed(value) = object { Some(value.clone()) } else { None }).collect();
        let list = Val::list(values);
        return format!("{}\n", if one_line { compact(&list, true) } else { indented(&list) });
    }
    let joined = format!("[{}]", raw.join(","));
    format!("{}\n", if one_line { joined } else { indent_raw(&joined) })
}
