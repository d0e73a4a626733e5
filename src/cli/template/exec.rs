//! Evaluates a parsed template over a value.

use super::{
    Template, funcs,
    parse::{Expr, Node, Pipe, Term},
    value::{Kind, Val},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// A key that a map does not have is an error.
    Strict,
    /// Functions return their first argument.
    Header,
}

/// How a list of nodes ended.
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    template: &'a Template,
    mode: Mode,
    out: String,
    variables: Vec<(String, Val)>,
}

pub fn run(template: &Template, value: &Val, mode: Mode) -> Result<String, String> {
    let mut run = Run { template, mode, out: String::new(), variables: vec![("$".into(), value.clone())] };
    run.list(&template.nodes, value)?;
    Ok(run.out)
}

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Val) -> Result<Flow, String> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.out.push_str(&value.to_string());
                    }
                }
                Node::If { pipe, then, otherwise } => {
                    let scope = self.variables.len();
                    let chosen = if self.pipe(pipe, dot)?.is_true() { then } else { otherwise };
                    let flow = self.list(chosen, dot)?;
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::On) {
                        return Ok(flow);
                    }
                }
                Node::With { pipe, then, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    let flow = if value.is_true() { self.list(then, &value)? } else { self.list(otherwise, dot)? };
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::On) {
                        return Ok(flow);
                    }
                }
                Node::Range { pipe, body, otherwise } => self.range(pipe, body, otherwise, dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Val) -> Result<(), String> {
        let scope = self.variables.len();
        let value = self.commands(pipe, dot)?;
        let items: Vec<(Val, Val)> = match &value {
            Val::List(items) => items.iter().enumerate().map(|(at, item)| (Val::Int(at as i64), item.clone())).collect(),
            Val::Object(object) if matches!(object.kind, Kind::Map | Kind::NilMap) => {
                object.sorted().into_iter().map(|(key, value)| (Val::text(key.as_str()), value.clone())).collect()
            }
            Val::Int(count) => (0..*count).map(|at| (Val::Int(at), Val::Int(at))).collect(),
            Val::Nil | Val::Missing => Vec::new(),
            other => return Err(self.fail(pipe.commands.first().and_then(|command| command.first()), &format!("range can't iterate over {other}"))),
        };
        if items.is_empty() {
            self.list(otherwise, dot)?;
        }
        for (key, item) in items {
            match pipe.variables.as_slice() {
                [only] => self.set(only, item.clone(), pipe.assigns),
                [first, second, ..] => {
                    self.set(first, key, pipe.assigns);
                    self.set(second, item.clone(), pipe.assigns);
                }
                [] => {}
            }
            let flow = self.list(body, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Val, assigns: bool) {
        let existing = if assigns { self.variables.iter_mut().rev().find(|(known, _)| known == name) } else { None };
        match existing {
            Some((_, slot)) => *slot = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Val) -> Result<Val, String> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Val) -> Result<Val, String> {
        let mut last: Option<Val> = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&mut self, command: &[Expr], piped: Option<Val>, dot: &Val) -> Result<Val, String> {
        let Some((first, rest)) = command.split_first() else { return Ok(Val::Nil) };
        let mut args = Vec::with_capacity(command.len());
        for expr in rest {
            args.push(self.expr(expr, dot)?);
        }
        args.extend(piped);
        if let Term::Function(name) = &first.term {
            let value = if self.mode == Mode::Header && funcs::is_left_alone_in_header(name) {
                // The title is the piped value or the one argument that is a value: the last for `json`, the first else.
                if rest.is_empty() { args.pop() } else { args.into_iter().next() }.unwrap_or_default()
            } else {
                funcs::call(name, &args).map_err(|why| self.fail_at(first.at, &describe_command(command), &format!("error calling {name}: {why}")))?
            };
            return self.chain(first, value, &first.chain);
        }
        if args.is_empty() {
            return self.expr(first, dot);
        }
        self.method(first, dot, &args)
    }

    /// A field called with arguments: only `Label` is one.
    fn method(&mut self, expr: &Expr, dot: &Val, args: &[Val]) -> Result<Val, String> {
        match (expr.chain.as_slice(), dot, args) {
            ([name], Val::Object(object), [Val::Text(label)]) if name == "Label" => {
                if object.kind == Kind::Header {
                    let title = label.rsplit('.').next().unwrap_or_default();
                    return Ok(Val::from(title.replace(['-', '_'], " ")));
                }
                let labels = object.get("\u{0}labels").or_else(|| object.get("Labels"));
                Ok(labels.and_then(|labels| labels.get(label)).cloned().unwrap_or_else(|| Val::text("")))
            }
            _ => {
                let what = describe(expr);
                Err(self.fail(Some(expr), &format!("{what} is not a method but has arguments")))
            }
        }
    }

    fn expr(&mut self, expr: &Expr, dot: &Val) -> Result<Val, String> {
        let value = match &expr.term {
            Term::Dot => dot.clone(),
            Term::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(format!("template: {}:1: undefined variable {name:?}", self.template.name)),
            },
            Term::Constant(value) => value.clone(),
            Term::Nil => Val::Nil,
            Term::Function(name) => funcs::call(name, &[]).map_err(|why| self.fail(Some(expr), &format!("error calling {name}: {why}")))?,
            Term::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        self.chain(expr, value, &expr.chain)
    }

    fn chain(&self, expr: &Expr, value: Val, chain: &[String]) -> Result<Val, String> {
        chain.iter().try_fold(value, |value, name| self.field(expr, &value, name))
    }

    fn field(&self, expr: &Expr, value: &Val, name: &str) -> Result<Val, String> {
        match value {
            Val::Object(object) => match (object.get(name), object.kind) {
                (Some(value), _) => Ok(value.clone()),
                (None, Kind::Map) if self.mode == Mode::Strict => Err(self.fail(Some(expr), &format!("map has no entry for key {name:?}"))),
                (None, Kind::Map | Kind::NilMap | Kind::Header) => Ok(Val::Missing),
                // Go's embedded structs may be named, or left out.
                (None, Kind::Struct(_)) if name == "Annotations" || name == "Meta" => Ok(value.clone()),
                (None, Kind::Struct(_) | Kind::Row(_)) => Err(self.fail(Some(expr), &format!("can't evaluate field {name} in type {}", value.type_name()))),
            },
            Val::Nil | Val::Missing => Err(self.fail(Some(expr), &format!("nil pointer evaluating {}.{name}", "interface {}"))),
            other => Err(self.fail(Some(expr), &format!("can't evaluate field {name} in type {}", other.type_name()))),
        }
    }

    /// Go's error text, with the position and the text of the node.
    fn fail(&self, expr: Option<&Expr>, why: &str) -> String {
        let name = self.template.name;
        let Some(expr) = expr else { return format!("template: {name}: executing {name:?}: {why}") };
        self.fail_at(expr.at, &describe(expr), why)
    }

    fn fail_at(&self, at: usize, what: &str, why: &str) -> String {
        let name = self.template.name;
        let before = &self.template.text[..at.min(self.template.text.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("template: {name}:{line}:{column}: executing {name:?} at <{what}>: {why}")
    }
}

/// A call with its arguments, as Go writes it.
fn describe_command(command: &[Expr]) -> String {
    command.iter().map(describe).collect::<Vec<_>>().join(" ")
}

fn describe(expr: &Expr) -> String {
    let chain: String = expr.chain.iter().map(|name| format!(".{name}")).collect();
    match &expr.term {
        Term::Dot if chain.is_empty() => ".".into(),
        Term::Dot => chain,
        Term::Variable(name) | Term::Function(name) => format!("{name}{chain}"),
        Term::Constant(Val::Text(text)) => format!("{text:?}{chain}"),
        Term::Constant(value) => format!("{value}{chain}"),
        Term::Nil => "nil".into(),
        Term::Pipe(pipe) => {
            let commands: Vec<_> = pipe.commands.iter().map(|command| describe_command(command)).collect();
            format!("({}){chain}", commands.join(" | "))
        }
    }
}
