//! What shells complete: the names of flags that work, their values where those are known, and `check-config`.

mod bash;
mod fish;
mod zsh;

use std::ffi::OsString;

use super::{COMMAND, fresh};
use crate::config::PROGRAM;
use crate::config::controllers::CONTROLLERS;
use crate::config::flags::table::{Effect, FLAGS, Flag, Kind, PROVIDERS};
use crate::config::flags::{self, CHECK_CONFIG, Parsed, serving};

/// What `check-config` does, in a few words.
const CHECK_SUMMARY: &str = "says whether it could run; changes nothing";

/// A flag as shells see it.
struct Offer {
    flag: &'static Flag,
    /// What it does, in a few words.
    summary: &'static str,
    values: Values,
}

/// What is offered for a flag's value.
enum Values {
    /// Nothing: only the user knows.
    Unknown,
    /// `true` and `false`, behind a `=`.
    Switch,
    /// One of these.
    One(Vec<String>),
    /// Some of these, by comma.
    List(Vec<String>),
    Files,
    Folders,
}

/// In the order of `--help`. What is accepted without effect is nothing to suggest.
fn offers() -> impl Iterator<Item = Offer> {
    FLAGS.iter().filter_map(|flag| match flag.effect {
        Effect::Works(sentence) => Some(Offer {
            flag,
            summary: summary(sentence.en),
            values: values(flag),
        }),
        Effect::Meaningless(_) => None,
    })
}

/// The first sentence, without its full stop.
fn summary(text: &str) -> &str {
    let first = text.split_once(". ").map_or(text, |(first, _)| first);
    first.strip_suffix('.').unwrap_or(first)
}

fn values(flag: &Flag) -> Values {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match (flag.name, flag.kind) {
        ("cloud-provider", _) => Values::One(owned(&PROVIDERS)),
        ("controllers", _) => Values::List(controllers()),
        ("leader-elect-resource-lock", _) => Values::One(owned(&["leases"])),
        ("tls-cipher-suites", _) => Values::List(serving::suite_names().map(str::to_owned).collect()),
        ("tls-curve-preferences", _) => Values::List(serving::CURVES.map(|curve| curve.to_string()).into()),
        ("tls-min-version", _) => Values::One(owned(&["VersionTLS12", "VersionTLS13"])),
        (_, Kind::Bool) => Values::Switch,
        (_, Kind::Choice(choices)) => Values::One(owned(choices)),
        // of a certificate with its key, at least the first
        (_, Kind::File | Kind::SniPair) => Values::Files,
        (_, Kind::Folder) => Values::Folders,
        _ => Values::Unknown,
    }
}

/// All, one, and all but one.
fn controllers() -> Vec<String> {
    let names = CONTROLLERS.iter().filter(|controller| controller.here);
    let names: Vec<String> = names.map(|controller| controller.name.to_owned()).collect();
    let without = names.iter().map(|name| format!("-{name}"));
    ["*".to_owned()]
        .into_iter()
        .chain(names.clone())
        .chain(without)
        .collect()
}

#[test]
fn the_completions_are_made_from_the_table() {
    let of_table: Vec<Offer> = offers().collect();
    for (file, made) in [
        (format!("{PROGRAM}.bash"), bash::script(&of_table)),
        (format!("_{PROGRAM}"), zsh::script(&of_table)),
        (format!("{PROGRAM}.fish"), fish::script(&of_table)),
    ] {
        fresh(&format!("deploy/completions/{file}"), &made);
    }
}

#[test]
fn every_word_that_is_offered_is_accepted_without_a_warning() {
    let mut words = 0;
    for Offer { flag, values, .. } in offers() {
        let (values, before) = match values {
            Values::One(values) => (values, String::new()),
            // "-name" alone would be nothing
            Values::List(values) => (values.clone(), format!("{},", values[0])),
            _ => continue,
        };
        for value in values {
            let args = [
                format!("--{}={before}{value}", flag.name),
                "--cloud-config=f".to_owned(),
            ];
            let Parsed::Do { flags, warnings, .. } = flags::parse(args.clone().map(OsString::from)) else {
                panic!("{args:?}")
            };
            assert!(
                flags.is_ok() && warnings.is_empty(),
                "{args:?}: {flags:?} {warnings:?}"
            );
            words += 1;
        }
    }
    assert!(words > 20, "{words}");
}

#[test]
fn what_is_named_for_its_values_is_in_the_table() {
    let known = offers().filter(|offer| matches!(offer.values, Values::One(_) | Values::List(_)));
    let of_kind = |offer: &Offer| matches!(offer.flag.kind, Kind::Choice(_));
    let (by_kind, by_name): (Vec<Offer>, Vec<Offer>) = known.partition(of_kind);
    assert_eq!((by_kind.len(), by_name.len()), (1, 6));
}

#[test]
fn a_summary_is_the_first_sentence() {
    for (text, want) in [
        ("One. Two.", "One"),
        ("One, 0.0.0.0 too.", "One, 0.0.0.0 too"),
        ("One", "One"),
    ] {
        assert_eq!(summary(text), want);
    }
}
