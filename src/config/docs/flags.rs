//! The page of flags.

use super::{Language, Page, Section, check, code, codes, prose};
use crate::config::flags::help::EXIT_CODES;
use crate::config::flags::table::{Effect, FLAGS, Flag, Group};
use crate::runtime::sentence::Sentence;

#[test]
fn the_page_of_flags_is_made_from_the_table() {
    check("flags", flags_page);
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
    let exit_codes = Section {
        heading: say("Exit codes", "退出码"),
        intro: "",
        columns: vec![say("Code", "退出码"), say("Meaning", "含义")],
        rows: EXIT_CODES
            .iter()
            .map(|(number, sentence)| vec![code(&number.to_string()), prose(language.of(*sentence))])
            .collect(),
    };
    Page {
        title: say("Flags", "命令行参数"),
        intro: language.of(FLAGS_INTRO),
        sections: Group::ALL
            .into_iter()
            .filter_map(section)
            .chain([without_effect, exit_codes])
            .collect(),
    }
}

const FLAGS_INTRO: Sentence = Sentence::new(
    "\
Flags are spelled as Kubernetes' cloud controller manager spells them. `--flag=value` and `--flag value` are the same, except for
booleans: `--flag` is true, and a value must be joined (`--flag=false`). An underscore in a name counts as a hyphen. Of a flag that
is given twice the last value counts; lists grow. Durations are written as Go writes them: `1m30s`, `12h`.

An unknown flag, a value that is not allowed, or an argument that is no flag is an error. All errors of the command line and of
the [cloud config](cloud-config.md) are printed together, before anything starts, and the exit code is 1.

The word `check-config`, before or after the flags, asks whether the program could run with them; it changes nothing.",
    "\
参数的拼写与 Kubernetes 的 cloud-controller-manager 一致。`--flag=value` 与 `--flag value` 等价；布尔参数除外：`--flag` 表示 true，
取值必须用等号连接（`--flag=false`）。名称中的下划线等同于连字符。重复给出的参数以最后一次为准；列表则累加。时长使用 Go
的写法：`1m30s`、`12h`。

未知参数、不允许的取值以及不是参数的内容都是错误。命令行和[云配置](cloud-config.md)的所有错误会在启动任何部分之前一并输出，退出码为 1。

在参数之前或之后加上 `check-config`，只检查程序能否以这些参数运行，不做任何更改。",
);
