//! Changing one value of a `.env`: every other byte stays.

use std::ops::Range;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The file with `key` set to `value` in every line that sets it, or in a new line at the end; `None` if that changes
/// nothing. `value` must have no character that a line or quotes cannot hold.
pub fn edit(file: &[u8], key: &str, value: &str) -> Option<Vec<u8>> {
    let body = if file.starts_with(BOM) { BOM.len() } else { 0 };
    // A shell that reads the file would take `|` for a pipe.
    let is_plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    let bare = if is_plain { value.to_owned() } else { format!("'{value}'") };
    let mut edited = file[..body].to_vec();
    let mut rest = &file[body..];
    let mut is_set = false;
    while !rest.is_empty() {
        let entry = Entry::at(rest, key.as_bytes());
        if entry.name.as_ref().is_some_and(|name| &rest[name.clone()] == key.as_bytes()) {
            is_set = true;
            edited.extend_from_slice(&rest[..entry.value.start]);
            let is_quoted = edited.last().is_some_and(|b| b"'\"`".contains(b));
            edited.extend_from_slice(if is_quoted { value } else { &bare }.as_bytes());
            edited.extend_from_slice(&rest[entry.value.end..entry.end]);
        } else {
            edited.extend_from_slice(&rest[..entry.end]);
        }
        rest = &rest[entry.end..];
    }
    if !is_set {
        let line_end: &[u8] = if ends_lines_with_cr(file) { b"\r\n" } else { b"\n" };
        if edited.len() > body && !edited.ends_with(b"\n") {
            edited.extend_from_slice(line_end);
        }
        for part in [key.as_bytes(), b"=", bare.as_bytes(), line_end] {
            edited.extend_from_slice(part);
        }
    }
    (edited != file).then_some(edited)
}

/// A line, or all lines that a quoted value spans.
struct Entry {
    /// `None` for a comment and other lines that set nothing.
    name: Option<Range<usize>>,
    /// Without quotes.
    value: Range<usize>,
    /// Where the next entry begins.
    end: usize,
}

impl Entry {
    fn at(text: &[u8], key: &[u8]) -> Self {
        Self::assignment(text, key).unwrap_or_else(|| Self { name: None, value: 0..0, end: line_end(text, 0) })
    }

    fn assignment(text: &[u8], key: &[u8]) -> Option<Self> {
        let mut start = skip_blanks(text, 0);
        if let Some(after) = text[start..].strip_prefix(b"export").filter(|after| after.first().is_some_and(is_blank)) {
            start = skip_blanks(text, text.len() - after.len());
        }
        let length = text[start..].iter().position(|b| is_blank(b) || b"=#\r\n".contains(b))?;
        let name = start..start + length;
        let equals = skip_blanks(text, name.end);
        if name.is_empty() || text.get(equals) != Some(&b'=') {
            return None;
        }
        let begin = skip_blanks(text, equals + 1);
        // Other values may span lines, and a match inside them is not the key. The key's own value never spans lines: an
        // open quote must not include the lines below.
        let is_ours = &text[name.clone()] == key;
        let within = if is_ours { line_end(text, begin) } else { text.len() };
        // In `"a"b` the quotes hold a part of the value alone.
        let is_whole = |close: &usize| match &text[close + 1..] {
            [] | [b' ' | b'\t' | b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..] => true,
            [..] => false,
        };
        if let Some(close) = closing_quote(&text[..within], begin).filter(|close| !is_ours || is_whole(close)) {
            return Some(Self { name: Some(name), value: begin + 1..close, end: line_end(text, close) });
        }
        let end = line_end(text, begin);
        let mut value = begin..begin;
        for at in begin..end {
            match text[at] {
                b'#' if is_blank(&text[at - 1]) => break,
                b'\r' | b'\n' | b' ' | b'\t' => {}
                _ => value.end = at + 1,
            }
        }
        if value.is_empty() {
            // `KEY= # comment`: the value goes right after the `=`, where a shell would read it.
            value = equals + 1..equals + 1;
        }
        Some(Self { name: Some(name), value, end })
    }
}

