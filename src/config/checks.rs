//! Checks between sites, and between a site and Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{self, Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use token_sidecar_client::redis::Topology;
use token_sidecar_client::wire::KeyNames;
use url::Url;

use super::reader::Reader;
use super::site::SiteConfig;
use super::source::{FlaresolverrConfig, SourceConfig};
use super::variables;
use crate::domain::product::ProductRule;
use crate::domain::token_file::{Content, TokenFile};

/// Notes every conflict between settings.
pub(super) fn check(reader: &mut Reader, topology: &Topology, sites: &[SiteConfig]) {
    if matches!(topology, Topology::Cluster { .. }) {
        check_slots(reader, sites);
    }
    check_keys(reader, sites);
    for (one, two, prefix) in pairs(sites.iter().map(|site| (variables::prefix(site.id.as_str()), site))) {
        reader.conflict(format!("sites.{} and sites.{} would share the variables {prefix}_…", one.id, two.id));
    }
    check_files(reader, sites);
    check_solvers(reader, sites);
}

/// Each item that has the key of an earlier one: the earlier item, the item and the key.
fn pairs<K: Ord + Clone, T: Copy>(items: impl Iterator<Item = (K, T)>) -> Vec<(T, T, K)> {
    let mut first = BTreeMap::new();
    let earlier = items.filter_map(|(key, item)| {
        let earlier = first.get(&key).copied();
        first.entry(key.clone()).or_insert(item);
        earlier.map(|earlier| (earlier, item, key))
    });
    earlier.collect()
}

/// Where a file is, however its folder is spelled.
fn place(file: &TokenFile) -> PathBuf {
    let path = path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(path.file_name()).map(|(folder, name)| folder.join(name)).unwrap_or(path)
}

/// No two write the same file, unless they write different lines of a `.env`.
fn check_files(reader: &mut Reader, sites: &[SiteConfig]) {
    let all: Vec<_> =
        sites.iter().flat_map(|site| site.files.iter().map(move |file| (site, file, place(file)))).collect();
    let lines = all.iter().filter_map(|(site, file, place)| match &file.content {
        Content::EnvLine(key) => Some(((place, key), *site)),
        Content::Template(_) => None,
    });
    for (one, two, (file, key)) in pairs(lines) {
        let file = file.display();
        reader.conflict(format!("sites.{} and sites.{} write the same line {key} of {file}", one.id, two.id));
    }
    let whole = |file: &TokenFile| matches!(file.content, Content::Template(_));
    let written: BTreeSet<&Path> = all.iter().filter(|(_, file, _)| whole(file)).map(|(.., place)| &**place).collect();
    let of_those = all.iter().filter(|(.., place)| written.contains(&**place)).map(|(site, _, place)| (place, *site));
    for (one, two, file) in pairs(of_those) {
        reader.conflict(format!("sites.{} and sites.{} both write {}", one.id, two.id, file.display()));
    }
}

/// On a Cluster, token and cookies must share a slot: they are written in one step.
fn check_slots(reader: &mut Reader, sites: &[SiteConfig]) {
    for site in sites.iter().filter(|site| !site.keys.share_a_slot()) {
        let (token, cookies, right) = (&site.keys.token, &site.keys.cookies, site.keys.companion("cookies"));
        reader.conflict(format!(
            "sites.{}.cookies_key = {cookies:?}: on a Redis Cluster it must share the hash slot of {token:?}: use {right:?}",
            site.id
        ));
    }
}

/// No key is used twice, and none is one of the keys that are kept beside a token.
fn check_keys(reader: &mut Reader, sites: &[SiteConfig]) {
    let mut owners: BTreeMap<&str, String> = BTreeMap::new();
    let kept: BTreeMap<String, &KeyNames> = sites.iter().map(|site| (site.keys.companion(""), &site.keys)).collect();
    for site in sites {
        let names = [("token_key", &site.keys.token), ("cookies_key", &site.keys.cookies)];
        let is_one = matches!(site.product, ProductRule::Cookies(_));
        for (key, name) in names.into_iter().skip(usize::from(is_one)) {
            let path = format!("sites.{}.{key}", site.id);
            if let Some(other) = owners.get(name.as_str()) {
                reader.conflict(format!("{path} = {name:?}: {other} has this name already"));
            }
            let companion_of = name.match_indices(':').find_map(|(at, _)| kept.get_key_value(&name[..=at]));
            if let Some((head, _)) = companion_of.filter(|(_, keys)| *name != keys.companion("cookies")) {
                reader.conflict(format!("{path} = {name:?}: names that begin with {head:?} are kept for the sidecar"));
            }
            owners.entry(name).or_insert(path);
        }
    }
}

