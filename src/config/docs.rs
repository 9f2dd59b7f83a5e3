//! The reference pages, made from the tables, and the test that they are not stale.
//!
//! A page is a plain value, so that any table can have one: make a [`Page`] in both languages and hand it to [`check`].

use std::fmt::Write as _;
use std::path::Path;

use super::cloud_config::keys::{KEYS, Key};
use super::flags::table::{Effect, FLAGS, Flag, Group};
use crate::runtime::sentence::Sentence;

/// How to make the pages anew.
const COMMAND: &str = "UPDATE_DOCS=1 cargo test --lib config::docs";

/// A language of the docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Chinese,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The sentence in this language.
    pub(crate) fn of(self, sentence: Sentence) -> &'static str {
        match self {
            Self::English => sentence.en,
            Self::Chinese => sentence.zh,
        }
    }
}

/// A page of the reference in one language.
pub(crate) struct Page {
    pub(crate) title: &'static str,
    /// Markdown.
    pub(crate) intro: &'static str,
    pub(crate) sections: Vec<Section>,
}

/// A table under a heading.
pub(crate) struct Section {
    pub(crate) heading: &'static str,
    /// Markdown; may be empty.
    pub(crate) intro: &'static str,
    pub(crate) columns: Vec<&'static str>,
    /// Cells, made by [`code`], [`codes`] and [`prose`].
    pub(crate) rows: Vec<Vec<String>>,
}

/// A cell of code; empty for nothing.
pub(crate) fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("`{}`", text.replace('|', "\\|"))
}

/// A cell of several codes.
pub(crate) fn codes<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(code).collect::<Vec<_>>().join(", ")
}

/// A cell of a sentence.
pub(crate) fn prose(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

impl Page {
    /// As Markdown. `name` is the file's, to link the page's twin in the other language.
    pub(crate) fn markdown(&self, language: Language, name: &str) -> String {
        let twin = match language {
            Language::English => format!("[中文](../zh/reference/{name}.md)"),
            Language::Chinese => format!("[English](../../reference/{name}.md)"),
        };
        let mut page = format!(
            "<!-- Made by `{COMMAND}` from the tables in src/: change those. -->\n\n# {}\n\n{twin}\n\n{}\n",
            self.title,
            self.intro.trim()
        );
        for section in &self.sections {
            section.write(&mut page);
        }
        page
    }
}

impl Section {
    fn write(&self, page: &mut String) {
        // writing to memory does not fail
        let _ = write!(page, "\n## {}\n\n", self.heading);
        if !self.intro.is_empty() {
            let _ = write!(page, "{}\n\n", self.intro.trim());
        }
        let _ = writeln!(page, "| {} |", self.columns.join(" | "));
        let _ = writeln!(page, "|{}", "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = writeln!(page, "| {} |", row.join(" | "));
        }
    }
}

/// Compares `docs/reference/{name}.md` and its Chinese twin with what `page` makes of each language; writes them when
/// `UPDATE_DOCS` is set.
///
/// # Panics
/// A page is stale or missing; the message says which command to run.
pub(crate) fn check(name: &str, page: impl Fn(Language) -> Page) {
    for language in Language::ALL {
        let folder = match language {
            Language::English => "docs/reference",
            Language::Chinese => "docs/zh/reference",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(folder)
            .join(format!("{name}.md"));
        let want = page(language).markdown(language, name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().expect("the page is in a folder"))
                .expect("docs can be written");
            std::fs::write(&path, want).expect("docs can be written");
        } else {
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == want, "{folder}/{name}.md is stale: run `{COMMAND}`");
        }
    }
}

