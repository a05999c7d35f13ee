//! Values out of a tree, for the readers of foreign formats.

use super::{Reading, Result};
use crate::read::limits;
use crate::read::tree::{Entry, Node, Value};

/// The entries of a table.
pub(super) fn entries(node: &Node) -> Option<&[Entry]> {
    match &node.value {
        Value::Table(entries) => Some(entries),
        _ => None,
    }
}

/// The value of a key; `null` counts as absent.
pub(super) fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let found = entries(node)?.iter().find(|entry| entry.key == key)?;
    (!matches!(found.node.value, Value::Other("null"))).then_some(&found.node)
}

impl Reading<'_> {
    pub(super) fn table<'n>(&self, node: &'n Node) -> Result<&'n [Entry]> {
        entries(node)
            .map_or_else(|| self.error(node, format!("expected a table, found {}", node.value.kind())), Ok)
    }
    pub(super) fn text<'n>(&self, node: &'n Node) -> Result<&'n str> {
        match &node.value {
            Value::String(text) if text.len() <= limits::TEXT => Ok(text),
            other => self.error(node, format!("expected a string, found {}", other.kind())),
        }
    }
    pub(super) fn number(&self, node: &Node) -> Result<u64> {
        match node.value {
            // A negative number is its two's complement.
            Value::Integer(n) => Ok(n as u64),
            Value::Large(n) => Ok(n),
            ref other => self.error(node, format!("expected a number, found {}", other.kind())),
        }
    }
    pub(super) fn list<'n>(&self, node: &'n Node) -> Result<&'n [Node]> {
        match &node.value {
            Value::Array(nodes) if nodes.len() <= limits::LIST => Ok(nodes),
            Value::Array(_) => self.error(node, format!("more than {} entries", limits::LIST)),
            other => self.error(node, format!("expected a list, found {}", other.kind())),
        }
    }
    /// A key that must be there.
    pub(super) fn must<'n>(&self, node: &'n Node, key: &str) -> Result<&'n Node> {
        get(node, key).map_or_else(|| self.error(node, format!("the key `{key}` is missing")), Ok)
    }
    /// The list of strings of a key; empty where it is absent.
    pub(super) fn strings(&self, node: &Node, key: &str) -> Result<Vec<String>> {
        let Some(list) = get(node, key) else { return Ok(Vec::new()) };
        self.list(list)?.iter().map(|n| self.text(n).map(str::to_owned)).collect()
    }
    /// Names each key that is none of these: it was not carried over.
    pub(super) fn others(&mut self, node: &Node, known: &[&str]) -> Result<()> {
        let unknown: Vec<_> =
            self.table(node)?.iter().filter(|entry| !known.contains(&entry.key.as_str())).collect();
        for entry in unknown {
            self.note(&entry.node, format!("`{}` is not carried over", entry.key));
        }
        Ok(())
    }
    /// The index of an argument.
    pub(super) fn argument(&self, node: &Node) -> Result<u8> {
        match u8::try_from(self.number(node)?) {
            Ok(index) if index < 6 => Ok(index),
            _ => self.error(node, "an argument's index is 0 to 5"),
        }
    }
}
