//! What somebody who mistyped a name probably meant.

/// The known name with the fewest letters to change in `given`, letter case aside; `None` when that would be another word:
/// about a third of the letters may change, and two of four, for two that were swapped.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match given.chars().count() {
        0..=1 => 0,
        2..=3 => 1,
        letters => (letters / 3).max(2),
    };
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be inserted, removed or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let [a, b]: [Vec<char>; 2] = [a, b].map(|text| text.to_lowercase().chars().collect());
    // row[j]: from the letters of `a` seen so far to the first j of `b`
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_near_and_another_word_is_not() {
        let known = ["kubeconfig", "cloud-config", "cluster-name", "v", "zone"];
        for (case, given, want) in [
            ("a letter missing", "kubconfig", Some("kubeconfig")),
            ("a letter replaced", "cloud_config", Some("cloud-config")),
            ("letter case", "KubeConfig", Some("kubeconfig")),
            ("letters swapped", "clutser-name", Some("cluster-name")),
            ("the same", "zone", Some("zone")),
            ("another word", "slbId", None),
            ("nothing", "", None),
            ("a letter", "x", None),
            ("the letter", "V", Some("v")),
            ("letters of a short name swapped", "zoen", Some("zone")),
        ] {
            assert_eq!(nearest(given, known), want, "{case}");
        }
    }
}
