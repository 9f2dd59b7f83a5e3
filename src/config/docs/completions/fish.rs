//! For fish.

use super::{CHECK_CONFIG, CHECK_SUMMARY, COMMAND, Offer, PROGRAM, Values};

pub(super) fn script(offers: &[Offer]) -> String {
    let mut script = format!(
        "# fish completion for {PROGRAM}\n# Made by `{COMMAND}` from the table of flags: change that.\n\n\
         complete -c {PROGRAM} -f\n\
         complete -c {PROGRAM} -n 'not __fish_seen_subcommand_from {CHECK_CONFIG}' -a {CHECK_CONFIG} -d '{CHECK_SUMMARY}'\n"
    );
    for offer in offers {
        script += &line(offer);
    }
    script
}

fn line(offer: &Offer) -> String {
    let value = match &offer.values {
        Values::Unknown => " -x".to_owned(),
        Values::Switch => " -f -a 'true false'".to_owned(),
        Values::One(words) => format!(" -x -a {}", quote(&words.join(" "))),
        Values::List(words) => {
            let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
            format!(
                " -x -a {}",
                quote(&format!("(__fish_append , {})", words.join(" ")))
            )
        }
        Values::Files => " -r -F".to_owned(),
        Values::Folders => format!(" -x -a {}", quote(FOLDERS)),
    };
    let short = offer.flag.short.map(|letter| format!(" -s {letter}"));
    format!(
        "complete -c {PROGRAM}{} -l {}{value} -d {}\n",
        short.unwrap_or_default(),
        offer.flag.name,
        quote(offer.summary)
    )
}

/// Of what is typed of the value, without the flag and its `=`.
const FOLDERS: &str = "(__fish_complete_directories (commandline -ct | string replace -r '^--[^=]*=' ''))";

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
