//! A page and its translation say the same where that can be counted: settings, headers, statuses, metrics, limits.

use std::collections::BTreeSet;

use crate::markdown::Document;

/// A page, and the same in Russian.
const PAIRS: [[&str; 2]; 1] = [["docs/gateway.md", "docs/gateway.ru.md"]];

/// What a section and its translation have in common.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    code: BTreeSet<String>,
    numbers: BTreeSet<String>,
    rows: usize,
    points: usize,
}

impl Facts {
    fn of(section: &str) -> Self {
        let section = Document { name: String::new(), text: section.to_owned() };
        let beginning = |mark: &str| section.text.lines().filter(|line| line.starts_with(mark)).count();
        Self {
            code: section.code().into_iter().collect(),
            numbers: numbers(&section.text),
            rows: beginning("| "),
            points: beginning("- "),
        }
    }
}

/// The numbers of a text; 2,048 in English is 2048 in Russian.
fn numbers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != ',').map(|word| word.replace(',', ""));
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn a_translation_has_what_its_page_has() {
    for [page, translation] in PAIRS.map(|pair| pair.map(Document::read)) {
        for (one, other) in [(&page, &translation), (&translation, &page)] {
            let file = other.name.rsplit('/').next().unwrap().to_owned();
            assert!(one.links().contains(&file), "{} does not lead to {file}", one.name);
        }
        let [sections, translated] = [&page, &translation].map(|one| one.text.split("\n## ").collect::<Vec<_>>());
        assert!(sections.len() > 1 && sections.len() == translated.len(), "{}", translation.name);
        for (section, translated) in sections.iter().zip(translated) {
            let title = translated.lines().next().unwrap_or_default();
            assert_eq!(Facts::of(translated), Facts::of(section), "{}, {title}", translation.name);
        }
    }
}