/// Sites that share a FlareSolverr must name it in one way, with the same `concurrency` and different sessions.
fn check_solvers<'a>(reader: &mut Reader, sites: &'a [SiteConfig]) {
    let solvers = sites.iter().flat_map(|site| site.sources.iter().map(move |source| (site, source)));
    let solvers = solvers.filter_map(|(site, source)| match source {
        SourceConfig::Flaresolverr(config) => Some((site, config)),
        SourceConfig::Http(_) | SourceConfig::Browser(_) => None,
    });
    let by_server = |(site, config): (&'a SiteConfig, &'a FlaresolverrConfig)| {
        config.urls.iter().map(move |url| (server(url), (site, config, url.expose_secret())))
    };
    let solvers: Vec<_> = solvers.flat_map(by_server).collect();
    let share = |one: &SiteConfig, two: &SiteConfig| match one.id == two.id {
        true => format!("sites.{} names a FlareSolverr twice", one.id),
        false => format!("sites.{} and sites.{} share a FlareSolverr", one.id, two.id),
    };
    for ((site, one, url), (other, two, other_url), _) in pairs(solvers.iter().cloned()) {
        if url != other_url {
            let reason = "its address must be the same, with one user and password";
            reader.conflict(format!("{}: {reason}", share(site, other)));
        }
        if one.concurrency != two.concurrency {
            let (share, one, two) = (share(site, other), one.concurrency, two.concurrency);
            reader.conflict(format!("{share}: its concurrency cannot be both {one} and {two}"));
        }
        if one.kind != two.kind {
            reader.conflict(format!("{}: its kind cannot be two", share(site, other)));
        }
    }
    let sessions =
        solvers.iter().filter_map(|(server, (site, config, _))| Some(((server, config.session.as_ref()?), *site)));
    for (site, other, _) in pairs(sessions).into_iter().filter(|(site, other, _)| site.id != other.id) {
        reader.conflict(format!("{}: in one session they would get each other's page", share(site, other)));
    }
}

