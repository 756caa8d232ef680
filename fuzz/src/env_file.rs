//! A `.env` file in which one line is kept current.

use std::collections::BTreeMap;

use token_sidecar::outputs::token_file::env_line::edit;

const KEY: &str = "KEY";
const VALUE: &str = "new.Token-1_~+/==";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        "",
        "KEY=old",
        "\u{feff}A=1\r\n# c\r\n  KEY = old \r\nB=2",
        "export KEY='old' # why\nA=\"x\nKEY=inside\n\"\n",
        "KEY=\"a\\\"b\"\nKEY=`x`\n#KEY=2\nKEY=a#b c # why\n",
        "KEY=\"open\nB=\"2\"\nKEYS=1\nMY_KEY=$KEY\n",
        "\u{c}KEY= # x\n\\",
    ])
}

pub(crate) fn check(file: &[u8]) {
    let Some(edited) = edit(file, KEY, VALUE) else { return assert_readable(file, file) };
    assert_eq!(
        edit(&edited, KEY, VALUE),
        None,
        "a second edit changes something: {:?}",
        String::from_utf8_lossy(&edited)
    );
    assert_other_lines_stay(file, &edited);
    assert_readable(file, &edited);
}

/// Each line is unchanged, or is the key's line with the new value; or a line with the value is added at the end.
fn assert_other_lines_stay(file: &[u8], edited: &[u8]) {
    let lines = |bytes: &[u8]| bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (before, after) = (lines(file), lines(edited));
    let has = |line: &[u8], word: &str| line.windows(word.len()).any(|window| window == word.as_bytes());
    if before.len() == after.len() {
        for (old, new) in before.iter().zip(&after) {
            assert!(old == new || has(old, KEY) && has(new, VALUE), "{:?}", String::from_utf8_lossy(new));
        }
    } else {
        assert!(edited.starts_with(file));
        let added = String::from_utf8_lossy(edited.get(file.len()..).unwrap_or_default()).into_owned();
        assert!(
            has(added.as_bytes(), VALUE) && added.lines().filter(|line| !line.trim().is_empty()).count() == 1,
            "{added:?}"
        );
    }
}

/// dotenvy, given one line at a time, reads the new value, and all other values as before. (Readers differ about quotes
/// inside a value, and only Docker knows backquotes.)
fn assert_readable(file: &[u8], edited: &[u8]) {
    let read = |bytes: &[u8]| -> Option<BTreeMap<String, String>> {
        let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}');
        let lines = text.lines().map(|line| line.to_owned() + "\n");
        lines
            .flat_map(|line| dotenvy::from_read_iter(line.as_bytes()).collect::<Vec<_>>())
            .collect::<Result<_, _>>()
            .ok()
    };
    // Skipped: white space that we do not treat as such, backquotes, and variables, which dotenvy substitutes.
    let text = String::from_utf8_lossy(file).replace("\r\n", "\n");
    if text.contains(|c: char| "`$".contains(c) || c.is_whitespace() && !" \t\n".contains(c)) {
        return;
    }
    if let (Some(before), Some(after)) = (read(file), read(edited)) {
        assert_eq!(after.get(KEY).map(String::as_str), Some(VALUE), "{:?}", String::from_utf8_lossy(edited));
        let others =
            |all: BTreeMap<String, String>| all.into_iter().filter(|(name, _)| name != KEY).collect::<Vec<_>>();
        assert_eq!(others(after), others(before));
    }
}
