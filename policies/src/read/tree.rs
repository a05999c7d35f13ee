//! TOML and JSON as one tree of values that know where they stand.

use std::collections::HashSet;
use std::ops::Range;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions};
use toml::de::{DeTable, DeValue};

use super::limits;
use crate::diagnostic::{Diagnostic, Source};

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Toml,
    Json,
}

impl Format {
    /// By the file's name, else by its first sign: no TOML file begins with a brace.
    #[must_use]
    pub fn of(name: &str, text: &str) -> Format {
        if name.ends_with(".json") || (!name.ends_with(".toml") && text.trim_start().starts_with('{')) {
            Format::Json
        } else {
            Format::Toml
        }
    }
}

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    /// A JSON number past that, as masks in other tools' files are.
    Large(u64),
    Boolean(bool),
    Array(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Entry>),
    /// What no key of a policy takes, by name: `a date`, `null`.
    Other(&'static str),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

impl Value {
    /// What it is, in a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "a number",
            Value::Large(_) => "a number that is too large",
            Value::Boolean(_) => "true or false",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(what) => what,
        }
    }
}

/// Reads a whole file.
pub(crate) fn parse(source: &Source, format: Format) -> Result<Node, Vec<Diagnostic>> {
    match format {
        Format::Toml => parse_toml(source),
        Format::Json => parse_json(source).map_err(|error| vec![*error]),
    }
}

fn parse_toml(source: &Source) -> Result<Node, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        let shown = errors.iter().take(limits::DIAGNOSTICS);
        return Err(shown
            .map(|error| {
                let span = error.span().unwrap_or(0..0);
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                Diagnostic::error(source.place(&span), message)
            })
            .collect());
    }
    let span = table.span();
    let value = from_table(table.get_ref(), source, 0).map_err(|error| vec![*error])?;
    Ok(Node { span, value })
}

fn from_table(table: &DeTable<'_>, source: &Source, depth: usize) -> Result<Value, Box<Diagnostic>> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table.iter() {
        entries.push(Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            node: from_toml(value.get_ref(), value.span(), source, depth + 1)?,
        });
    }
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Value::Table(entries))
}

fn from_toml(
    value: &DeValue<'_>,
    span: Range<usize>,
    source: &Source,
    depth: usize,
) -> Result<Node, Box<Diagnostic>> {
    not_too_deep(depth, &span, source)?;
    let value = match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => return Err(wrong(source, &span, "the number is too large")),
        },
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => {
            let items = items.iter();
            let nodes = items.map(|item| from_toml(item.get_ref(), item.span(), source, depth + 1));
            Value::Array(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => from_table(table, source, depth)?,
    };
    Ok(Node { span, value })
}

/// JSON as RFC 8259 has it: no comments, no loose commas.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

fn parse_json(source: &Source) -> Result<Node, Box<Diagnostic>> {
    let parsed = jsonc_parser::parse_to_ast(&source.text, &CollectOptions::default(), &STRICT);
    let value = parsed.map_err(|error| {
        let range = error.range();
        wrong(source, &(range.start..range.end), format!("JSON: {}", error.kind()))
    })?;
    match value.value {
        Some(value) => from_json(&value, source, 0),
        None => Err(wrong(source, &(0..0), "the file is empty")),
    }
}

fn from_json(value: &ast::Value<'_>, source: &Source, depth: usize) -> Result<Node, Box<Diagnostic>> {
    let range = value.range();
    let span = range.start..range.end;
    not_too_deep(depth, &span, source)?;
    let value = match value {
        ast::Value::StringLit(text) => Value::String(text.value.to_string()),
        ast::Value::NumberLit(number) => match (number.value.parse(), number.value.parse()) {
            (Ok(number), _) => Value::Integer(number),
            (_, Ok(number)) => Value::Large(number),
            _ if number.value.contains(['.', 'e', 'E']) => Value::Other("a fraction"),
            _ => return Err(wrong(source, &span, "the number is too large")),
        },
        ast::Value::BooleanLit(value) => Value::Boolean(value.value),
        ast::Value::NullKeyword(_) => Value::Other("null"),
        ast::Value::Array(array) => {
            let nodes = array.elements.iter().map(|item| from_json(item, source, depth + 1));
            Value::Array(nodes.collect::<Result<_, _>>()?)
        }
        ast::Value::Object(object) => {
            let mut seen = HashSet::new();
            let mut entries = Vec::with_capacity(object.properties.len());
            for property in &object.properties {
                let key = property.name.as_str();
                let range = property.name.range();
                let key_span = range.start..range.end;
                if !seen.insert(key.to_owned()) {
                    return Err(wrong(source, &key_span, format!("the key `{key}` stands twice")));
                }
                let node = from_json(&property.value, source, depth + 1)?;
                entries.push(Entry { key: key.to_owned(), key_span, node });
            }
            Value::Table(entries)
        }
    };
    Ok(Node { span, value })
}

fn not_too_deep(depth: usize, span: &Range<usize>, source: &Source) -> Result<(), Box<Diagnostic>> {
    if depth > limits::DEPTH {
        let what = format!("nested deeper than {} levels", limits::DEPTH);
        return Err(wrong(source, span, what));
    }
    Ok(())
}

fn wrong(source: &Source, span: &Range<usize>, what: impl Into<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(source.place(span), what))
}
