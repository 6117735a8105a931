//! From texts to one tree: TOML, environment, flags; each value keeps its place.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigProblem, Place};

/// The text of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct FileText<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its content, TOML.
    pub text: &'a str,
}

/// A value given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key's full name: `server.listen`.
    pub key: String,
    /// The value's text; lists with commas between.
    pub value: String,
    /// The flag, for messages: `--listen`.
    pub flag: String,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Raw>),
    /// From the environment or a flag: its type is what the key wants.
    Untyped(String),
    /// Floats, dates, tables in lists: no key wants one.
    Other(String),
}

impl Raw {
    /// The value as messages show it.
    pub(super) fn show(&self) -> String {
        let full = match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(text) | Self::Untyped(text) => format!("{text:?}"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::show).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Other(text) => text.clone(),
        };
        match full.char_indices().nth(120) {
            Some((cut, _)) => format!("{}…", &full[..cut]),
            None => full,
        }
    }
}

/// A key's value or a table of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Leaf(Raw, Place),
    Table(BTreeMap<String, Node>, Place),
}

impl Default for Node {
    fn default() -> Self {
        Self::Table(BTreeMap::new(), Place::Default)
    }
}

impl Node {
    pub(super) fn place(&self) -> &Place {
        match self {
            Self::Leaf(_, place) | Self::Table(_, place) => place,
        }
    }

    /// Puts a value at a path; what is in its way is replaced.
    fn put(&mut self, path: &[&str], leaf: Node) {
        let Some((first, rest)) = path.split_first() else {
            *self = leaf;
            return;
        };
        if !matches!(self, Self::Table(..)) {
            *self = Self::Table(BTreeMap::new(), leaf.place().clone());
        }
        if let Self::Table(map, _) = self {
            let child = map
                .entry((*first).to_owned())
                .or_insert_with(|| Self::Table(BTreeMap::new(), leaf.place().clone()));
            child.put(rest, leaf);
        }
    }
}

const PREFIX: &str = "BOOKWIRE_";

/// All sources in one tree, later ones over earlier ones.
pub(super) fn merge(
    file: Option<FileText<'_>>,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &[Override],
    problems: &mut Vec<ConfigProblem>,
) -> Node {
    let mut tree = match file {
        Some(file) => parse_file(file, problems),
        None => Node::default(),
    };
    let mut env: Vec<(String, String)> = env.into_iter().collect();
    env.sort_unstable();
    for (name, value) in env {
        let Some(key) = name.strip_prefix(PREFIX).filter(|key| key.contains("__")) else {
            continue;
        };
        let key = key.to_lowercase();
        let path: Vec<&str> = key.split("__").collect();
        tree.put(
            &path,
            Node::Leaf(Raw::Untyped(value), Place::Env(name.clone())),
        );
    }
    for given in overrides {
        let path: Vec<&str> = given.key.split('.').collect();
        let place = Place::Flag(given.flag.clone());
        tree.put(&path, Node::Leaf(Raw::Untyped(given.value.clone()), place));
    }
    tree
}

/// Turns offsets of a file into places.
struct Places<'a> {
    file: FileText<'a>,
}

impl Places<'_> {
    fn at(&self, offset: usize) -> Place {
        let mut end = offset.min(self.file.text.len());
        while !self.file.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.file.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File {
            name: self.file.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn parse_file(file: FileText<'_>, problems: &mut Vec<ConfigProblem>) -> Node {
    let places = Places { file };
    let (table, errors) = DeTable::parse_recoverable(file.text);
    for error in errors {
        problems.push(ConfigProblem {
            place: places.at(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            value: String::new(),
            message: format!("not valid TOML: {}", error.message()),
            accepted: String::new(),
        });
    }
    let place = places.at(0);
    table_node(table.get_ref(), place, &places)
}

fn table_node(table: &DeTable<'_>, place: Place, places: &Places<'_>) -> Node {
    let children = table
        .iter()
        .map(|(key, value)| {
            let place = places.at(key.span().start);
            (key.get_ref().to_string(), value_node(value, place, places))
        })
        .collect();
    Node::Table(children, place)
}

fn value_node(value: &Spanned<DeValue<'_>>, place: Place, places: &Places<'_>) -> Node {
    match value.get_ref() {
        DeValue::Table(table) => table_node(table, place, places),
        other => Node::Leaf(raw(other), place),
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Raw::Int(value),
            Err(_) => Raw::Other(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Raw::Other(number.as_str().to_owned()),
        DeValue::Datetime(when) => Raw::Other(when.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(_) => Raw::Other("{…}".to_owned()),
    }
}
