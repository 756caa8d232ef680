//! `doctor`: what works, what does not, and what to do about it.

use serde_json::json;

use super::args::Output;
use super::{Exit, Stopped, local, screen};
use crate::config::{Config, SiteConfig};
use crate::doctor::{Doctor, Finding, State};

pub(super) async fn run(config: &Config, sites: &[&SiteConfig], output: &Output) -> Result<Exit, Stopped> {
    let (mut broken, mut findings) = (0, Vec::new());
    let mut show = |finding: Finding| -> Result<(), Stopped> {
        broken += u32::from(finding.state == State::Broken);
        if output.json {
            findings.push(finding);
            return Ok(());
        }
        let state = match finding.state {
            State::Works => screen::good("ok  "),
            State::Odd => console::style("odd ").yellow(),
            State::Broken => screen::bad("FAIL"),
        };
        screen::line(format!("{state}  {}", finding.text))?;
        if let Some(cure) = finding.cure {
            screen::line(format!("      → {cure}"))?;
        }
        Ok(())
    };
    show(Finding::works("settings", format!("{} site(s)", config.sites.len())))?;
    let doctor = Doctor::new(config)?;
    let redis = doctor.redis().await;
    let is_reached = !redis.iter().any(|finding| finding.state == State::Broken);
    for finding in redis {
        show(finding)?;
    }
    for site in sites {
        // An unreachable Redis is reported once, not once for each site.
        if is_reached {
            for finding in doctor.keys_and_channels(site).await {
                show(finding)?;
            }
        }
        for finding in doctor.outside(site, is_reached).await? {
            show(finding)?;
        }
    }
    for solver in local::status(config, sites).await.solvers {
        if let Some(left) = solver.left_alone_s {
            let what = format!("solver {}", solver.address);
            let why = format!("the sidecar on this machine leaves it alone for {left} s: it has failed");
            show(Finding::odd(what, why, "it is asked again by itself; see the log for the failure"))?;
        }
    }
    if output.json {
        screen::line(format!("{:#}", json!({"findings": findings})))?;
    } else if broken > 0 {
        screen::line(format!("{broken} to fix"))?;
    }
    Ok(if broken == 0 { Exit::Done } else { Exit::Unhealthy })
}
