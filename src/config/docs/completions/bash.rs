//! For bash. Nothing of the package bash-completion is needed.

use super::{CHECK_CONFIG, COMMAND, Offer, PROGRAM, Values};

pub(super) fn script(offers: &[Offer]) -> String {
    let names: Vec<String> = offers.iter().map(name).collect();
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for offer in offers {
        let (act, pattern) = (act(&offer.values), pattern(offer));
        match cases.iter_mut().find(|(same, _)| *same == act) {
            Some((_, patterns)) => patterns.push(pattern),
            None => cases.push((act, vec![pattern])),
        }
    }
    let cases: String = cases
        .iter()
        .map(|(act, patterns)| format!("    {}) {act} ;;\n", patterns.join(" | ")))
        .collect();
    TEMPLATE
        .replace("@command@", COMMAND)
        .replace("@program@", PROGRAM)
        .replace("@function@", &PROGRAM.replace('-', "_"))
        .replace("@check@", CHECK_CONFIG)
        .replace("@cases@\n", &cases)
        .replace("@names@", &names.join(" "))
}

/// `=` behind the name of a flag that needs a value.
fn name(offer: &Offer) -> String {
    let equals = if matches!(offer.values, Values::Switch) {
        ""
    } else {
        "="
    };
    format!("--{}{equals}", offer.flag.name)
}

fn pattern(offer: &Offer) -> String {
    let short = offer.flag.short.map(|letter| format!("-{letter} | "));
    format!("{}--{}", short.unwrap_or_default(), offer.flag.name)
}

fn act(values: &Values) -> String {
    match values {
        Values::Unknown => "return".to_owned(),
        Values::Switch => "[ -z \"$joined\" ] || words='true false'".to_owned(),
        Values::One(words) => format!("words='{}'", words.join(" ")),
        Values::List(words) => format!("list=1 words='{}'", words.join(" ")),
        Values::Files => "compopt -o default; return".to_owned(),
        Values::Folders => "compopt -o dirnames; return".to_owned(),
    }
}

const TEMPLATE: &str = r#"# bash completion for @program@
# Made by `@command@` from the table of flags: change that.

_@function@() {
  local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} joined='' list='' words='' head=''
  # bash takes --flag=value for three words
  if [ "$word" = '=' ]; then
    word='' joined=1
  elif [ "$flag" = '=' ]; then
    flag=${COMP_WORDS[COMP_CWORD-2]} joined=1
  fi
  COMPREPLY=()
  case $flag in
@cases@
  esac
  if [ -z "$words$joined" ]; then
    words='@names@'
    case " ${COMP_WORDS[*]} " in *' @check@ '*) ;; *) words="@check@ $words" ;; esac
  fi
  if [ -n "$list" ]; then
    head=${word%"${word##*,}"}
  fi
  mapfile -t COMPREPLY < <(compgen -P "$head" -W "$words" -- "${word#"$head"}")
  case ${COMPREPLY[0]-} in --*=) compopt -o nospace ;; esac
}
complete -F _@function@ @program@
"#;
