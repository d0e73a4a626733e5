//! Cuts a template into text and the tokens of its actions.

/// A token with its byte position in the template.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: TokenKind,
    pub at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// `.Name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    Word(String),
    Number(String),
    /// An unquoted string constant.
    Text(String),
    Dot,
    Pipe,
    Comma,
    Open,
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Space,
}

/// A piece of the template.
#[derive(Debug)]
pub enum Piece {
    Text(String),
    Action { tokens: Vec<Token>, at: usize },
}

/// Splits `source`; `Err` is (position, message).
pub fn pieces(source: &str) -> Result<Vec<Piece>, (usize, String)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while let Some(open) = source[at..].find("{{").map(|offset| at + offset) {
        let mut text = &source[at..open];
        let body_at = open + 2;
        let trims_before = source[body_at..].starts_with("- ") || source[body_at..].starts_with("-\n") || source[body_at..].starts_with("-\t");
        if trim_next {
            text = text.trim_start();
        }
        if trims_before {
            text = text.trim_end();
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let start = if trims_before { body_at + 2 } else { body_at };
        if source[start..].trim_start().starts_with("/*") {
            let end = source[start..].find("*/").map(|offset| start + offset + 2).ok_or((open, "unclosed comment".to_owned()))?;
            let close = source[end..].find("}}").map(|offset| end + offset).ok_or((open, "comment ends before closing delimiter".to_owned()))?;
            trim_next = source[end..close].trim_end().ends_with('-');
            at = close + 2;
            continue;
        }
        let (tokens, end, trim) = action(source, start)?;
        pieces.push(Piece::Action { tokens, at: open });
        trim_next = trim;
        at = end;
    }
    let rest = if trim_next { source[at..].trim_start() } else { &source[at..] };
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// The tokens up to `}}`, the position behind it, and whether the text that follows is to be trimmed.
fn action(source: &str, start: usize) -> Result<(Vec<Token>, usize, bool), (usize, String)> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = start;
    loop {
        let rest = &source[at..];
        if rest.starts_with("}}") {
            return Ok((tokens, at + 2, false));
        }
        if [" -}}", "\n-}}", "\t-}}"].iter().any(|trim| rest.starts_with(trim)) {
            return Ok((tokens, at + 4, true));
        }
        let Some(c) = rest.chars().next() else { return Err((start, "unclosed action".into())) };
        let (kind, length) = match c {
            c if c.is_whitespace() => (TokenKind::Space, space_run(rest)),
            '|' => (TokenKind::Pipe, 1),
            ',' => (TokenKind::Comma, 1),
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            ':' if rest.starts_with(":=") => (TokenKind::Declare, 2),
            '=' => (TokenKind::Assign, 1),
            '"' => quoted(rest).ok_or((at, "unterminated quoted string".to_owned()))?,
            '`' => {
                let end = rest[1..].find('`').ok_or((at, "unterminated raw quoted string".to_owned()))?;
                (TokenKind::Text(rest[1..=end].to_owned()), end + 2)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = word(&rest[1..]);
                if name.is_empty() { (TokenKind::Dot, 1) } else { (TokenKind::Field(name.to_owned()), 1 + name.len()) }
            }
            '$' => {
                let name = word(&rest[1..]);
                (TokenKind::Variable(format!("${name}")), 1 + name.len())
            }
            c if c.is_ascii_digit() || ((c == '-' || c == '+' || c == '.') && rest[1..].starts_with(|c: char| c.is_ascii_digit())) => {
                let end = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).map_or(rest.len(), |end| end + 1);
                (TokenKind::Number(rest[..end].to_owned()), end)
            }
            c if c.is_alphabetic() || c == '_' => {
                let name = word(rest);
                (TokenKind::Word(name.to_owned()), name.len())
            }
            c => return Err((at, format!("unexpected bad character U+{:04X} {c:?} in command", u32::from(c)))),
        };
        tokens.push(Token { kind, at });
        at += length;
    }
}

/// The length of the white space at the start, without the one that belongs to ` -}}`.
fn space_run(text: &str) -> usize {
    let run = text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len());
    let last = text[..run].chars().next_back().map_or(1, char::len_utf8);
    if text[run..].starts_with("-}}") && run > last { run - last } else { run }
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())]
}

fn quoted(text: &str) -> Option<(TokenKind, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((TokenKind::Text(value), at + 1)),
            '\n' => return None,
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}
