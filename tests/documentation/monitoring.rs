//! Every alert leads to what cures it, and every cure belongs to an alert.

use std::collections::BTreeSet;
use std::fs;

use serde_yaml_ng::Value;

use crate::markdown::{Document, root};

#[test]
fn every_alert_leads_to_its_section() {
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules.yml")).unwrap();
    let rules: Value = serde_yaml_ng::from_str(&rules).unwrap();
    let groups = rules["groups"].as_sequence().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    let alerts: Vec<&Value> = alerts.filter(|rule| rule.get("alert").is_some()).collect();
    let guide = Document::read("docs/monitoring.md");
    let (_, described) = guide.text.split_once("## Alerts\n").unwrap();
    let sections = Document { name: String::new(), text: described.to_owned() }.anchors();
    let mut named = BTreeSet::new();
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: {severity:?}");
        assert!(alert["annotations"]["summary"].is_string(), "{name} has no summary");
        let (page, anchor) = alert["annotations"]["runbook_url"].as_str().unwrap().split_once('#').unwrap();
        assert!(page.ends_with("/docs/monitoring.md"), "{name}: {page}");
        named.insert(anchor.to_owned());
    }
    assert_eq!(named, sections);
}
