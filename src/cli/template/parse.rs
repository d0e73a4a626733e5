//! Builds the tree of a template from its pieces. Errors carry Go's text: `template: name:1: unclosed action`.

use super::{
    funcs,
    lex::{self, Piece, Token, TokenKind},
    value::Val,
};

#[derive(Debug)]
pub enum Node {
    Text(String),
    Action(Pipe),
    If { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { pipe: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

#[derive(Debug, Default)]
pub struct Pipe {
    /// The variables left of `:=` or `=`.
    pub variables: Vec<String>,
    pub assigns: bool,
    pub commands: Vec<Vec<Expr>>,
}

#[derive(Debug)]
pub struct Expr {
    pub term: Term,
    /// Fields asked of the term's value.
    pub chain: Vec<String>,
    /// Byte position for error texts: that of the last link, as Go has it.
    pub at: usize,
}

#[derive(Debug)]
pub enum Term {
    Dot,
    Variable(String),
    Function(String),
    Constant(Val),
    Nil,
    Pipe(Pipe),
}

struct Parser<'a> {
    name: &'a str,
    source: &'a str,
    pieces: std::vec::IntoIter<Piece>,
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum Stop {
    Source,
    End,
    Else(Vec<Token>),
}

pub fn parse(name: &str, source: &str) -> Result<Vec<Node>, String> {
    let fail = |(at, why): (usize, String)| format!("template: {name}:{}: {why}", line(source, at));
    let pieces = lex::pieces(source).map_err(fail)?;
    let mut parser = Parser { name, source, pieces: pieces.into_iter() };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Source => Ok(nodes),
        Stop::End => Err(parser.fail(source.len(), "unexpected {{end}}")),
        Stop::Else(_) => Err(parser.fail(source.len(), "unexpected {{else}}")),
    }
}

fn line(source: &str, at: usize) -> usize {
    1 + source[..at.min(source.len())].matches('\n').count()
}

impl Parser<'_> {
    fn fail(&self, at: usize, why: &str) -> String {
        format!("template: {}:{}: {why}", self.name, line(self.source, at))
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, at) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { tokens, at } => (trimmed(tokens), at),
            };
            let keyword = match tokens.first() {
                Some(Token { kind: TokenKind::Word(word), .. }) => word.clone(),
                Some(_) => String::new(),
                None => return Err(self.fail(at, "missing value for command")),
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(trimmed(tokens[1..].to_vec())))),
                "if" | "with" | "range" => nodes.push(self.branch(&keyword, tokens[1..].to_vec(), at)?),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                _ => nodes.push(Node::Action(self.pipe(tokens, at, "command")?)),
            }
        }
        Ok((nodes, Stop::Source))
    }

    fn branch(&mut self, keyword: &str, tokens: Vec<Token>, at: usize) -> Result<Node, String> {
        let pipe = self.pipe(trimmed(tokens), at, keyword)?;
        let (then, end) = self.list()?;
        let otherwise = match end {
            Stop::Source => return Err(self.fail(self.source.len(), "unexpected EOF")),
            Stop::End => Vec::new(),
            Stop::Else(rest) => match rest.first() {
                Some(Token { kind: TokenKind::Word(word), at }) if word == keyword => {
                    let (word, at) = (word.clone(), *at);
                    vec![self.branch(&word, rest[1..].to_vec(), at)?]
                }
                Some(token) => return Err(self.fail(token.at, "unexpected token in else")),
                None => match self.list()? {
                    (nodes, Stop::End) => nodes,
                    _ => return Err(self.fail(self.source.len(), "unexpected EOF")),
                },
            },
        };
        Ok(match keyword {
            "if" => Node::If { pipe, then, otherwise },
            "with" => Node::With { pipe, then, otherwise },
            _ => Node::Range { pipe, body: then, otherwise },
        })
    }

    fn pipe(&self, tokens: Vec<Token>, at: usize, context: &str) -> Result<Pipe, String> {
        let mut pipe = Pipe::default();
        let mut rest: &[Token] = &tokens;
        if let Some(op) = tokens.iter().position(|token| matches!(token.kind, TokenKind::Declare | TokenKind::Assign)) {
            for token in &tokens[..op] {
                match &token.kind {
                    TokenKind::Variable(name) => pipe.variables.push(name.clone()),
                    TokenKind::Space | TokenKind::Comma => {}
                    _ => return Err(self.fail(token.at, &format!("unexpected token in {context}"))),
                }
            }
            pipe.assigns = tokens[op].kind == TokenKind::Assign;
            rest = &tokens[op + 1..];
        }
        let mut depth = 0usize;
        for part in rest.split(|token| {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.kind == TokenKind::Pipe
        }) {
            let command = self.command(part)?;
            if command.is_empty() {
                return Err(self.fail(at, &format!("missing value for {context}")));
            }
            pipe.commands.push(command);
        }
        Ok(pipe)
    }

    fn command(&self, tokens: &[Token]) -> Result<Vec<Expr>, String> {
        let mut operands: Vec<Expr> = Vec::new();
        let mut at = 0;
        let mut adjacent = false;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let term = match &token.kind {
                TokenKind::Space => {
                    adjacent = false;
                    continue;
                }
                TokenKind::Field(name) if adjacent => {
                    if let Some(last) = operands.last_mut() {
                        last.chain.push(name.clone());
                        last.at = token.at;
                    }
                    continue;
                }
                TokenKind::Field(name) => {
                    operands.push(Expr { term: Term::Dot, chain: vec![name.clone()], at: token.at });
                    adjacent = true;
                    continue;
                }
                TokenKind::Dot => Term::Dot,
                TokenKind::Variable(name) => Term::Variable(name.clone()),
                TokenKind::Word(word) => self.word(word, token.at)?,
                TokenKind::Number(text) => Term::Constant(number(text).ok_or_else(|| self.fail(token.at, &format!("bad number syntax: {text:?}")))?),
                TokenKind::Text(text) => Term::Constant(Val::text(text.as_str())),
                TokenKind::Open => {
                    let close = closing(&tokens[at..]).ok_or_else(|| self.fail(token.at, "unclosed left paren"))?;
                    let inner = self.pipe(trimmed(tokens[at..at + close].to_vec()), token.at, "parenthesized pipeline")?;
                    at += close + 1;
                    Term::Pipe(inner)
                }
                TokenKind::Close => return Err(self.fail(token.at, "unexpected right paren")),
                _ => return Err(self.fail(token.at, "unexpected token in operand")),
            };
            operands.push(Expr { term, chain: Vec::new(), at: token.at });
            adjacent = true;
        }
        Ok(operands)
    }

    fn word(&self, word: &str, at: usize) -> Result<Term, String> {
        match word {
            "true" => Ok(Term::Constant(Val::Bool(true))),
            "false" => Ok(Term::Constant(Val::Bool(false))),
            "nil" => Ok(Term::Nil),
            _ if funcs::exists(word) => Ok(Term::Function(word.to_owned())),
            _ => Err(self.fail(at, &format!("function {word:?} not defined"))),
        }
    }
}

fn closing(tokens: &[Token]) -> Option<usize> {
    let mut depth = 1;
    tokens.iter().position(|token| {
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

fn trimmed(mut tokens: Vec<Token>) -> Vec<Token> {
    while tokens.last().is_some_and(|token| token.kind == TokenKind::Space) {
        tokens.pop();
    }
    let spaces = tokens.iter().take_while(|token| token.kind == TokenKind::Space).count();
    tokens.drain(..spaces);
    tokens
}

fn number(text: &str) -> Option<Val> {
    crate::cli::args::values::parse_int(text).ok().map(Val::Int).or_else(|| text.parse().ok().map(Val::Float))
}
