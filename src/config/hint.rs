//! The nearest known name to one that is unknown.

use std::collections::BTreeSet;

use super::keys::KEYS;
use super::layers::join;

/// What could be meant by an unknown key below `pattern`.
pub(super) fn of_key(pattern: &str, name: &str) -> String {
    let head = join(pattern, "");
    let known: BTreeSet<String> = KEYS
        .iter()
        .filter_map(|key| Some((key, key.path.strip_prefix(&head)?)))
        .flat_map(|(key, rest)| match rest.split_once('.') {
            Some((table, _)) => vec![table.to_owned()],
            None if key.has_file() => vec![rest.to_owned(), format!("{rest}_file")],
            None => vec![rest.to_owned()],
        })
        .collect();
    nearest(name, &known).unwrap_or_else(|| {
        format!("known here are {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    })
}

/// What could be meant by an unknown variable.
pub(super) fn of_variable(name: &str, known: &BTreeSet<String>) -> String {
    nearest(name, known).unwrap_or_else(|| "nothing reads it".to_owned())
}

fn nearest(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let far = 1 + name.len() / 4;
    let distance = |other: &&String| strsim::damerau_levenshtein(name, other);
    known
        .iter()
        .min_by_key(distance)
        .filter(|other| distance(other) <= far)
        .map(|other| format!("did you mean {other}?"))
}
