//! The packages have one version, one licence and links that work where they are published.

use std::fs;

use crate::markdown::{Document, REPOSITORY, root};

const CLIENTS: [&str; 3] = ["clients/node", "clients/python", "clients/rust"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn all_packages_have_the_same_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, line) in [
        ("clients/node/package.json", format!("\"version\": \"{version}\"")),
        ("clients/node/package-lock.json", format!("\"version\": \"{version}\"")),
        ("clients/python/src/token_sidecar_client/__init__.py", format!("__version__ = \"{version}\"")),
        ("deploy/kubernetes/deployment/kustomization.yaml", format!("newTag: {version} }}")),
        ("deploy/kubernetes/native-sidecar/kustomization.yaml", format!("newTag: {version} }}")),
        ("Cargo.toml", format!("token-sidecar-client = {{ path = \"clients/rust\", version = \"{version}\" }}")),
    ] {
        assert!(read(path).contains(&line), "{path} has another version than {version}");
    }
}

/// A registry shows a package's own folder and nothing else.
#[test]
fn each_client_has_the_licence_and_a_readme_that_stands_alone() {
    for client in CLIENTS {
        assert_eq!(read(&format!("{client}/LICENSE")), read("LICENSE"), "{client}");
        let readme = Document::read(&format!("{client}/README.md"));
        let leading_out =
            readme.links().into_iter().find(|link| !link.starts_with('#') && !link.starts_with(REPOSITORY));
        assert_eq!(leading_out, None, "{client}: name it by {REPOSITORY}");
    }
}
