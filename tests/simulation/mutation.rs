//! Mutations that break what the simulation proves: each must be detected.

/// One safeguard less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A commit does not look whether a newer token is stored.
    NoFence,
    /// A lock is freed whosever it is.
    BlindLockDelete,
    /// A subscription that was lost is begun anew, and nothing is checked.
    NoGapRecovery,
    /// Every replica counts its own failures.
    BackoffPerReplica,
    /// A commit whose answer was lost is done again.
    NoIdempotence,
    /// A claim does not look whether the state has changed.
    NoEtag,
    /// A lock that another replica holds is taken all the same.
    NoLock,
    /// A lock is cut to the lock TTL of whichever replica reads it.
    CutLocks,
    /// Each solver has the time of the whole attempt.
    NoShares,
}

impl Mutation {
    /// Whether it changes a script.
    pub(crate) fn is_in_scripts(self) -> bool {
        !matches!(self, Self::NoGapRecovery | Self::NoShares)
    }

    pub(crate) const ALL: [Self; 9] = [
        Self::NoFence,
        Self::BlindLockDelete,
        Self::NoGapRecovery,
        Self::BackoffPerReplica,
        Self::NoIdempotence,
        Self::NoEtag,
        Self::NoLock,
        Self::CutLocks,
        Self::NoShares,
    ];

    /// The beginning of the law that it breaks first.
    pub(crate) fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::NoFence => &["an older solve never overwrites"],
            Self::BlindLockDelete | Self::NoLock | Self::CutLocks => &["one solve at a time"],
            Self::NoGapRecovery => &["every report is answered"],
            Self::BackoffPerReplica => &["back-off is shared", "solves are paced"],
            Self::NoIdempotence => &["what was done is never denied"],
            Self::NoShares => &["solvers share the time"],
            Self::NoEtag => &["solves are paced", "back-off is shared", "no implicit question costs a solve"],
        }
    }

    /// A script with the safeguard taken out, as one process has it.
    pub(crate) fn applied(self, script: &str, process: usize) -> String {
        let own = format!("'failures@{process}'");
        let (guard, broken) = match self {
            Self::NoFence => ("if current > args.version_at_claim then", "if false then"),
            Self::BlindLockDelete => ("if redis.call('GET', LOCK) == args.claim then", "if true then"),
            Self::NoIdempotence => ("if field('claim') == args.claim then", "if false then"),
            Self::NoEtag => ("if etag() == args.etag and ", "if "),
            Self::NoLock => ("args.claim, 'NX', 'PX'", "args.claim, 'PX'"),
            Self::CutLocks => ("tonumber(string.match(value, ':px=(%d+)$'))", "args.lock_ttl"),
            Self::BackoffPerReplica => ("'failures'", own.as_str()),
            Self::NoGapRecovery | Self::NoShares => return script.to_owned(),
        };
        script.replace(guard, broken)
    }
}
