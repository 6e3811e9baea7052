//! From characters to tokens.

use super::Fault;

/// A part of an expression that means something by itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a word of the language.
    Name(String),
    Text(String),
    Whole(i64),
    Float(f64),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end of the expression: of the source, or `}}` in a template.
    End,
}

/// Signs, longer ones before those they begin with.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", ".", "|",
];

/// Reads tokens one after the other.
pub(super) struct Lexer<'s> {
    rest: &'s str,
    /// How many characters were read.
    at: usize,
    /// Whether `}}` ends the expression.
    in_template: bool,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str, in_template: bool) -> Self {
        Self {
            rest: source,
            at: 0,
            in_template,
        }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'s str {
        self.rest
    }

    /// How many characters were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next token and the character it begins at.
    pub(super) fn next(&mut self) -> Result<(usize, Token), Fault> {
        let blank = self.rest.len() - self.rest.trim_start().len();
        self.skip(blank);
        let at = self.at;
        let Some(first) = self.rest.chars().next() else {
            if self.in_template {
                return Err(Fault::new(at, "`}}` is missing at the end"));
            }
            return Ok((at, Token::End));
        };
        if self.in_template && self.rest.starts_with("}}") {
            self.skip(2);
            return Ok((at, Token::End));
        }
        let token = match first {
            '"' | '\'' => self.text(first)?,
            '0'..='9' => self.number()?,
            _ if first == '_' || first.is_alphabetic() => self.name(),
            _ => self.sign(first)?,
        };
        Ok((at, token))
    }

    fn skip(&mut self, bytes: usize) -> &'s str {
        let (read, rest) = self.rest.split_at(bytes);
        self.at += read.chars().count();
        self.rest = rest;
        read
    }

    fn name(&mut self) -> Token {
        let belongs = |character: char| character == '_' || character.is_alphanumeric();
        let end = self.rest.find(|character| !belongs(character));
        Token::Name(self.skip(end.unwrap_or(self.rest.len())).to_owned())
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let at = self.at;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let mut end = digits(self.rest);
        let mut is_whole = true;
        let fraction = &self.rest[end..];
        if fraction.starts_with('.') && digits(&fraction[1..]) > 0 {
            end += 1 + digits(&fraction[1..]);
            is_whole = false;
        }
        let written = self.skip(end);
        if self.rest.starts_with(|next: char| next.is_alphanumeric()) {
            return Err(Fault::new(at, format!("{written} is followed by a letter")));
        }
        if is_whole {
            let too_large = |_| Fault::new(at, format!("{written} is too large a number"));
            return written.parse().map(Token::Whole).map_err(too_large);
        }
        match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Float(number)),
            _ => Err(Fault::new(at, format!("{written} is too large a number"))),
        }
    }

    fn text(&mut self, quote: char) -> Result<Token, Fault> {
        let begins = self.at;
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        characters.next();
        while let Some((place, character)) = characters.next() {
            if character == quote {
                self.skip(place + 1);
                return Ok(Token::Text(text));
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped @ ('\\' | '"' | '\''))) => text.push(escaped),
                Some((_, other)) => {
                    let message =
                        format!("`\\{other}` stands for nothing; use \\n, \\t, \\\\, \\\" or \\'");
                    return Err(Fault::new(begins, message));
                }
                None => break,
            }
        }
        Err(Fault::new(
            begins,
            format!("the text has no closing {quote}"),
        ))
    }

    fn sign(&mut self, first: char) -> Result<Token, Fault> {
        for sign in SIGNS {
            if self.rest.starts_with(sign) {
                self.skip(sign.len());
                return Ok(Token::Sign(sign));
            }
        }
        let hint = match first {
            '=' => "; to compare, write `==`",
            '&' => "; write `and`",
            '!' => "; write `not`",
            _ => "",
        };
        let message = format!("{first:?} has no meaning here{hint}");
        Err(Fault::new(self.at, message))
    }
}