fn flags_page(language: Language) -> Page {
    let say = |en, zh| language.of(Sentence::new(en, zh));
    let row = |flag: &Flag, sentence: Sentence| {
        let short = flag.short.map(|letter| format!("-{letter}"));
        let long = format!("--{}", flag.name);
        let value = if flag.kind.word().is_empty() {
            "bool"
        } else {
            flag.kind.word()
        };
        vec![
            codes(short.as_deref().into_iter().chain([&*long])),
            value.to_owned(),
            code(flag.default),
            prose(language.of(sentence)),
        ]
    };
    let section = |group: Group| {
        let of_group = FLAGS.iter().filter(|flag| flag.group == group);
        let rows: Vec<_> = of_group
            .filter_map(|flag| match flag.effect {
                Effect::Works(sentence) => Some(row(flag, sentence)),
                Effect::Meaningless(_) => None,
            })
            .collect();
        (!rows.is_empty()).then(|| Section {
            heading: language.of(group.title()),
            intro: "",
            columns: vec![
                say("Flag", "参数"),
                say("Type", "类型"),
                say("Default", "默认值"),
                say("Meaning", "含义"),
            ],
            rows,
        })
    };
    let without_effect = Section {
        heading: say("Accepted without effect", "接受但无效的参数"),
        intro: say(
            "Upstream's cloud controller manager has these, or had them in 2020. Here their values are checked, they change nothing, and each that is given is a warning in the log.",
            "上游 cloud-controller-manager 具有或在 2020 年曾具有这些参数。此处只检查其取值，不产生任何作用；给出时会在日志中记录警告。",
        ),
        columns: vec![
            say("Flag", "参数"),
            say("Type", "类型"),
            say("Upstream's default", "上游默认值"),
            say("Why it has no effect", "无效的原因"),
        ],
        rows: FLAGS
            .iter()
            .filter_map(|flag| match flag.effect {
                Effect::Works(_) => None,
                Effect::Meaningless(why) => Some(row(flag, why)),
            })
            .collect(),
    };
    Page {
        title: say("Flags", "命令行参数"),
        intro: language.of(FLAGS_INTRO),
        sections: Group::ALL
            .into_iter()
            .filter_map(section)
            .chain([without_effect])
            .collect(),
    }
}

fn cloud_config_page(language: Language) -> Page {
    let say = |en, zh| language.of(Sentence::new(en, zh));
    let row = |key: &Key| {
        vec![
            codes(std::iter::once(key.name).chain(key.aliases.iter().copied())),
            language.of(key.kind.describe()).to_owned(),
            code(key.default),
            prose(language.of(key.sentence)),
        ]
    };
    Page {
        title: say("Cloud config", "云配置"),
        intro: language.of(CLOUD_CONFIG_INTRO),
        sections: vec![Section {
            heading: say("Keys", "配置项"),
            intro: "",
            columns: vec![
                say("Key", "配置项"),
                say("Value", "取值"),
                say("Default", "默认值"),
                say("Meaning", "含义"),
            ],
            rows: KEYS.iter().map(row).collect(),
        }],
    }
}

const FLAGS_INTRO: Sentence = Sentence::new(
    "\
Flags are spelled as Kubernetes' cloud controller manager spells them. `--flag=value` and `--flag value` are the same, except for
booleans: `--flag` is true, and a value must be joined (`--flag=false`). An underscore in a name counts as a hyphen. Of a flag that
is given twice the last value counts; lists grow. Durations are written as Go writes them: `1m30s`, `12h`.

An unknown flag, a value that is not allowed, or an argument that is no flag is an error. All errors of the command line and of
the [cloud config](cloud-config.md) are printed together, and the exit code is 1.",
    "\
参数的拼写与 Kubernetes 的 cloud-controller-manager 一致。`--flag=value` 与 `--flag value` 等价；布尔参数除外：`--flag` 表示 true，
取值必须用等号连接（`--flag=false`）。名称中的下划线等同于连字符。重复给出的参数以最后一次为准；列表则累加。时长使用 Go
的写法：`1m30s`、`12h`。

未知参数、不允许的取值以及不是参数的内容都是错误。命令行和[云配置](cloud-config.md)的所有错误会一并输出，退出码为 1。",
);

