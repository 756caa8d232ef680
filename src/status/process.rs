//! What Linux says of this process, under the names that Prometheus' own clients use.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// A metric: its name, its help, and its value where that can be read.
pub(super) type ProcessMetric = (&'static str, &'static str, Option<f64>);

/// The numbers of `/proc/self/stat` that are wanted, after the name of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

pub(super) fn process_metrics() -> [ProcessMetric; 5] {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| stat(&text));
    // One of them is the folder that is read.
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as f64);
    let most = getrlimit(Resource::Nofile).current.map(|limit| limit as f64);
    [
        ("process_cpu_seconds_total", "Processor time used, in user and system mode.", stat.map(|s| s.cpu_seconds)),
        ("process_resident_memory_bytes", "Resident memory.", stat.map(|s| s.resident_bytes)),
        ("process_virtual_memory_bytes", "Virtual memory.", stat.map(|s| s.virtual_bytes)),
        ("process_open_fds", "Open file descriptors.", open),
        ("process_max_fds", "The greatest number of open file descriptors.", most),
    ]
}

fn stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may itself contain some.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<f64> = fields.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    // Counted from the fourth field, the parent's id; see proc(5).
    let field = |number: usize| fields.get(number - 4).copied();
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) / clock_ticks_per_second() as f64,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_size() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let text = "42 (a) b) (c)) S 1 42 42 0 -1 4194560 700 0 0 0 150 50 0 0 20 0 2 0 12345 8192000 300 18446744073709551615";
        let expected =
            Stat { cpu_seconds: 2.0, virtual_bytes: 8_192_000.0, resident_bytes: 300.0 * page_size() as f64 };
        assert_eq!(stat(text), Some(expected));
        assert_eq!(stat("42 (cut) S 1 42"), None);
    }

    #[test]
    fn each_number_of_this_process_can_be_read() {
        for (name, _, value) in process_metrics() {
            assert!(value.is_some_and(|value| value >= 0.0), "{name}: {value:?}");
        }
    }
}
