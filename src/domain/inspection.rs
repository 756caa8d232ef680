//! What a page has that may be its site's token, the likeliest first.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;
use token_sidecar_client::wire::{Cookies, Fingerprint, Token};
use url::Url;

use super::extract::{Answer, Charset, CookieRule, RawToken, Solution, decoded};

/// A shorter value is no token.
const SHORTEST: usize = 16;
/// How many values are taken out of one JSON text of the storage.
const MOST_IN_JSON: usize = 20;
const LONGEST_POINTER: usize = 256;
/// From this score on a value is taken for the token without the API's word.
const LIKELY: i32 = 35;

/// All that a source sees of a page.
#[derive(Debug, Clone, Default)]
pub struct PageContent {
    pub solution: Solution,
    /// What is seen beside the cookies.
    pub seen: Vec<Seen>,
}

#[derive(Debug, Clone)]
pub struct Seen {
    pub kind: Kind,
    /// The key in the storage, or the header's name.
    pub name: String,
    pub value: RawToken,
    /// Where the page sends the header.
    pub to: Option<Url>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
pub enum Kind {
    #[strum(to_string = "cookie")]
    Cookie,
    #[strum(to_string = "localStorage")]
    Local,
    #[strum(to_string = "sessionStorage")]
    Session,
    #[strum(to_string = "header")]
    Header,
}

/// A value of the page; the value itself leaves only as the token.
#[derive(Debug, Clone)]
pub struct Item {
    pub kind: Kind,
    pub name: String,
    /// A JSON pointer (RFC 6901) into the value of this key.
    pub pointer: Option<String>,
    pub to: Option<Url>,
    /// In bytes.
    pub length: usize,
    /// Of a cookie.
    pub ends_at: Option<Timestamp>,
    pub looks: Looks,
    /// Where it is one that a setting can name.
    pub token: Option<Token>,
    /// Whether `Bearer ` stands before the token.
    pub has_scheme: bool,
    /// Whether the page sends this token in a header.
    pub is_sent: bool,
    score: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looks {
    Jwt { issuer: Option<String>, issued_at: Option<Timestamp>, expires_at: Option<Timestamp> },
    Opaque,
    Json,
    Text,
}

impl Item {
    /// Whether it is taken for the token without the API's word.
    pub const fn is_likely(&self) -> bool {
        self.token.is_some() && self.score >= LIKELY
    }

    fn of(kind: Kind, name: &str, pointer: Option<String>, value: &str) -> Self {
        let rule = CookieRule { charset: Charset::Visible, ..CookieRule::default() };
        let token = rule.token(value).ok();
        let looks = match &token {
            Some(token) => looks(token),
            None if is_json(value) => Looks::Json,
            None => Looks::Text,
        };
        let is_token = matches!(looks, Looks::Jwt { .. } | Looks::Opaque);
        let token = token.filter(|_| is_token && can_be_named(kind, name, pointer.as_deref()));
        let has_scheme = ["Bearer ", "Bearer+"].iter().any(|s| decoded(value).trim_start_matches('"').starts_with(s));
        let (length, name) = (value.len(), name.to_owned());
        let (to, ends_at, is_sent, score) = (None, None, false, 0);
        Self { kind, name, pointer, to, length, ends_at, looks, token, has_scheme, is_sent, score }
    }

