//! From tokens to an expression.
//!
//! ```text
//! choice  = either [ "if" either "else" choice ]
//! either  = both { "or" both }            both = no { "and" no }          no = [ "not" ] no | compare
//! compare = sum [ ("=="|"!="|"<"|"<="|">"|">="|"in"|"not in") sum ]
//! sum     = product { ("+"|"-") product } product = signed { ("*"|"/"|"%") signed }
//! signed  = [ "-" ] signed | path
//! path    = value { "." name | "[" choice "]" | "|" filter [ "(" choice { "," choice } ")" ] }
//! value   = text | number | true | false | null | name | "(" choice ")" | "[" choice { "," choice } "]"
//! ```

use serde_json::Value;

use super::Fault;
use super::filters::{self, Filter};
use super::token::{Lexer, Token};

/// Characters of one expression: what does not fit belongs into a task.
pub const EXPRESSION_CHARS_MAX: usize = 2_000;
/// Brackets within brackets, so that reading needs little stack.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// Parts of one expression, so that walking it needs little stack.
pub const EXPRESSION_NODES_MAX: usize = 256;

/// Words that are no names.
const WORDS: &[&str] = &[
    "and", "or", "not", "in", "if", "else", "true", "false", "null", "none",
];

/// An expression that can be evaluated again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    pub(super) root: Node,
}

