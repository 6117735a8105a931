//! Reading typed values out of the merged tree, and finding what nobody reads.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::problem::{ConfigProblem, Place};
use super::source::{Node, Raw};
use crate::instrument::edit_distance;

/// Walks the tree along the keys that exist; what is left over is unknown.
pub(super) struct Reader<'a> {
    root: &'a Node,
    /// The section being read: `["providers", "binance"]`.
    section: Vec<String>,
    known: Vec<String>,
    places: BTreeMap<String, Place>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Node, problems: &'a mut Vec<ConfigProblem>) -> Self {
        Self {
            root,
            section: Vec::new(),
            known: Vec::new(),
            places: BTreeMap::new(),
            problems,
        }
    }

    /// Reads the keys of a section.
    pub(super) fn section(&mut self, name: &str, read: impl FnOnce(&mut Self)) {
        self.section.push(name.to_owned());
        read(self);
        self.section.pop();
    }

    fn path(&self, name: &str) -> String {
        match self.section.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.section.join(".")),
        }
    }

    fn node(&self, name: &str) -> Option<&'a Node> {
        let mut node = self.root;
        for step in self.section.iter().map(String::as_str).chain([name]) {
            let Node::Table(map, _) = node else {
                return None;
            };
            node = map.get(step)?;
        }
        Some(node)
    }

    /// Reports a problem of a key of this section, at the place that set it.
    pub(super) fn problem(&mut self, name: &str, value: String, accepted: &str) {
        let key = self.path(name);
        self.problems.push(ConfigProblem {
            place: self.places.get(&key).cloned().unwrap_or(Place::Default),
            key,
            value,
            message: "not accepted".to_owned(),
            accepted: format!("accepted: {accepted}"),
        });
    }

    /// Reads a key with `convert`; `accepted` is what it takes, in words.
    pub(super) fn key<T>(
        &mut self,
        name: &str,
        target: &mut T,
        accepted: &str,
        convert: impl FnOnce(&Raw) -> Option<T>,
    ) {
        let key = self.path(name);
        self.known.push(key.clone());
        let Some(node) = self.node(name) else { return };
        self.places.insert(key, node.place().clone());
        match node {
            Node::Leaf(raw, _) => match convert(raw) {
                Some(value) => *target = value,
                None => self.problem(name, raw.show(), accepted),
            },
            Node::Table(..) => self.problem(name, "a table".to_owned(), accepted),
        }
    }

    pub(super) fn flag(&mut self, name: &str, target: &mut bool) {
        self.key(name, target, "true or false", |raw| match raw {
            Raw::Bool(value) => Some(*value),
            Raw::Untyped(text) => text.trim().parse().ok(),
            _ => None,
        });
    }

    pub(super) fn int<T>(&mut self, name: &str, target: &mut T, range: RangeInclusive<i64>)
    where
        T: TryFrom<i64>,
    {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        self.key(name, target, &accepted, |raw| {
            let value = match raw {
                Raw::Int(value) => *value,
                Raw::Untyped(text) => text.trim().parse().ok()?,
                _ => return None,
            };
            T::try_from(value).ok().filter(|_| range.contains(&value))
        });
    }

    pub(super) fn text<T>(
        &mut self,
        name: &str,
        target: &mut T,
        accepted: &str,
        convert: impl FnOnce(&str) -> Option<T>,
    ) {
        self.key(name, target, accepted, |raw| match raw {
            Raw::Text(text) => convert(text),
            Raw::Untyped(text) => convert(text.trim()),
            _ => None,
        });
    }

    pub(super) fn choice<T: Copy>(&mut self, name: &str, target: &mut T, all: &[(&str, T)]) {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        self.text(name, target, &names.join(", "), |text| {
            all.iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value)
        });
    }

    /// Reads a list of texts; `accepted` describes one of them.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        target: &mut Vec<T>,
        accepted: &str,
        convert: impl Fn(&str) -> Option<T>,
    ) {
        let accepted = format!("a list of {accepted}");
        self.key(name, target, &accepted, |raw| match raw {
            Raw::List(items) => items
                .iter()
                .map(|item| match item {
                    Raw::Text(text) => convert(text),
                    _ => None,
                })
                .collect(),
            Raw::Untyped(text) if text.trim().is_empty() => Some(Vec::new()),
            Raw::Untyped(text) => text.split(',').map(|item| convert(item.trim())).collect(),
            _ => None,
        });
    }

    /// Reads a table whose keys are free: `known_as` names them in documentation. `check` gives
    /// what is accepted instead of an entry that is not.
    pub(super) fn table(
        &mut self,
        name: &str,
        known_as: &str,
        target: &mut BTreeMap<String, String>,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) {
        let path = self.path(name);
        self.known.push(format!("{path}.{known_as}"));
        let entries: Vec<(String, Raw, Place)> = match self.node(name) {
            None => return,
            Some(Node::Table(map, _)) => map
                .iter()
                .map(|(key, node)| match node {
                    Node::Leaf(raw, place) => (key.clone(), raw.clone(), place.clone()),
                    Node::Table(_, place) => {
                        let raw = Raw::Other("a table".to_owned());
                        (key.clone(), raw, place.clone())
                    }
                })
                .collect(),
            Some(Node::Leaf(Raw::Untyped(text), place)) => text
                .split(',')
                .filter(|entry| !entry.trim().is_empty())
                .map(|entry| {
                    let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
                    let value = Raw::Text(value.trim().to_owned());
                    (key.trim().to_owned(), value, place.clone())
                })
                .collect(),
            Some(Node::Leaf(raw, place)) => {
                self.places.insert(path, place.clone());
                return self.problem(name, raw.show(), "a table of texts");
            }
        };
        target.clear();
        for (key, raw, place) in entries {
            let full = format!("{name}.{key:?}");
            self.places.insert(self.path(&full), place);
            match &raw {
                Raw::Text(text) => match check(&key, text) {
                    Ok(()) => {
                        target.insert(key, text.clone());
                    }
                    Err(accepted) => self.problem(&full, raw.show(), &accepted),
                },
                _ => self.problem(&full, raw.show(), "a text"),
            }
        }
    }

    /// The keys that were asked for.
    pub(super) fn into_known(self) -> Vec<String> {
        self.known
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let mut left = Vec::new();
        unknown(self.root, "", &self.known, &mut left);
        for (key, place) in left {
            let accepted = match nearest(&key, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "see config/default.toml for all keys".to_owned(),
            };
            self.problems.push(ConfigProblem {
                place,
                key,
                value: String::new(),
                message: "unknown key".to_owned(),
                accepted,
            });
        }
    }
}

