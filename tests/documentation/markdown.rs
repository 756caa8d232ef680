//! The parts of a document that the tests check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the files of the project are on the web.
pub(crate) const REPOSITORY: &str = "https://github.com/token-sidecar/token-sidecar";

/// The folder of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One document.
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A line of a document: outside of blocks of code, or inside of one in a language.
enum Line<'a> {
    Prose(&'a str),
    Code(&'a str, &'a str),
}

impl Document {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { name: name.to_owned(), text }
    }

    /// Every document of the project.
    pub(crate) fn all() -> Vec<Self> {
        let mut names = Vec::new();
        collect(root(), &mut names);
        names.sort();
        assert!(names.len() > 10, "the documents were not found");
        names.iter().map(|name| Self::read(name)).collect()
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let mut language = None;
        let mut lines = Vec::new();
        for line in self.text.lines() {
            match (line.trim_start().strip_prefix("```"), language) {
                (Some(opened), None) => language = Some(opened.trim()),
                (Some(_), Some(_)) => language = None,
                (None, None) => lines.push(Line::Prose(line)),
                (None, Some(language)) => lines.push(Line::Code(language, line)),
            }
        }
        lines
    }

    /// The blocks of code in a language.
    pub(crate) fn blocks(&self, language: &str) -> Vec<String> {
        let opened = format!("```{language}\n");
        let parts = self.text.split(opened.as_str()).skip(1);
        parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
    }

    /// All that is written as code: lines of blocks, and spans in the prose. A block without a language is a drawing.
    pub(crate) fn code(&self) -> Vec<String> {
        let mut code = Vec::new();
        for line in self.lines() {
            match line {
                Line::Code("", _) => {}
                Line::Code(_, line) => code.push(line.to_owned()),
                Line::Prose(line) => code.extend(spans(line)),
            }
        }
        code
    }

    /// The targets of links that stay in the project, on the web too.
    pub(crate) fn links(&self) -> Vec<String> {
        let mut targets = Vec::new();
        // A link may be broken over two lines.
        let prose: Vec<&str> =
            self.lines().into_iter().map(|line| if let Line::Prose(line) = line { line } else { "" }).collect();
        for part in prose.join("\n").split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if (!target.contains("://") || target.starts_with(REPOSITORY)) && !target.starts_with("mailto:") {
                targets.push(target.to_owned());
            }
        }
        targets
    }

    /// The anchors of its headings, as they are made on the web.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let headings = self.lines().into_iter().filter_map(|line| match line {
            Line::Prose(line) => line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()),
            Line::Code(..) => None,
        });
        headings
            .map(|heading| {
                let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }
}

/// What stands between backticks.
fn spans(line: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].chars().take_while(|c| *c == '`').count();
        let fence = "`".repeat(ticks);
        let Some((span, tail)) = rest[start + ticks..].split_once(fence.as_str()) else { break };
        spans.push(span.trim().replace("\\|", "|"));
        rest = tail;
    }
    spans
}

fn collect(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "fixtures"].contains(&name.as_str()) {
                collect(&path, names);
            }
        } else if name.ends_with(".md") {
            names.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}