/// Where the quotes that open at `begin` close; `None` if they never do, and no reader takes them for quotes.
fn closing_quote(text: &[u8], begin: usize) -> Option<usize> {
    let quote = *text.get(begin).filter(|b| b"'\"`".contains(b))?;
    let mut at = begin + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 1,
            _ if byte == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn line_end(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|&b| b == b'\n').map_or(text.len(), |at| from + at + 1)
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    from + text[from..].iter().take_while(|b| is_blank(b)).count()
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn ends_lines_with_cr(file: &[u8]) -> bool {
    let first = file.iter().position(|&b| b == b'\n');
    first.is_some_and(|at| at > 0 && file[at - 1] == b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edited(file: &str) -> Option<String> {
        edit(file.as_bytes(), "KEY", "new").map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn the_value_changes_and_nothing_else() {
        for (file, expected) in [
            ("", "KEY=new\n"),
            ("\u{feff}", "\u{feff}KEY=new\n"),
            ("KEY=old", "KEY=new"),
            ("KEY=old\n", "KEY=new\n"),
            ("KEY=old\r\nB=2\r\n", "KEY=new\r\nB=2\r\n"),
            ("\u{feff}KEY=old\n", "\u{feff}KEY=new\n"),
            ("A=1\n# c\n\n  KEY = old \nB=2", "A=1\n# c\n\n  KEY = new \nB=2"),
            ("export KEY=old\n", "export KEY=new\n"),
            ("export\t KEY=old\n", "export\t KEY=new\n"),
            ("KEY=\"old\" # why\n", "KEY=\"new\" # why\n"),
            ("KEY='old'\r\n", "KEY='new'\r\n"),
            ("KEY=`old`\n", "KEY=`new`\n"),
            ("KEY=\"a\\\"b\"\n", "KEY=\"new\"\n"),
            ("KEY=\"a\"b # why\n", "KEY=new # why\n"),
            ("KEY=\"open\nB=\"2\"\n", "KEY=new\nB=\"2\"\n"),
            ("KEY=old # why\n", "KEY=new # why\n"),
            ("KEY=a#b c # why\n", "KEY=new # why\n"),
            ("KEY=\nB=2\n", "KEY=new\nB=2\n"),
            ("KEY= # why\n", "KEY=new # why\n"),
            ("KEY=  \r\n", "KEY=new  \r\n"),
            ("KEY=\"\"\n", "KEY=\"new\"\n"),
            ("KEY=1\n#KEY=2\nKEY=3\n", "KEY=new\n#KEY=2\nKEY=new\n"),
            ("# KEY=old\n", "# KEY=old\nKEY=new\n"),
            ("KEYS=1\nMY_KEY=2\nkey=3\nKEY\n", "KEYS=1\nMY_KEY=2\nkey=3\nKEY\nKEY=new\n"),
            ("A=1", "A=1\nKEY=new\n"),
            ("A=1\r\nB=2", "A=1\r\nB=2\r\nKEY=new\r\n"),
            ("A=\"x\nKEY=inside\n\"\nKEY=old\n", "A=\"x\nKEY=inside\n\"\nKEY=new\n"),
            ("A='it\nKEY=inside\n'\n", "A='it\nKEY=inside\n'\nKEY=new\n"),
            ("exportKEY=1\nexport=2\n", "exportKEY=1\nexport=2\nKEY=new\n"),
        ] {
            assert_eq!(edited(file).as_deref(), Some(expected), "{file:?}");
            assert_eq!(edited(expected), None, "{expected:?}");
        }
    }

    #[test]
    fn a_token_that_a_shell_would_not_read_is_quoted() {
        for (file, expected) in
            [("", "KEY='1|a'\n"), ("KEY=old # why\n", "KEY='1|a' # why\n"), ("KEY=\"old\"\n", "KEY=\"1|a\"\n")]
        {
            let edited = edit(file.as_bytes(), "KEY", "1|a").unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&edited), expected);
            assert_eq!(edit(expected.as_bytes(), "KEY", "1|a"), None);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let file = b"A=\xff\xfe\0\nKEY=\xff\n\x80";
        assert_eq!(edit(file, "KEY", "new").as_deref(), Some(&b"A=\xff\xfe\0\nKEY=new\n\x80"[..]));
    }

    proptest! {
        #[test]
        fn every_other_byte_is_kept(
            lines in proptest::collection::vec(("(export )?|  |# |#|X|", "old|a b|'old'|\"old\"|", " # c|  |", "\n|\r\n"), 0..8),
            others in proptest::collection::vec("[A-Z]{1,3}=[a-z ]{0,6}|# [a-z=]{0,9}|[ \t]*", 8),
        ) {
            let (mut file, mut expected, mut is_set) = (String::new(), String::new(), false);
            for ((head, value, tail, end), other) in lines.iter().zip(&others) {
                let live = !head.contains('#') && !head.contains('X');
                let quote = value.chars().next().filter(|c| "'\"".contains(*c)).map(String::from).unwrap_or_default();
                let new = if live { format!("{quote}new{quote}") } else { value.clone() };
                file += &format!("{head}KEY={value}{tail}{end}{other}Z{end}");
                expected += &format!("{head}KEY={new}{tail}{end}{other}Z{end}");
                is_set |= live;
            }
            if !is_set {
                expected += if expected.lines().next().is_some() && file.split_once('\n').is_some_and(|(l, _)| l.ends_with('\r')) { "KEY=new\r\n" } else { "KEY=new\n" };
            }
            prop_assert_eq!(edited(&file).unwrap_or(file), expected);
        }

        #[test]
        fn of_any_bytes_what_is_there_stays_there(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            // No random file sets this name.
            let edited = edit(&file, "A_NAME_THAT_IS_NOT_SET", "new").unwrap_or_default();
            prop_assert!(edited.starts_with(&file));
            prop_assert_eq!(edit(&edited, "A_NAME_THAT_IS_NOT_SET", "new").is_none(), true);
        }

        #[test]
        fn a_second_write_changes_nothing(file in "([ \t]*(export )?(KEY|#|A)?[ \t]*=?[ '\"`\\\\#a-z]{0,8}(\r?\n)?){0,6}") {
            if let Some(once) = edited(&file) {
                prop_assert_eq!(edited(&once), None, "{:?}", once);
            }
        }
    }
}