/// Collects leaves and tables that no known key reaches.
fn unknown(node: &Node, path: &str, known: &[String], left: &mut Vec<(String, Place)>) {
    let Node::Table(map, _) = node else { return };
    for (name, child) in map {
        let key = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        let is_free_table = known.iter().any(|one| {
            one.strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with(".<"))
        });
        if is_free_table || known.contains(&key) {
            continue;
        }
        let is_section = known.iter().any(|one| {
            one.strip_prefix(&key)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        match child {
            Node::Table(..) if is_section => unknown(child, &key, known, left),
            _ => left.push((key, child.place().clone())),
        }
    }
}

/// The known key or section that is most like `key`, when one is.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let depth = key.matches('.').count();
    known
        .iter()
        .flat_map(|one| {
            // A key can be a misspelt section: compare with the known path cut to its depth.
            let cut = one.match_indices('.').nth(depth).map(|(at, _)| &one[..at]);
            [Some(one.as_str()), cut]
        })
        .flatten()
        .filter_map(|one| Some((edit_distance(key, one, 3)?, one)))
        .min()
        .map(|(_, one)| one)
        .or_else(|| {
            // Right name in the wrong section.
            let name = key.rsplit('.').next()?;
            known
                .iter()
                .map(String::as_str)
                .find(|one| one.rsplit('.').next() == Some(name))
        })
}
