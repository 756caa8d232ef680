//! What holds for every address that is made of a client's target: for the test beside it and the fuzz target.

use percent_encoding::percent_decode;
use url::Url;

pub(crate) fn assert_below(url: &Url, api: &Url) {
    assert_eq!((url.scheme(), url.host(), url.port()), (api.scheme(), api.host(), api.port()), "{url}");
    assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url), "read back it is another one");
    let rest = url.path().strip_prefix(api.path().trim_end_matches('/'));
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut path = rest.unwrap_or_else(|| panic!("{url} is not below {api}")).as_bytes().to_vec();
    // However often a server decodes it.
    loop {
        assert!(!path.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'), "{url}");
        assert!(!path.starts_with(b"//"), "{url}");
        for segment in path.split(|byte| *byte == b'/') {
            let name = segment.split(|byte| *byte == b';').next();
            assert!(!matches!(name, Some(b"." | b"..")), "{url}");
        }
        let decoded: Vec<u8> = percent_decode(&path).collect();
        if decoded == path {
            return;
        }
        path = decoded;
    }
}
