//! For zsh: a function by the name `_PROGRAM` in a folder of `fpath`.

use super::{CHECK_CONFIG, CHECK_SUMMARY, COMMAND, Offer, PROGRAM, Values};
use crate::config::flags::table::Kind;

pub(super) fn script(offers: &[Offer]) -> String {
    let mut script = format!(
        "#compdef {PROGRAM}\n# Made by `{COMMAND}` from the table of flags: change that.\n\n_arguments \\\n"
    );
    for offer in offers {
        script += &spec(offer);
    }
    script + &format!("  '::command:(({CHECK_CONFIG}\\:\"{CHECK_SUMMARY}\"))'\n")
}

fn spec(offer: &Offer) -> String {
    let Offer {
        flag,
        summary,
        values,
    } = offer;
    // what the value is called
    let word = flag.kind.word();
    let (joint, action) = match values {
        Values::Unknown => ("=", format!(":{word}: ")),
        Values::Switch => ("=-", "::value:(true false)".to_owned()),
        Values::One(words) => ("=", format!(":{word}:({})", words.join(" "))),
        Values::List(words) => (
            "=",
            // -d: it would take the `*` before the comma for a pattern of what is there already
            format!(
                ":{word}:_sequence -d compadd - {}",
                words.join(" ").replace('*', r"\*")
            ),
        ),
        Values::Files => ("=", ":file:_files".to_owned()),
        Values::Folders => ("=", ":folder:_files -/".to_owned()),
    };
    let repeated = matches!(flag.kind, Kind::List | Kind::Ints | Kind::SniPair | Kind::Modules);
    let star = if repeated { "*" } else { "" };
    let summary = summary
        .replace('\\', r"\\")
        .replace('[', r"\[")
        .replace(']', r"\]");
    let long = quote(&format!("{star}--{}{joint}[{summary}]{action}", flag.name));
    match flag.short {
        None => format!("  {long} \\\n"),
        Some(letter) => {
            // a switch takes its value behind the long name alone
            let (plus, action) = match values {
                Values::Switch => ("", ""),
                _ => ("+", &*action),
            };
            let short = quote(&format!("-{letter}{plus}[{summary}]{action}"));
            format!("  {long} \\\n  {short} \\\n")
        }
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