const CLOUD_CONFIG_INTRO: Sentence = Sentence::new(
    "\
The file that `--cloud-config` names says where the cloud's APIs are, who this program is to them, and what applies to Services
that say nothing of their own. The file of the 2020 controller works as it is:

```properties
# /etc/kubernetes/cloud-config
slbUrl-pre=https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs
keycloakUrl=https://iam.example.com/auth/realms/picp/protocol/openid-connect/token
token-client-id=console
client-secret=change-me
requested-subject=main.sub
```

The same keys may be written in YAML:

```yaml
slbUrl-pre: https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs
iam-url: https://iam.inspurcloudapi.com/auth/v1/token
iam-username: main.sub
iam-password-file: /var/run/secrets/inspur/password
health-check: on
```

- **Format.** The first line that is not blank, a comment or a section such as `[Global]` decides: if its first `=` comes before its
  first `:`, the file is `key=value` lines, else YAML. Comments begin with `#` (and `;` in `key=value` files). In
  `key=value` files everything after the first `=` is the value, quotes included; space around it is dropped.
- **Credentials.** Exactly one way to a token must be configured: the token exchange (`keycloakUrl`, `token-client-id`, `requested-subject`,
  and `client-secret` or its file), a static token (`kktoken` or its file), or the password login (`iam-url`, `iam-username`, and
  `iam-password` or its file). A secret and a file for it exclude each other. Of a secret's file the line breaks at the end are dropped.
  One exception, for files of the 2020 controller: beside its four keys of the token exchange, all given, a `kktoken` has no effect, as
  it had none there, and is a warning.
- **URLs** begin with `https://`; `http://` is allowed to this machine only. They have no user, query or fragment.
- **Paths** that are relative start at the cloud config's own directory.
- An empty value counts as not given. An unknown key is a warning that suggests the nearest known one. A key given twice, in whatever
  spelling, is an error. All errors are printed together with their lines. No error or warning ever shows a secret.",
    "\
`--cloud-config` 指定的文件说明云 API 的地址、本程序访问它们的身份，以及 Service 自身未作说明时的默认值。2020 年控制器的文件可以原样使用：

```properties
# /etc/kubernetes/cloud-config
slbUrl-pre=https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs
keycloakUrl=https://iam.example.com/auth/realms/picp/protocol/openid-connect/token
token-client-id=console
client-secret=change-me
requested-subject=main.sub
```

同样的配置项也可以写成 YAML：

```yaml
slbUrl-pre: https://service.cloud.inspur.com/regionsvc-cn-north/slb/v1/slbs
iam-url: https://iam.inspurcloudapi.com/auth/v1/token
iam-username: main.sub
iam-password-file: /var/run/secrets/inspur/password
health-check: on
```

- **格式。** 由第一个既非空行、也非注释、也非 `[Global]` 之类小节的行决定：若其中第一个 `=` 在第一个 `:` 之前，则文件为
  `key=value` 格式，否则为 YAML。注释以 `#` 开头（`key=value` 文件中也可用 `;`）。在 `key=value` 文件中，第一个 `=` 之后的全部内容
  （包括引号）都是值；两端的空白会被去掉。
- **凭据。** 必须且只能配置一种获取令牌的方式：令牌交换（`keycloakUrl`、`token-client-id`、`requested-subject`，以及 `client-secret`
  或其文件）、静态令牌（`kktoken` 或其文件），或密码登录（`iam-url`、`iam-username`，以及 `iam-password` 或其文件）。机密与其文件不能同时给出。
  机密文件末尾的换行会被去掉。唯一的例外是 2020 年控制器的文件：当它的四个令牌交换配置项齐全时，`kktoken` 与当年一样不起作用，只产生警告。
- **URL** 以 `https://` 开头；只有访问本机时才允许 `http://`。URL 中不得包含用户、查询参数或片段。
- **路径** 为相对路径时，以云配置所在目录为起点。
- 空值等同于未给出。未知的配置项会产生警告，并提示最接近的已知配置项。以任何拼写重复给出同一配置项都是错误。所有错误连同行号一并输出。
  任何错误或警告都不会显示机密。",
);

#[test]
fn the_page_of_flags_is_made_from_the_table() {
    check("flags", flags_page);
}

#[test]
fn the_page_of_the_cloud_config_is_made_from_the_table() {
    check("cloud-config", cloud_config_page);
}

#[cfg(test)]
mod tests {
    use super::super::cloud_config;
    use super::*;

    #[test]
    fn cells_cannot_break_their_table() {
        let page = Page {
            title: "T",
            intro: "I\n",
            sections: vec![Section {
                heading: "H",
                intro: "",
                columns: vec!["A", "B"],
                rows: vec![
                    vec![code("a|b"), prose("'*' or | x")],
                    vec![code(""), codes(["c", "d"])],
                ],
            }],
        };
        let markdown = page.markdown(Language::English, "t");
        assert!(
            markdown.ends_with("# T\n\n[中文](../zh/reference/t.md)\n\nI\n\n## H\n\n| A | B |\n|---|---|\n| `a\\|b` | '\\*' or \\| x |\n|  | `c`, `d` |\n"),
            "{markdown}"
        );
    }

    #[test]
    fn the_examples_on_the_page_are_accepted() {
        let dir = tempfile::tempdir().unwrap();
        for language in Language::ALL {
            let intro = language.of(CLOUD_CONFIG_INTRO);
            let examples: Vec<_> = intro.split("```").skip(1).step_by(2).collect();
            assert_eq!(examples.len(), 2, "{language:?}");
            for example in examples {
                let (_, example) = example.split_once('\n').unwrap();
                let secret = dir.path().join("secret");
                std::fs::write(&secret, "s").unwrap();
                let text = example.replace("/var/run/secrets/inspur/password", &secret.display().to_string());
                let loaded = cloud_config::parse(&dir.path().join("cloud-config"), &text);
                assert!(loaded.config.is_ok() && loaded.warnings.is_empty(), "{loaded:?}");
            }
        }
    }
}
