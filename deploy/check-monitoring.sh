#!/bin/sh
# Prometheus takes the alert rules and every one of their tests, and each alert has both of its tests.
# usage: check-monitoring.sh
# That the series they name exist is tested on a live scrape, by `cargo test --test it -- monitoring`.
set -eu
cd "$(dirname "$0")/.."
promtool=$(bash tests/e2e/promtool.sh)
"$promtool" check rules deploy/monitoring/rules.yaml
"$promtool" test rules deploy/monitoring/rules_test.yaml
sed -n 's/^  - alert: //p' deploy/monitoring/rules.yaml | while read -r alert; do
  for kind in fires 'near miss'; do
    grep -qx -e "- name: $alert, $kind" deploy/monitoring/rules_test.yaml || { echo "$alert: no test '$kind'" >&2; exit 1; }
  done
done