    fn score(&self, page: &Url, now: Timestamp) -> i32 {
        let looks = match self.looks {
            Looks::Jwt { expires_at: Some(end), .. } if end <= now => 10,
            Looks::Jwt { .. } => 60,
            Looks::Opaque => 20,
            Looks::Json | Looks::Text => return 0,
        };
        let name = format!("{} {}", self.name, self.pointer.as_deref().unwrap_or_default()).to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        // A cookie can be had from every source, and beats a header with the same token.
        let is_named = self.kind != Kind::Header && has(&["auth", "token", "bearer", "jwt", "access"]);
        // What is sent to another site is more often that of a counter of visits.
        let is_far = self.to.as_ref().is_some_and(|to| tail(to) != tail(page));
        let words = [(has(&["refresh"]), -25), (has(&["csrf", "xsrf"]), -80)];
        let parts = [(is_named, 15), (self.is_sent && !is_far, 60), (is_far, -50)].into_iter().chain(words);
        looks + parts.filter_map(|(counts, points)| counts.then_some(points)).sum::<i32>()
    }
}

/// All values of a page that a site may have its token in, the likeliest first. `api` is where the token is to be sent.
pub fn items(content: &PageContent, page: &Url, api: Option<&Url>, now: Timestamp) -> Vec<Item> {
    let shown = Url::parse(&content.solution.url).ok();
    let hosts = [Some(page), api, shown.as_ref()].into_iter().flatten().filter_map(Url::host_str);
    let hosts: Vec<&str> = hosts.collect();
    let answer = Answer::of(&content.solution, page.as_str(), now);
    let live = answer.live().into_values();
    let cookies = live.filter(|cookie| hosts.iter().any(|host| cookie.is_sent_to(host)) && is_name(&cookie.name));
    let mut items: Vec<Item> =
        cookies.map(|c| Item { ends_at: c.expires_at, ..Item::of(Kind::Cookie, &c.name, None, &c.value) }).collect();
    for Seen { kind, name, value: RawToken(value), to } in content.seen.iter().filter(|seen| is_name(&seen.name)) {
        let mut inside = Vec::new();
        if let (None, Ok(json @ (Value::Object(_) | Value::Array(_)))) = (to, serde_json::from_str(value)) {
            leaves(&json, "", &mut |pointer, text| {
                let item = Item::of(*kind, name, Some(pointer.to_owned()), text);
                if item.token.is_some() && inside.len() < MOST_IN_JSON {
                    inside.push(item);
                }
            });
        }
        if inside.is_empty() {
            let mut item = Item { to: to.clone(), ..Item::of(*kind, name, None, value) };
            // The header is read from requests to the API alone.
            if to.as_ref().zip(api).is_some_and(|(to, api)| to.origin() != api.origin()) {
                item.token = None;
            }
            inside.push(item);
        }
        items.append(&mut inside);
    }
    let print = |item: &Item| item.token.as_ref().map(Token::fingerprint);
    let sent: BTreeSet<Fingerprint> = items.iter().filter(|item| item.to.is_some()).filter_map(print).collect();
    for item in &mut items {
        item.is_sent = print(item).is_some_and(|print| sent.contains(&print));
        item.score = item.score(page, now);
    }
    items.sort_by_cached_key(|item| (Reverse(item.score), item.kind, item.pointer.clone(), item.name.clone()));
    items
}

/// The cookies that are sent with a token.
pub fn jar(content: &PageContent, page: &Url, now: Timestamp) -> Cookies {
    Answer::of(&content.solution, page.as_str(), now).cookies()
}

/// The likeliest tokens, each once, however many places have it.
pub fn tokens(items: &[Item], most: usize) -> Vec<&Token> {
    let mut known = BTreeSet::new();
    let likeliest = items.iter().filter(|item| item.score > 0).filter_map(|item| item.token.as_ref());
    likeliest.filter(|token| known.insert(token.fingerprint())).take(most).collect()
}

/// Whether a header of a request may hold a token.
pub fn may_hold_token(header: &str, value: &str) -> bool {
    let name = header.to_ascii_lowercase();
    let is_named = ["auth", "token", "jwt", "api-key", "apikey", "session"].iter().any(|word| name.contains(word));
    is_named || value.starts_with("Bearer ") || value.starts_with("eyJ")
}

fn looks(token: &Token) -> Looks {
    let bare = token.expose();
    if let Some(claims) = claims(bare) {
        let issuer = claims["iss"].as_str().map(str::to_owned);
        let (issued_at, expires_at) = (token.claims().issued_at, token.claims().expires_at);
        return Looks::Jwt { issuer, issued_at, expires_at };
    }
    let has = |test: fn(&u8) -> bool| bare.as_bytes().iter().any(test);
    let is_mixed = has(u8::is_ascii_alphabetic) && (has(u8::is_ascii_digit) || has(u8::is_ascii_uppercase));
    if bare.len() >= SHORTEST && is_mixed && !is_json(bare) { Looks::Opaque } else { Looks::Text }
}

/// The claims of a JWT.
fn claims(bare: &str) -> Option<Value> {
    let [head, payload, _] = bare.split('.').collect::<Vec<_>>()[..] else { return None };
    let object = |part: &str| {
        let json = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
        serde_json::from_slice::<Value>(&json).ok().filter(Value::is_object)
    };
    object(head).and(object(payload))
}

/// The last two labels of a host.
fn tail(url: &Url) -> Vec<&str> {
    url.host_str().unwrap_or_default().rsplit('.').take(2).collect()
}

fn is_json(value: &str) -> bool {
    value.starts_with(['{', '['])
}

/// Whether a key is one that will be there again, and may be shown: one that is itself a token is neither.
fn is_name(key: &str) -> bool {
    key.len() <= LONGEST_POINTER && claims(key).is_none()
}

/// Whether a setting can name this place.
fn can_be_named(kind: Kind, name: &str, pointer: Option<&str>) -> bool {
    match kind {
        Kind::Header => true,
        Kind::Cookie => is_cookie_name(name),
        // `#/` begins the pointer, and blanks at the end are left out.
        Kind::Local | Kind::Session => {
            let last = pointer.unwrap_or(name);
            !name.is_empty() && !name.contains("#/") && last.trim_end() == last
        }
    }
}

/// Whether it is a `token` of RFC 9110, as the names of cookies in the settings are.
pub fn is_cookie_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Calls for each text in a JSON value, with its pointer. What lies deeper than a pointer of that length is left out: it
/// would be written anew for each of very many texts.
fn leaves(json: &Value, pointer: &str, found: &mut impl FnMut(&str, &str)) {
    match json {
        _ if pointer.len() > LONGEST_POINTER => {}
        Value::String(text) => found(pointer, text),
        Value::Array(all) => all.iter().enumerate().for_each(|(n, value)| {
            leaves(value, &format!("{pointer}/{n}"), found);
        }),
        Value::Object(all) => all.iter().filter(|(key, _)| is_name(key)).for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            leaves(value, &format!("{pointer}/{key}"), found);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::extract::Cookie;
    use super::*;

    const NOW: i64 = 1_795_331_911;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn jwt(claims: &str) -> String {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(claims))
    }

    fn cookie(name: &str, value: &str, domain: &str) -> Cookie {
        let text = str::to_owned;
        Cookie { name: text(name), value: text(value), domain: text(domain), path: text("/"), expires_at: None }
    }

    fn seen(kind: Kind, name: &str, value: &str, to: Option<&str>) -> Seen {
        Seen { kind, name: name.to_owned(), value: RawToken(value.to_owned()), to: to.map(url) }
    }

    fn listed(cookies: Vec<Cookie>, seen: Vec<Seen>, api: Option<&str>) -> Vec<Item> {
        let content = PageContent { solution: Solution { cookies, ..Solution::default() }, seen };
        let now = Timestamp::from_second(NOW).unwrap();
        items(&content, &url("https://www.shop.test/"), api.map(url).as_ref(), now)
    }

    fn names(items: &[Item]) -> Vec<String> {
        let pointer = |item: &Item| item.pointer.as_deref().unwrap_or_default().to_owned();
        items.iter().map(|item| format!("{}{}", item.name, pointer(item))).collect()
    }

    const SHOP: &str = "www.shop.test";
    const OPAQUE: &str = "a8f1Zq09KdUv72mNc5Te";

    #[test]
    fn a_value_looks_like_what_it_is() {
        let ends = |end: i64| format!(r#"{{"iss":"shop","iat":{},"exp":{end}}}"#, NOW - 10);
        let is_jwt = |looks: &Looks| matches!(looks, Looks::Jwt { issuer: Some(issuer), .. } if issuer == "shop");
        let of = |value: &str| listed(vec![cookie("a", value, SHOP)], vec![], None).remove(0);
        for value in [jwt(&ends(NOW + 60)), format!("Bearer%20{}", jwt(&ends(0))), format!("Bearer+{}", jwt(&ends(7)))]
        {
            let item = of(&value);
            assert!(is_jwt(&item.looks) && item.token.is_some(), "{:?}", item.looks);
            assert_eq!((item.has_scheme, item.length), (value.starts_with("Bearer"), value.len()));
        }
        for (value, looks) in [
            (OPAQUE, Looks::Opaque),
            ("%22a8f1Zq09KdUv72mNc5Te%22", Looks::Opaque),
            ("12|a8f1Zq09KdUv72mNc5Te", Looks::Opaque),
            ("ru", Looks::Text),
            ("1795331911179533191", Looks::Text),
            ("a8f1Zq09KdUv72 and more", Looks::Text),
            ("{\"a\":1}", Looks::Json),
            ("a.b.c", Looks::Text),
            ("bm8gand0.bm8gand0.bm8gand0", Looks::Opaque),
        ] {
            let item = of(value);
            assert_eq!((&item.looks, item.token.is_some()), (&looks, looks == Looks::Opaque), "{value}");
        }
    }

    #[test]
    fn the_likeliest_comes_first() {
        let (live, dead) = (jwt(&format!("{{\"exp\":{}}}", NOW + 60)), jwt(&format!("{{\"exp\":{}}}", NOW - 60)));
        let cookies = [
            ("lang", "ru"),
            ("visitor", OPAQUE),
            ("session_token", "x8f1Zq09KdUv72mNc5Te"),
            ("old-token", &dead),
            ("refresh-token", &jwt("{}")),
            ("access", &live),
        ];
        let cookies = cookies.map(|(name, value)| cookie(name, value, SHOP)).to_vec();
        let items = listed(cookies.clone(), vec![], None);
        let order = ["access", "refresh-token", "session_token", "old-token", "visitor", "lang"];
        assert_eq!(names(&items), order);
        let likely: Vec<_> = items.iter().map(Item::is_likely).collect();
        assert_eq!(likely, [true, true, true, false, false, false]);
        let sent = |to| vec![seen(Kind::Header, "x-key", &format!("Bearer {live}x"), Some(to))];
        let order = |to| names(&listed(cookies.clone(), sent(to), None))[..2].to_vec();
        assert_eq!(order("https://api.shop.test/v2"), ["x-key", "access"]);
        assert_eq!(order("https://metrics.test/v2"), ["access", "refresh-token"]);
        let of_another =
            seen(Kind::Header, "authorization", &format!("Bearer {live}x"), Some("https://metrics.test/v1"));
        let odd = vec![cookie("sess", &live, SHOP), cookie(&live, OPAQUE, SHOP)];
        let items = listed(odd, vec![of_another], None);
        assert_eq!(
            (names(&items), items[0].is_likely(), items[1].is_likely()),
            (["sess", "authorization"].map(str::to_owned).to_vec(), true, false)
        );
        // What the page itself sends beats what only looks like it.
        let sent = seen(Kind::Header, "authorization", &format!("Bearer {OPAQUE}"), Some("https://api.shop.test/v2"));
        let items = listed(cookies, vec![sent], Some("https://api.shop.test/me"));
        assert_eq!(names(&items)[..3], ["visitor", "authorization", "access"]);
        assert!(items[0].is_sent && !items[2].is_sent);
        assert_eq!(tokens(&items, 10).len(), 5, "the cookie and the header have one token");
        assert_eq!(tokens(&items, 2).len(), 2);
    }

    #[test]
    fn tokens_are_found_inside_the_json_of_the_storage() {
        let value = format!(r#"{{"user":{{"a/b~":[1,{{"token":"Bearer {OPAQUE}"}}]}},"lang":"ru"}}"#);
        let items = listed(vec![], vec![seen(Kind::Local, "auth", &value, None)], None);
        assert_eq!(names(&items), ["auth/user/a~1b~0/1/token"]);
        assert!(items[0].has_scheme);
        let json: Value = serde_json::from_str(&value).unwrap();
        let leaf = json.pointer(items[0].pointer.as_deref().unwrap()).unwrap().as_str().unwrap();
        assert_eq!(Token::parse(leaf).ok(), items[0].token);
        let many = format!("[{}]", vec![format!("\"{OPAQUE}\""); 100].join(","));
        assert_eq!(listed(vec![], vec![seen(Kind::Session, "many", &many, None)], None).len(), MOST_IN_JSON);
        let plain = listed(
            vec![],
            vec![seen(Kind::Session, "single", OPAQUE, None), seen(Kind::Local, "auth", &value, None)],
            None,
        );
        assert_eq!(names(&plain), ["auth/user/a~1b~0/1/token", "single"]);
        let by_token = format!(r#"{{"{0}":"{0}"}}"#, jwt("{}"));
        let items = listed(
            vec![],
            vec![seen(Kind::Local, "by", &by_token, None), seen(Kind::Local, &jwt("{}"), "x", None)],
            None,
        );
        assert_eq!((names(&items), &items[0].looks), (vec!["by".to_owned()], &Looks::Json));
        let key = "k".repeat(LONGEST_POINTER);
        let deep = format!(r#"{{"{key}":{{"b":"{OPAQUE}"}},"{key}k":"{OPAQUE}"}}"#);
        assert_eq!(names(&listed(vec![], vec![seen(Kind::Local, "deep", &deep, None)], None)), ["deep"]);
        let plain = listed(vec![], vec![seen(Kind::Session, "cart", r#"{"items":[1,2]}"#, None)], None);
        assert_eq!((names(&plain), &plain[0].looks), (vec!["cart".to_owned()], &Looks::Json));
    }

    #[test]
    fn what_no_setting_can_name_and_what_goes_elsewhere_is_no_token_of_the_site() {
        for (kind, name, to) in [
            (Kind::Local, "a#/b", None),
            (Kind::Local, "", None),
            (Kind::Session, "key ", None),
            (Kind::Header, "authorization", Some("https://metrics.test/v1")),
        ] {
            let items = listed(vec![], vec![seen(kind, name, OPAQUE, to)], Some("https://www.shop.test/api"));
            assert!(items[0].token.is_none() && tokens(&items, 10).is_empty(), "{name}");
        }
        let cookies = vec![cookie("a b", OPAQUE, SHOP), cookie("of-a-frame", OPAQUE, "ads.test")];
        let items = listed(cookies, vec![], None);
        assert_eq!((names(&items), items[0].token.is_none()), (vec!["a b".to_owned()], true));
    }

    #[test]
    fn headers_are_noticed_by_name_or_value() {
        for (name, value, may) in [
            ("Authorization", "x", true),
            ("X-Auth-Key", "x", true),
            ("x-csrf-token", "x", true),
            ("x-any", "Bearer x", true),
            ("x-any", "eyJhbGciOiJIUzI1NiJ9", true),
            ("accept", "application/json", false),
            ("user-agent", "Mozilla/5.0", false),
        ] {
            assert_eq!(may_hold_token(name, value), may, "{name}: {value}");
        }
    }

    #[test]
    fn no_value_is_in_the_debug_output() {
        let items = listed(vec![cookie("a", OPAQUE, SHOP)], vec![seen(Kind::Local, "b", OPAQUE, None)], None);
        assert!(!format!("{items:?}").contains(OPAQUE));
    }
}
