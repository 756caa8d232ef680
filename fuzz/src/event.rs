//! Messages on the sidecar's own channels, where others may publish too.

use token_sidecar::domain::pending::Outcome;
use token_sidecar_client::wire::Event;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [crate::seeds::contract("updated"), crate::seeds::contract("failed")].concat()
}

pub(crate) fn check(payload: &[u8]) {
    let Some(event) = Event::parse(payload) else { return };
    let written = event.to_json();
    assert!(!written.is_empty() && !written.contains(['\n', '\r', '\0']), "not one line: {written:?}");
    let Some(read) = Event::parse(written.as_bytes()) else { panic!("our own message cannot be parsed: {written}") };
    assert_eq!(read.to_json(), written, "writing is not stable");
    assert_eq!((read.site(), Outcome::of(&read)), (event.site(), Outcome::of(&event)));
    if let (Event::Updated(updated), Some(Outcome::Refreshed(stored))) = (&event, Outcome::of(&event)) {
        assert_eq!(stored.to_string(), updated.fingerprint.to_ascii_lowercase());
    }
}
