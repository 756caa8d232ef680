//! Notices to people and other programs.
//!
//! Every replica receives every event. A notice is sent by the one that has set its key in Redis: at most once, where that
//! replica ends before it has sent it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::SiteId;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

use super::webhook::{NoticeError, Webhook};
use crate::config::NoticeConfig;
use crate::domain::lifetime::between;
use crate::domain::notice::{News, Notice, NoticeKind};
use crate::domain::verdict::Pace;
use crate::http::ClientError;
use crate::refresh::ports::{Jitter, NoticeStore, StoreError};

/// How much news, and how many notices, may wait; the oldest is dropped then.
pub const QUEUE: usize = 512;
/// How long after the news a notice is tried: an older one is of no use.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// The longest pause that an address may ask for: within the hour there are several tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// How long it is remembered that a site fails: longer than any pause between two attempts.
const FAILING: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long it is remembered that a token was told of.
const TOLD: Duration = Duration::from_secs(24 * 3_600);

/// Sends the notices of one table of the settings.
pub struct Notifier {
    config: NoticeConfig,
    webhook: Webhook,
}

/// Sends a notice once. The id is the same at each try; `at` is the time of this try.
pub(super) trait Sends: Sync {
    fn send(&self, notice: &Notice, id: &str, at: Timestamp) -> impl Future<Output = Result<(), NoticeError>> + Send;
}

/// The notices that this replica is to send. Tells of those that are left where the process ends.
struct Queue<'a> {
    name: &'a str,
    notices: broadcast::Receiver<Notice>,
    in_hand: usize,
}

