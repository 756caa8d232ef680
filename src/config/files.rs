//! The files that a site keeps current.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use token_sidecar_client::wire::Product;

use super::environment;
use super::reader::Section;
use super::redaction::Secrecy;
use super::value::{FileMode, GroupText, HOUR, SECOND, Span, UserText, VariableName, Words};
use crate::domain::file_template::FileTemplate;
use crate::domain::token_file::{Access, Content, Hook, HookCommand, HookSignal, TokenFile, Variable};

/// `[[sites.S.files]]`
#[derive(Deserialize)]
pub(super) struct FileSection {
    path: Option<PathBuf>,
    template: Option<String>,
    template_file: Option<PathBuf>,
    env_key: Option<VariableName>,
    mode: Option<FileMode>,
    owner: Option<UserText>,
    group: Option<GroupText>,
    command: Option<Words>,
    pass_env: Vec<VariableName>,
    timeout: Option<Span<SECOND, HOUR>>,
    signal: Option<HookSignal>,
    pid_file: Option<PathBuf>,
}

/// How long a command may take where nothing is said.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

impl FileSection {
    /// The file with this number; errors are noted.
    pub(super) fn build(mut self, site: &mut Section, number: usize, product: Product) -> Option<TokenFile> {
        let at = |name: &str| format!("files.{number}.{name}");
        match &self.path {
            None => site.missing(&at("path"), "expected the file to write"),
            Some(path) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                site.check::<()>(&at("path"), Secrecy::Open, Err("expected a file, not a folder".to_owned()));
            }
            Some(_) => {}
        }
        let hook = self.hook(site, number);
        let parse = |text: &str| FileTemplate::parse(text, product).map_err(|error| error.to_string());
        let content = match (self.template, self.template_file, self.env_key) {
            (Some(text), None, None) => site.check(&at("template"), Secrecy::Open, parse(&text)).map(Content::Template),
            (None, Some(file), None) => {
                let parsed = environment::template(&file).and_then(|text| parse(&text));
                site.check(&at("template_file"), Secrecy::Open, parsed).map(Content::Template)
            }
            (None, None, Some(_)) if product == Product::Cookies => {
                let reason =
                    "it is set to the token, and this site's product is the cookies: use a template".to_owned();
                site.check(&at("env_key"), Secrecy::Open, Err(reason))
            }
            (None, None, Some(key)) => Some(Content::EnvLine(key.0)),
            (None, None, None) => {
                site.missing(&at("template"), "expected one of template, template_file and env_key");
                None
            }
            _ => {
                let between = [at("template"), at("template_file"), at("env_key")];
                let text = "one of template, template_file and env_key says what is written, and more than one is set";
                let text = format!("{}: {text}", site.full_path(&format!("files.{number}")));
                site.conflict(&between.each_ref().map(String::as_str), text);
                None
            }
        };
        let access = Access {
            mode: self.mode.map(|mode| mode.0),
            owner: self.owner.map(|owner| owner.0),
            group: self.group.map(|group| group.0),
        };
        Some(TokenFile { path: self.path?, content: content?, access, hook })
    }

    /// What is done once it has been written.
    fn hook(&mut self, site: &mut Section, number: usize) -> Option<Hook> {
        let at = |name: &str| format!("files.{number}.{name}");
        let mut conflict = |names: [&str; 2], text: &str| {
            let text = format!("{}: {text}", site.full_path(&format!("files.{number}")));
            site.conflict(&names.map(at).each_ref().map(String::as_str), text);
        };
        if self.command.is_some() && self.signal.is_some() {
            conflict(["command", "signal"], "a command is run or a signal sent, and both are set");
        }
        if self.command.is_none() && (!self.pass_env.is_empty() || self.timeout.is_some()) {
            conflict(["pass_env", "timeout"], "pass_env and timeout need a command");
        }
        if self.signal.is_none() && self.pid_file.is_some() {
            conflict(["signal", "pid_file"], "pid_file needs a signal");
        }
        if let Some(Words(words)) = self.command.take() {
            let is_whole = words.iter().all(|word| !word.contains('\0'));
            let mut words = words.into_iter();
            let program = words.next().filter(|program| is_whole && !program.trim().is_empty());
            let program = program.ok_or("expected a program and its arguments such as [\"nginx\", \"-s\", \"reload\"]");
            let program = site.check(&at("command"), Secrecy::Open, program.map_err(str::to_owned))?;
            if self.pass_env.iter().any(|name| name.0 == "PATH") {
                let reason = "a command has a PATH of its own: name a program elsewhere with its folder";
                site.check::<()>(&at("pass_env"), Secrecy::Open, Err(reason.to_owned()));
            }
            let variables = self.pass_env.iter().filter_map(|name| {
                Some(Variable { value: environment::of_this_process(&name.0)?, name: name.0.clone() })
            });
            return Some(Hook::Command(HookCommand {
                program,
                arguments: words.collect(),
                environment: variables.collect(),
                timeout: self.timeout.as_ref().map_or(COMMAND_TIMEOUT, |timeout| timeout.0),
            }));
        }
        let signal = self.signal?;
        if self.pid_file.is_none() {
            site.missing(&at("pid_file"), "expected the file with the number of the process that gets the signal");
        }
        Some(Hook::Signal { signal, pid_file: self.pid_file.take()? })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use super::super::fixture::Given;
    use super::*;

    const SHOP: &str = "[sites.shop]\npage_url = \"https://shop.test/\"\napi_url = \"https://api.shop.test\"\n";

    fn given(files: &str) -> Given {
        Given::nothing().toml(&format!("sites.chitai_gorod.enabled = false\n{SHOP}cookie = \"auth\"\n{files}"))
    }

    #[test]
    fn a_site_may_keep_several_files_current() {
        let folder = tempfile::tempdir().unwrap();
        let template_file = folder.path().join("nginx.tmpl");
        fs::write(&template_file, "proxy_set_header Authorization \"Bearer {{ token }}\";\n").unwrap();
        let files = format!(
            "env_file = \"/data/.env\"\n\
             [[sites.shop.files]]\npath = \"/run/token\"\ntemplate = \"\"\"\n{{{{ token }}}}\n\"\"\"\nmode = \"0640\"\nowner = \"root\"\ngroup = 0\n\
             [[sites.shop.files]]\npath = \"/run/nginx.conf\"\ntemplate_file = {template_file:?}\n\
             [[sites.shop.files]]\npath = \"/run/.env\"\nenv_key = \"TOKEN\"\n"
        );
        let loaded = given(&files).loaded();
        let files = &loaded.config.sites[0].files;
        let paths: Vec<_> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/data/.env", "/run/token", "/run/nginx.conf", "/run/.env"]);
        assert_eq!(files[0].content, Content::EnvLine("SHOP_BEARER_TOKEN".to_owned()));
        assert_eq!(files[1].access, Access { mode: Some(0o640), owner: Some(0), group: Some(0) });
        let samples = files.iter().filter_map(|file| match &file.content {
            Content::Template(template) => Some(template.sample("shop").unwrap()),
            Content::EnvLine(_) => None,
        });
        let nginx = "proxy_set_header Authorization \"Bearer hidden\";\n";
        assert_eq!(samples.collect::<Vec<_>>(), ["hidden\n", nginx]);
        assert_eq!(files[3].content, Content::EnvLine("TOKEN".to_owned()));
    }

    #[test]
    fn after_a_write_a_command_is_run_or_a_signal_sent() {
        let hooks = |hook: &str| {
            let files = format!("[[sites.shop.files]]\npath = \"/a\"\nenv_key = \"A\"\n{hook}\n");
            given(&files).loaded().config.sites[0].files[0].hook.clone()
        };
        assert_eq!(hooks(""), None);
        // Of the environment of the test's own process.
        let folder = environment::of_this_process("CARGO_MANIFEST_DIR").unwrap();
        let command = HookCommand {
            program: "nginx".to_owned(),
            arguments: vec!["-s".to_owned(), "re, load".to_owned()],
            environment: vec![Variable { name: "CARGO_MANIFEST_DIR".to_owned(), value: folder }],
            timeout: Duration::from_secs(30),
        };
        let set = "command = [\"nginx\", \"-s\", \"re, load\"]\npass_env = [\"CARGO_MANIFEST_DIR\", \"A_VARIABLE_THAT_IS_NOT_SET\"]";
        assert_eq!(hooks(set), Some(Hook::Command(command.clone())));
        let value = command.environment[0].value.to_str().unwrap();
        assert!(!format!("{command:?}").contains(value), "a variable may be a secret: {command:?}");
        let signal = Hook::Signal { signal: HookSignal::Usr1, pid_file: PathBuf::from("/run/nginx.pid") };
        assert_eq!(hooks("signal = \"USR1\"\npid_file = \"/run/nginx.pid\""), Some(signal));
    }

    #[test]
    fn every_wrong_file_is_named_with_its_place() {
        for (file, error) in [
            ("template = \"{{ token }}\"", "sites.shop.files.0.path is not set: expected the file to write"),
            ("path = \"/a\"", "sites.shop.files.0.template is not set: expected one of template, template_file and"),
            ("path = \"/a\"\ntemplate = \"a\\n{{ tokn }}\"", "line 2, column 4: tokn: it is not known"),
            ("path = \"/a\"\ntemplate = \"{{ token\"", "sites.shop.files.0.template = "),
            (
                "path = \"/a\"\ntemplate = \"a\"\nenv_key = \"A\"",
                "sites.shop.files.0: one of template, template_file and",
            ),
            (
                "path = \"/a\"\ntemplate_file = \"/missing\"",
                "sites.shop.files.0.template_file = \"/missing\": the file cannot be read",
            ),
            (
                "path = \"/a\"\ntemplate = \"a\"\nmode = \"0999\"",
                "sites.shop.files.0.mode = \"0999\": expected permissions",
            ),
            ("path = \"/a\"\ntemplate = \"a\"\nmode = \"0040\"", "by which the owner may read it"),
            (
                "path = \"/a\"\ntemplate = \"a\"\nowner = \"no such user\"",
                "expected a number, or the name of a user in /etc/passwd",
            ),
            (
                "path = \"/a\"\nenv_key = \"A\"\ncommand = \"nginx -s reload\"",
                "files.0.command = (hidden): expected a list of texts",
            ),
            ("path = \"/a/\"\nenv_key = \"A\"", "files.0.path = \"/a/\": expected a file, not a folder"),
            (
                "path = \"/a\"\nenv_key = \"A\"\ncommand = [\"true\"]\npass_env = [\"PATH\"]",
                "files.0.pass_env = [\"PATH\"]: a command has a PATH of its own",
            ),
            (
                "path = \"/a\"\nenv_key = \"A\"\ncommand = [\"true\", \"\\u0000\"]",
                "expected a program and its arguments",
            ),
            (
                "path = \"/a\"\nenv_key = \"A\"\ncommand = []",
                "files.0.command = []: expected a program and its arguments",
            ),
            (
                "path = \"/a\"\nenv_key = \"A\"\ncommand = [\"true\"]\nsignal = \"HUP\"",
                "sites.shop.files.0: a command is run or a signal sent, and both are set",
            ),
            ("path = \"/a\"\nenv_key = \"A\"\nsignal = \"HUP\"", "sites.shop.files.0.pid_file is not set"),
            (
                "path = \"/a\"\nenv_key = \"A\"\nsignal = \"KILL\"\npid_file = \"/p\"",
                "sites.shop.files.0.signal = \"KILL\": expected HUP, INT",
            ),
            ("path = \"/a\"\nenv_key = \"A\"\npid_file = \"/p\"", "files.0: pid_file needs a signal"),
            ("path = \"/a\"\nenv_key = \"A\"\ntimeout = \"3s\"", "files.0: pass_env and timeout need a command"),
            (
                "path = \"/a\"\nenv_key = \"A\"\ncommand = [\"true\"]\ntimeout = \"2h\"",
                "sites.shop.files.0.timeout = \"2h\": expected a time from 1s to 1h",
            ),
            (
                "path = \"/a\"\ntemplate = \"a\"\nmod = \"0600\"",
                "unknown key sites.shop.files.0.mod: did you mean mode?",
            ),
        ] {
            let refused = given(&format!("[[sites.shop.files]]\n{file}\n")).refused();
            assert!(refused.contains(error), "{file}: {refused}");
        }
        for (files, error) in [
            ("files = [\"/a\"]\n", "expected a table"),
            ("files = \"/a\"\n", "expected a table"),
            (
                "[[sites.shop.files]]\npath = \"/a\"\ntemplate = \"a\"\n[[sites.shop.files]]\npath = \"/a\"\nenv_key = \"A\"\n",
                "sites.shop and sites.shop both write /a",
            ),
            (
                "[[sites.shop.files]]\npath = \"/usr/a\"\nenv_key = \"A\"\n[[sites.shop.files]]\npath = \"/usr/lib/../a\"\nenv_key = \"A\"\n",
                "sites.shop and sites.shop write the same line A of /usr/a",
            ),
            ("[sites.shop.files]\npath = \"/a\"\n", "expected a list of tables: [[sites.shop.files]]"),
        ] {
            let refused = given(files).refused();
            assert!(refused.contains(error), "{files}: {refused}");
        }
    }

    #[test]
    fn a_jar_of_cookies_has_no_line_in_an_env() {
        let toml = format!("{SHOP}product = \"cookies\"\n[[sites.shop.files]]\npath = \"/a\"\nenv_key = \"A\"\n");
        let refused = Given::nothing().toml(&toml).refused();
        assert!(refused.contains("sites.shop.files.0.env_key = \"A\": it is set to the token"), "{refused}");
    }
}
