//! The page of the cloud config.

use super::{Language, Page, Section, check, code, codes, prose};
use crate::config::cloud_config;
use crate::config::cloud_config::keys::{KEYS, Key};
use crate::runtime::sentence::Sentence;

#[test]
fn the_page_of_the_cloud_config_is_made_from_the_table() {
    check("cloud-config", cloud_config_page);
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

const CLOUD_CONFIG_INTRO: Sentence = Sentence::new(
    "\
The file that `--cloud-config` names says where the cloud's APIs are, who this program is to them, and what applies to Services
that say nothing of their own. The file of the 2020 controller works as it is, with
[few exceptions](../guides/from-the-2020-controller.md#what-an-old-config-file-may-trip-over):

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

- **Format.** A file in which a line begins with one of the keys below and `=` is `key=value` lines. Where there is none, the first line
  that is not blank, a comment or a section such as `[Global]` decides: if its first `=` comes before its first `:`, the file is
  `key=value` lines, else YAML. Comments begin with `#` (and `;` in `key=value` files). In `key=value` files everything after the
  first `=` is the value, quotes included; space around it is dropped.
- **Credentials.** Exactly one way to a token must be configured: the token exchange (`keycloakUrl`, `token-client-id`, `requested-subject`,
  and `client-secret` or its file), a static token (`kktoken` or its file), or the password login (`iam-url`, `iam-username`, and
  `iam-password` or its file). A secret and a file for it exclude each other. Of a secret's file the line breaks at the end are dropped.
  One exception, for files of the 2020 controller: beside its four keys of the token exchange, all given, a `kktoken` has no effect, as
  it had none there, and is a warning.
- **URLs** begin with `https://`; `http://` is allowed to this machine only. They have no user, query or fragment.
- **Paths** that are relative start at the cloud config's own directory.
- **A key given twice**, in whatever spelling: in `key=value` files the last value counts, even an empty one, and a warning names both
  lines; in YAML it is an error.
- **A line that is not `key=value`** in such a file has no effect, and a warning names its number (never its text, which may be a
  piece of a broken-up secret). What is not valid YAML in a YAML file is an error.
- An empty value counts as not given. An unknown key is a warning that suggests the nearest known one. All errors are printed together
  with their lines. No error or warning ever shows a secret.",
    "\
`--cloud-config` 指定的文件说明云 API 的地址、本程序访问它们的身份，以及 Service 自身未作说明时的默认值。2020 年控制器的文件可以原样使用，
只有[少数例外](../guides/from-the-2020-controller.md#旧配置文件可能遇到的问题)：

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

- **格式。** 只要有一行以下列某个配置项和 `=` 开头，文件就是 `key=value` 格式。没有这样的行时，
  由第一个既非空行、也非注释、也非 `[Global]` 之类小节的行决定：若其中第一个 `=` 在第一个 `:` 之前，则文件为
  `key=value` 格式，否则为 YAML。注释以 `#` 开头（`key=value` 文件中也可用 `;`）。在 `key=value` 文件中，第一个 `=` 之后的全部内容
  （包括引号）都是值；两端的空白会被去掉。
- **凭据。** 必须且只能配置一种获取令牌的方式：令牌交换（`keycloakUrl`、`token-client-id`、`requested-subject`，以及 `client-secret`
  或其文件）、静态令牌（`kktoken` 或其文件），或密码登录（`iam-url`、`iam-username`，以及 `iam-password` 或其文件）。机密与其文件不能同时给出。
  机密文件末尾的换行会被去掉。唯一的例外是 2020 年控制器的文件：当它的四个令牌交换配置项齐全时，`kktoken` 与当年一样不起作用，只产生警告。
- **URL** 以 `https://` 开头；只有访问本机时才允许 `http://`。URL 中不得包含用户、查询参数或片段。
- **路径** 为相对路径时，以云配置所在目录为起点。
- **重复给出的配置项**（不论何种拼写）：在 `key=value` 文件中以最后一个值为准（空值也算），并有警告指出两处行号；在 YAML 中是错误。
- **不是 `key=value` 的行**：在 `key=value` 文件中不起作用，警告只指出行号，不显示内容（它可能是被折断的机密的一部分）。YAML 文件中不合法的内容是错误。
- 空值等同于未给出。未知的配置项会产生警告，并提示最接近的已知配置项。所有错误连同行号一并输出。任何错误或警告都不会显示机密。",
);