impl Notifier {
    pub fn new(config: NoticeConfig) -> Result<Self, ClientError> {
        let webhook = Webhook::new(&config)?;
        Ok(Self { config, webhook })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Sends one that says that it is a test. A notice that is sent for all sites names `site`.
    pub async fn test(&self, site: &SiteId, time: Timestamp) -> Result<(), NoticeError> {
        let kind = self.config.kinds.first().copied().unwrap_or(NoticeKind::Failed);
        let mut notice = News::sample(kind, self.config.sites.first().unwrap_or(site), time).notice(kind, time);
        notice.text = format!("This is a test. {}", notice.text);
        self.webhook.send(&notice, &format!("test-{}", time.as_millisecond()), time).await
    }

    /// Sends what concerns it until there is no more news.
    pub async fn run<S: NoticeStore>(
        self,
        news: broadcast::Receiver<Arc<News>>,
        stores: Arc<BTreeMap<String, S>>,
        delays: impl Jitter,
        wall: impl Fn() -> Timestamp,
    ) {
        tell(&self.config, news, &*stores, delays, wall, &self.webhook).await;
    }
}

/// Claims what concerns an address at once, since other replicas wait for no delivery; and sends one notice after the
/// other.
async fn tell<S: NoticeStore>(
    config: &NoticeConfig,
    news: broadcast::Receiver<Arc<News>>,
    stores: &BTreeMap<String, S>,
    delays: impl Jitter,
    wall: impl Fn() -> Timestamp,
    by: &impl Sends,
) {
    let (send, notices) = broadcast::channel(QUEUE);
    let queue = Queue { name: &config.name, notices, in_hand: 0 };
    tokio::join!(claim(config, news, stores, &wall, send), deliver(queue, &delays, &wall, by));
}

/// Hands on what this replica is to send, until there is no more news.
async fn claim<S: NoticeStore>(
    config: &NoticeConfig,
    mut news: broadcast::Receiver<Arc<News>>,
    stores: &BTreeMap<String, S>,
    wall: impl Fn() -> Timestamp,
    queue: broadcast::Sender<Notice>,
) {
    while let Some(news) = next(&mut news, &config.name, "Redis is too slow: the oldest news is not told").await {
        let Some(store) = stores.get(news.site()).filter(|_| config.is_about(news.site())) else { continue };
        for kind in config.kinds.iter().copied() {
            match is_due(config, kind, &news, store).await {
                // Its receiver lives as long as this sender.
                Ok(true) => drop(queue.send(news.notice(kind, wall()))),
                Ok(false) => {}
                Err(error) => tracing::warn!(
                    notice = config.name, site = news.site(), %error,
                    "Redis does not say whether another replica has sent the notice: it is not sent"
                ),
            }
        }
    }
}

/// The next of a queue that keeps the newest; `None` where no more will come.
async fn next<T: Clone>(queue: &mut broadcast::Receiver<T>, name: &str, why: &str) -> Option<T> {
    loop {
        match queue.recv().await {
            Ok(next) => return Some(next),
            Err(RecvError::Lagged(count)) => tracing::warn!(notice = name, count, "{why}"),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Whether this replica is to tell of some news by this kind of notice.
async fn is_due<S: NoticeStore>(
    config: &NoticeConfig,
    kind: NoticeKind,
    news: &News,
    store: &S,
) -> Result<bool, StoreError> {
    let (key, repeat) = (|what: &str| format!("{}:{what}", config.id), config.repeat);
    let is_of_failures = matches!(kind, NoticeKind::Failed | NoticeKind::Recovered);
    // A replica that is slow receives what another has told of, and what is over by now.
    if is_of_failures && store.is_failing().await? != matches!(news, News::Failed(_)) {
        return Ok(false);
    }
    match (kind, news) {
        (NoticeKind::Failed, News::Failed(_)) => store.claim(&key("failed"), repeat).await,
        (NoticeKind::Failed, News::Updated(_)) => store.release(&key("failed")).await.map(|_| false),
        (NoticeKind::Recovered, News::Failed(_)) => store.note(&key("failing"), FAILING).await.map(|()| false),
        (NoticeKind::Recovered, News::Updated(_)) => store.release(&key("failing")).await,
        (NoticeKind::Updated, News::Updated(new)) => store.claim(&key(&format!("updated:{}", new.version)), TOLD).await,
        (NoticeKind::Expiring, News::Expiring { version, .. }) => {
            store.claim(&key(&format!("expiring:{version}")), repeat).await
        }
        _ => Ok(false),
    }
}

/// Tries each notice until it arrives, is refused for good or is too old.
async fn deliver(mut queue: Queue<'_>, delays: &impl Jitter, wall: impl Fn() -> Timestamp, by: &impl Sends) {
    let name = queue.name;
    while let Some(notice) =
        next(&mut queue.notices, name, "the address is too slow: the oldest notice is dropped").await
    {
        queue.in_hand = 1;
        let (kind, site, id) = (<&str>::from(notice.kind), &notice.site, delays.claim_id().0);
        let trying = async {
            for failures in 1.. {
                let pause = delays.backoff(failures, Pace::Ordinary);
                let pause = match by.send(&notice, &id, wall()).await {
                    Ok(()) => {
                        tracing::info!(notice = name, %site, kind, "notice sent");
                        return;
                    }
                    Err(error) if error.may_pass() => {
                        tracing::warn!(notice = name, %site, kind, %error, "a notice was not sent: it is tried again");
                        error.retry_after().map_or(pause, |asked| asked.min(LONGEST_PAUSE).max(pause))
                    }
                    Err(error) => {
                        tracing::error!(notice = name, %site, kind, %error, "a notice was not sent, and is given up");
                        return;
                    }
                };
                sleep(pause).await;
            }
        };
        let left = LIFETIME.saturating_sub(between(notice.time, wall()));
        if timeout(left, trying).await.is_err() {
            tracing::error!(notice = name, %site, kind, "a notice could not be sent for an hour, and is given up");
        }
        queue.in_hand = 0;
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        let count = self.notices.len() + self.in_hand;
        if count > 0 {
            tracing::warn!(notice = self.name, count, "the process ends with notices that were not sent");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    use futures_util::future::join_all;
    use reqwest::header::HeaderMap;

    use crate::domain::lifetime::later;
    use crate::domain::notice::NoticeBody;
    use crate::jitter::Delays;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Keys without an end, and whether the site fails.
    #[derive(Default)]
    struct Keys {
        names: Mutex<BTreeSet<String>>,
        is_failing: AtomicBool,
    }

    impl NoticeStore for Keys {
        async fn is_failing(&self) -> Result<bool, StoreError> {
            Ok(self.is_failing.load(Ordering::Relaxed))
        }

        async fn claim(&self, name: &str, _: Duration) -> Result<bool, StoreError> {
            Ok(self.names.lock().unwrap().insert(name.to_owned()))
        }

        async fn note(&self, name: &str, _: Duration) -> Result<(), StoreError> {
            self.names.lock().unwrap().insert(name.to_owned());
            Ok(())
        }

        async fn release(&self, name: &str) -> Result<bool, StoreError> {
            Ok(self.names.lock().unwrap().remove(name))
        }
    }

    fn site() -> SiteId {
        SiteId::parse("shop").unwrap()
    }

    fn config(kinds: &[NoticeKind]) -> NoticeConfig {
        NoticeConfig {
            name: "notices.0".to_owned(),
            id: "id".to_owned(),
            url: "http://hooks.test/".into(),
            kinds: kinds.to_vec(),
            sites: vec![],
            headers: HeaderMap::new(),
            body: NoticeBody::parse(None, kinds, &site(), true).unwrap(),
            repeat: 60 * MINUTE,
            key: None,
        }
    }

    fn version(version: u64) -> Arc<News> {
        let News::Updated(mut updated) = sample(NoticeKind::Updated) else { unreachable!() };
        updated.version = version;
        Arc::new(News::Updated(updated))
    }

    fn sample(kind: NoticeKind) -> News {
        News::sample(kind, &site(), Timestamp::UNIX_EPOCH)
    }

    /// An address that answers with this status; 200 at first. With 429 it asks for ten minutes, with 408 for two hours.
    #[derive(Default)]
    struct Address {
        status: AtomicU16,
        arrived: Mutex<Vec<(NoticeKind, u64)>>,
    }

    impl Address {
        fn answers(&self, status: u16) {
            self.status.store(status, Ordering::Relaxed);
        }
    }

    impl Sends for Address {
        async fn send(&self, notice: &Notice, _: &str, _: Timestamp) -> Result<(), NoticeError> {
            let status = reqwest::StatusCode::from_u16(self.status.load(Ordering::Relaxed)).unwrap_or_default();
            if !status.is_success() {
                let retry_after = match status.as_u16() {
                    429 => Some(10 * MINUTE),
                    408 => Some(120 * MINUTE),
                    _ => None,
                };
                return Err(NoticeError::Refused { status, answer: String::new(), retry_after });
            }
            let version = notice.event["version"].as_u64().unwrap_or_default();
            self.arrived.lock().unwrap().push((notice.kind, version));
            Ok(())
        }
    }

    /// Replicas that send to one address.
    struct Replicas<'a> {
        address: &'a Address,
        keys: &'a Keys,
        senders: Vec<broadcast::Sender<Arc<News>>>,
    }

    impl Replicas<'_> {
        /// What happens in Redis, and that one replica receives it.
        fn receives(&self, replica: usize, news: &Arc<News>) {
            self.senders[replica].send(Arc::clone(news)).unwrap();
        }

        /// Something happens, and all receive it at once.
        fn all_receive(&self, news: &Arc<News>) {
            self.keys.is_failing.store(matches!(**news, News::Failed(_)), Ordering::Relaxed);
            (0..self.senders.len()).for_each(|replica| self.receives(replica, news));
        }
    }

    /// What arrives of these kinds in a story of `count` replicas.
    async fn arrived(
        count: usize,
        kinds: &[NoticeKind],
        story: impl AsyncFnOnce(Replicas<'_>),
    ) -> Vec<(NoticeKind, u64)> {
        let (config, address, began) = (config(kinds), Address::default(), now());
        let stores = BTreeMap::from([("shop".to_owned(), Keys::default())]);
        let delays = Delays::new(Duration::from_secs(1), 5 * MINUTE);
        let wall = || later(Timestamp::UNIX_EPOCH, now() - began);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| broadcast::channel(QUEUE)).unzip();
        let telling = receivers.into_iter().map(|news| tell(&config, news, &stores, delays, wall, &address));
        let replicas = Replicas { address: &address, keys: &stores["shop"], senders };
        tokio::join!(join_all(telling), story(replicas));
        address.arrived.into_inner().unwrap()
    }

    fn now() -> tokio::time::Instant {
        #[expect(clippy::disallowed_methods, reason = "the paused time of a test")]
        tokio::time::Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_down_for_ten_minutes_gets_the_newest_of_much_news() {
        let arrived = arrived(1, &[NoticeKind::Updated], async |replicas| {
            replicas.address.answers(503);
            replicas.all_receive(&version(1));
            sleep(MINUTE).await;
            for number in 2..=1_000 {
                replicas.all_receive(&version(number));
            }
            sleep(9 * MINUTE).await;
            replicas.address.answers(200);
            sleep(10 * MINUTE).await;
        })
        .await;
        let versions: Vec<u64> = arrived.into_iter().map(|(_, version)| version).collect();
        let expected: Vec<u64> = std::iter::once(1).chain(1_001 - QUEUE as u64..=1_000).collect();
        assert_eq!(versions, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_or_for_an_hour_is_given_up() {
        for (status, span) in [(404, MINUTE), (500, 60 * MINUTE)] {
            let arrived = arrived(1, &[NoticeKind::Updated], async |replicas| {
                replicas.address.answers(status);
                replicas.all_receive(&version(1));
                // An hour after the news, not after the first try.
                sleep(MINUTE).await;
                replicas.all_receive(&version(2));
                sleep(span).await;
                replicas.address.answers(200);
                sleep(6 * MINUTE).await;
                replicas.all_receive(&version(3));
            })
            .await;
            assert_eq!(arrived, [(NoticeKind::Updated, 3)], "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_asks_for_a_pause_has_it() {
        for (status, asked) in [(429, 10), (408, 15)] {
            for (minutes, count) in [(asked - 5, 0), (asked - 1, 1)] {
                let arrived = arrived(1, &[NoticeKind::Updated], async |replicas| {
                    replicas.address.answers(status);
                    replicas.all_receive(&version(1));
                    sleep(minutes * MINUTE).await;
                    replicas.address.answers(200);
                    sleep(4 * MINUTE).await;
                    replicas.address.answers(404);
                    sleep(60 * MINUTE).await;
                })
                .await;
                assert_eq!(arrived.len(), count, "{status} for {minutes} min");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_site_that_keeps_failing_is_told_of_once_and_its_recovery_where_it_was() {
        let kinds = [NoticeKind::Failed, NoticeKind::Recovered];
        for (wanted, expected) in [
            (&kinds[..], vec![kinds[0], kinds[1], kinds[0], kinds[1]]),
            (&kinds[1..], vec![kinds[1]; 2]),
            (&kinds[..1], vec![kinds[0]; 2]),
        ] {
            let arrived = arrived(1, wanted, async |replicas| {
                let failed = Arc::new(sample(NoticeKind::Failed));
                for news in [version(1), failed.clone(), failed.clone(), version(2), version(3), failed, version(4)] {
                    replicas.all_receive(&news);
                    sleep(MINUTE).await;
                }
            })
            .await;
            assert_eq!(arrived.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_is_late_tells_of_nothing_again() {
        let kinds = [NoticeKind::Failed, NoticeKind::Recovered];
        let arrived = arrived(2, &kinds, async |replicas| {
            let failed = Arc::new(sample(NoticeKind::Failed));
            let is_failing = |is| replicas.keys.is_failing.store(is, Ordering::Relaxed);
            is_failing(true);
            replicas.receives(0, &failed);
            sleep(MINUTE).await;
            is_failing(false);
            replicas.receives(0, &version(1));
            sleep(MINUTE).await;
            replicas.receives(1, &failed);
            replicas.receives(1, &version(1));
            sleep(MINUTE).await;
            is_failing(true);
            replicas.receives(0, &failed);
            sleep(MINUTE).await;
            replicas.receives(1, &version(1));
            sleep(MINUTE).await;
        })
        .await;
        assert_eq!(arrived, [(kinds[0], 0), (kinds[1], 1), (kinds[0], 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_whose_address_is_down_send_a_notice_once_all_the_same() {
        let kinds = [NoticeKind::Failed, NoticeKind::Recovered, NoticeKind::Updated];
        let mut arrived = arrived(2, &kinds, async |replicas| {
            replicas.address.answers(503);
            for number in 1..4 {
                for news in [Arc::new(sample(NoticeKind::Failed)), version(number)] {
                    replicas.all_receive(&news);
                    sleep(MINUTE).await;
                }
            }
            replicas.address.answers(200);
            sleep(10 * MINUTE).await;
        })
        .await;
        arrived.sort_unstable();
        let expected = [[(kinds[0], 0); 3], [1, 2, 3].map(|n| (kinds[1], n)), [1, 2, 3].map(|n| (kinds[2], n))];
        assert_eq!(arrived, expected.concat());
    }
}
