//! What somebody who mistyped a name probably meant.

/// The known name with the fewest letters to change in `given`, letter case aside; `None` when more than a third would
/// have to change.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (given.chars().count() / 3).max(1);
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
            ("nothing", "", Some("v")),
        ] {
            assert_eq!(nearest(given, known), want, "{case}");
        }
    }
}