/// A part of an expression, with the character it begins at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Literal(Value),
    Name(String),
    List(Vec<Node>),
    Field(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Filter(Box<Node>, &'static Filter, Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Choice {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    NotIn,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A path that an expression reads, as far as it is known before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The names from the root on, such as `steps`, `fetch`, `output`, `url`. A place in a list ends it.
    pub names: Vec<String>,
    /// The character it begins at.
    pub at: usize,
}

impl Read {
    /// The step whose end it reads.
    pub fn step(&self) -> Option<&str> {
        match self.names.as_slice() {
            [root, step, ..] if root == "steps" => Some(step),
            _ => None,
        }
    }
}

impl Expression {
    /// Reads a whole source as one expression.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let mut lexer = Lexer::new(source, false);
        Self::read(&mut lexer).map_err(|fault| fault.within(source, 0))
    }

    /// Reads an expression up to its end.
    pub(super) fn read(lexer: &mut Lexer<'_>) -> Result<Self, Fault> {
        let begins = lexer.at();
        let mut parser = Parser::new(lexer)?;
        let root = parser.choice()?;
        if parser.token != Token::End {
            return Err(parser.unexpected("an operator or the end"));
        }
        let ends = parser.at;
        if ends - begins > EXPRESSION_CHARS_MAX {
            let message = format!("an expression has {EXPRESSION_CHARS_MAX} characters at most");
            return Err(Fault::new(begins, message));
        }
        Ok(Self { root })
    }

    /// The value, when it is written down as it is.
    pub fn constant(&self) -> Option<&Value> {
        match &self.root.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Every path the expression may read.
    pub fn reads(&self) -> Vec<Read> {
        let mut reads = Vec::new();
        collect(&self.root, &mut reads);
        reads
    }
}

/// Notes the paths below a node. A path is followed from its last name back to its root.
fn collect(node: &Node, reads: &mut Vec<Read>) {
    let mut names = Vec::new();
    let mut here = node;
    loop {
        match &here.kind {
            Kind::Field(inner, name) => {
                names.push(name.clone());
                here = inner;
            }
            Kind::Index(inner, index) => {
                match &index.kind {
                    Kind::Literal(Value::String(name)) => names.push(name.clone()),
                    _ => {
                        collect(index, reads);
                        names.clear();
                    }
                }
                here = inner;
            }
            Kind::Name(name) => {
                names.push(name.clone());
                names.reverse();
                reads.push(Read { names, at: here.at });
                return;
            }
            _ => break,
        }
    }
    match &here.kind {
        Kind::Literal(_) | Kind::Name(_) | Kind::Field(..) | Kind::Index(..) => {}
        Kind::List(items) => items.iter().for_each(|item| collect(item, reads)),
        Kind::Filter(inner, _, arguments) => {
            collect(inner, reads);
            arguments.iter().for_each(|item| collect(item, reads));
        }
        Kind::Not(inner) | Kind::Negate(inner) => collect(inner, reads),
        Kind::And(left, right) | Kind::Or(left, right) | Kind::Binary(_, left, right) => {
            collect(left, reads);
            collect(right, reads);
        }
        Kind::Choice {
            condition,
            then,
            otherwise,
        } => {
            for part in [condition, then, otherwise] {
                collect(part, reads);
            }
        }
    }
}

struct Parser<'l, 's> {
    lexer: &'l mut Lexer<'s>,
    /// The token that was read last and not used yet.
    token: Token,
    at: usize,
    depth: usize,
    nodes: usize,
}

impl<'l, 's> Parser<'l, 's> {
    fn new(lexer: &'l mut Lexer<'s>) -> Result<Self, Fault> {
        let (at, token) = lexer.next()?;
        Ok(Self {
            lexer,
            token,
            at,
            depth: 0,
            nodes: 0,
        })
    }

    fn advance(&mut self) -> Result<Token, Fault> {
        // Nothing after the end belongs to this expression.
        if self.token == Token::End {
            return Ok(Token::End);
        }
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match &self.token {
            Token::Name(name) => format!("`{name}`"),
            Token::Text(_) => "a text".to_owned(),
            Token::Whole(_) | Token::Float(_) => "a number".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        Fault::new(self.at, format!("{wanted} is wanted, not {found}"))
    }

    fn takes_sign(&mut self, sign: &str) -> Result<bool, Fault> {
        let is_next = matches!(&self.token, Token::Sign(next) if *next == sign);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn takes_word(&mut self, word: &str) -> Result<bool, Fault> {
        let is_next = matches!(&self.token, Token::Name(next) if next == word);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn needs_sign(&mut self, sign: &'static str) -> Result<(), Fault> {
        if self.takes_sign(sign)? {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    fn node(&mut self, at: usize, kind: Kind) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > EXPRESSION_NODES_MAX {
            let message = format!("an expression has {EXPRESSION_NODES_MAX} parts at most");
            return Err(Fault::new(at, message));
        }
        Ok(Node { at, kind })
    }

    /// Reads what may contain brackets, but not without end.
    fn nested(&mut self, part: fn(&mut Self) -> Result<Node, Fault>) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            let message = format!("an expression is {EXPRESSION_DEPTH_MAX} levels deep at most");
            return Err(Fault::new(self.at, message));
        }
        let node = part(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn choice(&mut self) -> Result<Node, Fault> {
        let then = self.either()?;
        let at = self.at;
        if !self.takes_word("if")? {
            return Ok(then);
        }
        let condition = Box::new(self.either()?);
        if !self.takes_word("else")? {
            return Err(self.unexpected("`else`"));
        }
        let otherwise = Box::new(self.nested(Self::choice)?);
        let kind = Kind::Choice {
            condition,
            then: Box::new(then),
            otherwise,
        };
        self.node(at, kind)
    }

    fn either(&mut self) -> Result<Node, Fault> {
        let mut left = self.both()?;
        loop {
            let at = self.at;
            if !self.takes_word("or")? {
                return Ok(left);
            }
            let right = self.both()?;
            left = self.node(at, Kind::Or(Box::new(left), Box::new(right)))?;
        }
    }

    fn both(&mut self) -> Result<Node, Fault> {
        let mut left = self.no()?;
        loop {
            let at = self.at;
            if !self.takes_word("and")? {
                return Ok(left);
            }
            let right = self.no()?;
            left = self.node(at, Kind::And(Box::new(left), Box::new(right)))?;
        }
    }

    fn no(&mut self) -> Result<Node, Fault> {
        let at = self.at;
        if !self.takes_word("not")? {
            return self.compare();
        }
        let inner = self.nested(Self::no)?;
        self.node(at, Kind::Not(Box::new(inner)))
    }

    fn compare(&mut self) -> Result<Node, Fault> {
        let left = self.sum()?;
        let at = self.at;
        let Some(operator) = self.comparison()? else {
            return Ok(left);
        };
        let right = self.sum()?;
        let kind = Kind::Binary(operator, Box::new(left), Box::new(right));
        let compared = self.node(at, kind)?;
        let at = self.at;
        if self.comparison()?.is_some() {
            let message = "comparisons do not chain; join them with `and`";
            return Err(Fault::new(at, message));
        }
        Ok(compared)
    }

    fn comparison(&mut self) -> Result<Option<Operator>, Fault> {
        let operator = match &self.token {
            Token::Sign("==") => Operator::Equal,
            Token::Sign("!=") => Operator::Unequal,
            Token::Sign("<") => Operator::Less,
            Token::Sign("<=") => Operator::AtMost,
            Token::Sign(">") => Operator::Greater,
            Token::Sign(">=") => Operator::AtLeast,
            Token::Name(word) if word == "in" => Operator::In,
            Token::Name(word) if word == "not" => {
                self.advance()?;
                if !self.takes_word("in")? {
                    return Err(self.unexpected("`in`"));
                }
                return Ok(Some(Operator::NotIn));
            }
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(operator))
    }

    fn sum(&mut self) -> Result<Node, Fault> {
        let mut left = self.product()?;
        loop {
            let operator = match &self.token {
                Token::Sign("+") => Operator::Add,
                Token::Sign("-") => Operator::Subtract,
                _ => return Ok(left),
            };
            let at = self.at;
            self.advance()?;
            let right = self.product()?;
            left = self.node(at, Kind::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn product(&mut self) -> Result<Node, Fault> {
        let mut left = self.signed()?;
        loop {
            let operator = match &self.token {
                Token::Sign("*") => Operator::Multiply,
                Token::Sign("/") => Operator::Divide,
                Token::Sign("%") => Operator::Remainder,
                _ => return Ok(left),
            };
            let at = self.at;
            self.advance()?;
            let right = self.signed()?;
            left = self.node(at, Kind::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn signed(&mut self) -> Result<Node, Fault> {
        let at = self.at;
        if !self.takes_sign("-")? {
            return self.path();
        }
        let inner = self.nested(Self::signed)?;
        self.node(at, Kind::Negate(Box::new(inner)))
    }

    fn path(&mut self) -> Result<Node, Fault> {
        let mut value = self.value()?;
        loop {
            let at = self.at;
            if self.takes_sign(".")? {
                let Token::Name(name) = self.token.clone() else {
                    return Err(self.unexpected("a name"));
                };
                self.advance()?;
                value = self.node(at, Kind::Field(Box::new(value), name))?;
            } else if self.takes_sign("[")? {
                let index = self.nested(Self::choice)?;
                self.needs_sign("]")?;
                value = self.node(at, Kind::Index(Box::new(value), Box::new(index)))?;
            } else if self.takes_sign("|")? {
                value = self.filter(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn filter(&mut self, value: Node) -> Result<Node, Fault> {
        let at = self.at;
        let Token::Name(name) = self.token.clone() else {
            return Err(self.unexpected("the name of a filter"));
        };
        let filter = filters::named(&name).map_err(|message| Fault::new(at, message))?;
        self.advance()?;
        let mut arguments = Vec::new();
        if self.takes_sign("(")? {
            arguments = self.items(")")?;
        }
        if !filter.arguments.contains(&arguments.len()) {
            let message = format!(
                "`{name}` takes {} arguments, not {}: {}",
                filter.arguments_text(),
                arguments.len(),
                filter.usage
            );
            return Err(Fault::new(at, message));
        }
        self.node(at, Kind::Filter(Box::new(value), filter, arguments))
    }

    fn items(&mut self, closing: &'static str) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        if self.takes_sign(closing)? {
            return Ok(items);
        }
        loop {
            items.push(self.nested(Self::choice)?);
            if !self.takes_sign(",")? {
                self.needs_sign(closing)?;
                return Ok(items);
            }
        }
    }

    fn value(&mut self) -> Result<Node, Fault> {
        let at = self.at;
        let kind = match self.token.clone() {
            Token::Text(text) => Kind::Literal(text.into()),
            Token::Whole(number) => Kind::Literal(number.into()),
            Token::Float(number) => Kind::Literal(number.into()),
            Token::Name(name) => match name.as_str() {
                "true" => Kind::Literal(true.into()),
                "false" => Kind::Literal(false.into()),
                "null" | "none" => Kind::Literal(Value::Null),
                word if WORDS.contains(&word) => return Err(self.unexpected("a value")),
                _ => Kind::Name(name),
            },
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.nested(Self::choice)?;
                self.needs_sign(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.advance()?;
                let items = self.items("]")?;
                return self.node(at, Kind::List(items));
            }
            Token::Sign(_) | Token::End => return Err(self.unexpected("a value")),
        };
        self.advance()?;
        self.node(at, kind)
    }
}