/// Host, port and path of an address, however it is written.
fn server(address: &SecretString) -> String {
    Url::parse(address.expose_secret()).map_or_else(
        |_| String::new(),
        |url| format!("{}:{:?}{}", url.host_str().unwrap_or_default(), url.port_or_known_default(), url.path()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Given;

    const TWO: &str = "cookie = \"t\"\npage_url = \"https://two.test/\"\napi_url = \"https://two.test/api\"\n";

    fn cluster(keys: &str) -> Given {
        Given::nothing().toml(&format!("[redis.cluster]\nnodes = [\"redis://one\"]\n[sites.chitai_gorod]\n{keys}"))
    }

    #[test]
    fn on_a_cluster_the_keys_of_a_site_must_share_a_slot() {
        assert_eq!(
            cluster("").refused(),
            "sites.chitai_gorod.cookies_key = \"chitai_gorod_cookies\": on a Redis Cluster it must share the hash slot of \
             \"chitai_gorod_token\": use \"{chitai_gorod_token}:cookies\""
        );
        for keys in [
            "cookies_key = \"{chitai_gorod_token}:cookies\"",
            "token_key = \"{shop}:token\"\ncookies_key = \"{shop}:cookies\"",
            "token_key = \"{shop}:token\"\ncookies_key = \"shop\"",
        ] {
            assert_eq!(cluster(keys).loaded().config.sites.len(), 1, "{keys}");
        }
        assert!(cluster("token_key = \"{shop}:token\"").refused().ends_with("use \"{shop}:token:cookies\""));
    }

    #[test]
    fn a_cluster_has_one_database() {
        let given = cluster("cookies_key = \"{chitai_gorod_token}:cookies\"").variable("REDIS_URL", "redis://one/2");
        assert_eq!(given.refused(), "redis.url: a Cluster has database 0 alone, not 2");
    }

    #[test]
    fn a_token_key_whose_braces_are_no_hash_tag_is_refused() {
        for key in ["{}shop", "shop{", "a}b", "{shop"] {
            let given = Given::nothing().toml(&format!("[sites.chitai_gorod]\ntoken_key = \"{key}\""));
            assert!(given.refused().contains("its braces must hold a hash tag"), "{key}");
        }
    }

    #[test]
    fn no_key_is_written_by_two() {
        for (toml, error) in [
            (
                format!("[sites.two]\n{TWO}token_key = \"chitai_gorod_cookies\""),
                "sites.two.token_key = \"chitai_gorod_cookies\": sites.chitai_gorod.cookies_key has this name already",
            ),
            (
                "[sites.chitai_gorod]\ncookies_key = \"chitai_gorod_token\"".to_owned(),
                "sites.chitai_gorod.cookies_key = \"chitai_gorod_token\": sites.chitai_gorod.token_key has this name already",
            ),
            (
                format!("[sites.two]\n{TWO}cookies_key = \"{{chitai_gorod_token}}:meta\""),
                "sites.two.cookies_key = \"{chitai_gorod_token}:meta\": names that begin with \"{chitai_gorod_token}:\" are kept for the sidecar",
            ),
        ] {
            assert_eq!(Given::nothing().toml(&toml).refused(), error);
        }
    }

    #[test]
    fn sites_do_not_share_variables_and_lines() {
        let toml = format!("[sites.a-b]\n{TWO}[sites.a_b]\n{TWO}");
        assert_eq!(Given::nothing().toml(&toml).refused(), "sites.a-b and sites.a_b would share the variables A_B_…");
        let toml = format!("[sites.two]\n{TWO}env_key = \"CHITAI_GOROD_BEARER_TOKEN\"");
        let given = Given::nothing().toml(&toml).variable("SIDECAR_ENV_FILE", "/data/.env");
        let error = "sites.chitai_gorod and sites.two write the same line CHITAI_GOROD_BEARER_TOKEN of /data/.env";
        assert_eq!(given.refused(), error);
    }

    #[test]
    fn sites_that_share_one_of_several_flaresolverrs_agree_on_it() {
        let one = "flaresolverr.url = [\"http://a:1\", \"http://b:2\"]\nflaresolverr.kind = \"byparr\"";
        let two = |url: &str| format!("[sites.chitai_gorod]\n{one}\n[sites.two]\n{TWO}flaresolverr.url = \"{url}\"");
        let error = "sites.chitai_gorod and sites.two share a FlareSolverr: its kind cannot be two";
        assert_eq!(Given::nothing().toml(&two("http://b:2/v1")).refused(), error);
        assert_eq!(Given::nothing().toml(&two("http://c:3")).loaded().config.sites.len(), 2);
    }

    #[test]
    fn a_flaresolverr_has_one_login() {
        let reason = "its address must be the same, with one user and password";
        let toml = |url: &str| format!("[sites.two]\n{TWO}flaresolverr.url = {url}");
        for url in ["\"http://me:hunter2@127.0.0.1:8191\"", "[\"https://127.0.0.1:8191/v1\"]"] {
            let error = format!("sites.chitai_gorod and sites.two share a FlareSolverr: {reason}");
            assert_eq!(Given::nothing().toml(&toml(url)).refused(), error, "{url}");
        }
        let twice = Given::nothing().variable("FLARESOLVERR_URL", "http://me:hunter2@a:1 http://A:1/v1");
        assert_eq!(twice.refused(), format!("sites.chitai_gorod names a FlareSolverr twice: {reason}"));
    }

    #[test]
    fn sites_that_share_a_flaresolverr_agree_on_it() {
        let toml = format!("[sites.two]\n{TWO}flaresolverr.concurrency = 4");
        let error = "sites.chitai_gorod and sites.two share a FlareSolverr: its concurrency cannot be both 2 and 4";
        assert_eq!(Given::nothing().toml(&toml).refused(), error);
        let toml = format!(
            "[sites.chitai_gorod]\nflaresolverr.session = \"s\"\n[sites.two]\n{TWO}flaresolverr.session = \"s\""
        );
        let error =
            "sites.chitai_gorod and sites.two share a FlareSolverr: in one session they would get each other's page";
        assert_eq!(Given::nothing().toml(&toml).refused(), error);
        let toml = format!("[sites.two]\n{TWO}flaresolverr.concurrency = 4\nflaresolverr.url = \"http://other:8191\"");
        assert_eq!(Given::nothing().toml(&toml).loaded().config.sites.len(), 2);
    }
}
