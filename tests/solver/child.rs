//! Tests that need another environment, which a process reads once: they run again in a process of their own.

use std::process::Command;

const CHILD: &str = "TEST_IN_A_PROCESS_OF_ITS_OWN";

/// Whether this is the child. In the parent, runs the test of this name in a child with this environment.
pub(crate) fn is_child(test: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", test]).env(CHILD, "1").envs(environment.iter().copied());
    let output = child.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    false
}
