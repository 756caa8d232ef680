//! What follows the options in a help text and in a page of the manual: remarks, exit codes, examples.

/// Of the program itself.
pub(super) const PROGRAM: &str = "\
Examples:
  token-sidecar                 run with settings of environment and .env
  token-sidecar check-config    show every setting and where it comes from
  token-sidecar config init     print a TOML file with every setting
  token-sidecar doctor          check Redis, solver, API and clock
  token-sidecar trigger --wait  ask for a new token and wait for it

  TOKEN=$(token-sidecar token --wait)
      the current token, as soon as there is one
  printf %s \"$TOKEN\" | token-sidecar next
      the one that replaces it, once the API has refused it
  redis-cli PUBLISH chitai_gorod:token:invalid now
      the same trigger by hand

Settings come from flags, then the environment, then .env in this folder, then
the file of --config, then the built-in site.

Exit codes: 0 done, 1 not fresh or not healthy, 2 wrong usage, 64 bad settings,
69 Redis out of reach, 74 output that cannot be written, 75 failed for now: try
again later.";

pub(super) const RUN: &str = "\
Exit codes: 0 stopped, 64 bad settings, 69 Redis refuses the sidecar or a port
is taken.

Examples:
  token-sidecar run --config sidecar.toml
  RUST_LOG=debug token-sidecar run
  systemctl enable --now token-sidecar";

pub(super) const REFRESH: &str = "\
Exit codes: 0 there is a new token, 69 Redis is out of reach, 75 failed.

Examples:
  token-sidecar refresh
  token-sidecar refresh --config sidecar.toml --site shop";

pub(super) const TRIGGER: &str = "\
A token that is given with --refused as an argument is visible to other users
of the machine (`ps`): `-` reads it from standard input. Its fingerprint, the
first 16 hex digits of its SHA-256, is no secret.

Exit codes: 0 published (with --wait: a token is ready), 69 no sidecar listens,
75 failed or timed out.

Examples:
  token-sidecar trigger --wait              wait up to 60 s for the outcome
  token-sidecar trigger --wait 90s --force  solve even while backing off
  token-sidecar trigger --reason 'deploy of parser 7'
  printf %s \"$TOKEN\" | token-sidecar trigger --wait --refused -";

pub(super) const TOKEN: &str = "\
Exit codes: 0 printed, 75 there is no token.

Examples:
  TOKEN=$(token-sidecar token --wait)
  token-sidecar token --curl | curl -K - https://…
      with its cookies and its user agent";

pub(super) const NEXT: &str = "\
The refused token is read from standard input. As an argument it would be
visible to other users of the machine (`ps`); its fingerprint, the first 16 hex
digits of its SHA-256, is no secret.

Exit codes: 0 printed, 2 no or an empty token given, 69 no sidecar listens,
75 failed or timed out.

Example:
  TOKEN=$(printf %s \"$TOKEN\" | token-sidecar next)";

pub(super) const INSPECT: &str = "\
The page is opened as the first source of --site would, by its address, proxy
and times. Cookies are seen by every source; storage and headers of requests
by `browser` alone. Values are never shown.

Exit codes: 0 shown (and written with --write), 1 the API accepts none (without
--api: none looks like a token), 2 wrong usage or the file exists, 75 the page
cannot be opened, or the API says nothing of a made-up token.

Examples:
  token-sidecar inspect https://shop.example/ --source browser
  token-sidecar inspect https://shop.example/ \\
      --api https://api.shop.example/v2/profile --write shop.toml
  token-sidecar --config shop.toml doctor --site shop_example";

pub(super) const NOTIFY: &str = "\
Exit codes: 0 all were sent, 2 no notice is set, 75 one was not sent.

Example:
  token-sidecar notify --test --config sidecar.toml";

pub(super) const STATUS: &str = "\
Exit codes: 0 there is a fresh token (with --watch: interrupted), 1 there is
none, 69 Redis is out of reach.

Examples:
  token-sidecar status --watch
  token-sidecar status --json";

pub(super) const HISTORY: &str = "\
Exit codes: 0 printed, 69 Redis is out of reach.

Examples:
  token-sidecar history --since 24h
  token-sidecar history --limit 200 --json";

pub(super) const WATCH: &str = "\
Exit codes: 69 Redis is out of reach, 130 interrupted.

Examples:
  token-sidecar watch
  token-sidecar watch --json | grep token:failed";

pub(super) const DOCTOR: &str = "\
Each line begins with `ok`, with `odd` for what works and should be looked at,
or with `FAIL`; what to do about it follows.

Exit codes: 0 all is well, 1 there is something to fix.

Examples:
  token-sidecar doctor
  token-sidecar doctor --config sidecar.toml --site shop";

pub(super) const CHECK_CONFIG: &str = "\
Exit codes: 0 the settings are good, 64 they are not.

Examples:
  token-sidecar check-config --config sidecar.toml
  token-sidecar check-config --render chitai_gorod";

pub(super) const CONFIG: &str = "\
Example:
  token-sidecar config init --write sidecar.toml";

pub(super) const INIT: &str = "\
Exit codes: 0 printed or written, 2 the file is not written.

Examples:
  token-sidecar config init --write sidecar.toml
  token-sidecar config init --env --write .env";

pub(super) const HEALTHCHECK: &str = "\
Exit codes: 0 healthy (with --live: it answers), 1 not.

Examples:
  token-sidecar healthcheck
  token-sidecar healthcheck --live";

pub(super) const VERSION: &str = "\
Exit codes: 0 printed.

Example:
  token-sidecar version --json";

pub(super) const COMPLETIONS: &str = "\
Exit codes: 0 printed.

Examples:
  token-sidecar completions bash > /etc/bash_completion.d/token-sidecar
  token-sidecar completions fish \\
      > ~/.config/fish/completions/token-sidecar.fish
  token-sidecar completions zsh > \"${fpath[1]}/_token-sidecar\"";

pub(super) const MAN: &str = "\
Exit codes: 0 printed or written, 2 there is no such command or folder.

Examples:
  token-sidecar man | man -l -
  token-sidecar man config init | man -l -
  token-sidecar man --write ~/.local/share/man/man1";
