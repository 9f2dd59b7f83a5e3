#!/bin/sh
# Judges the man page as man and mandoc do, and the completions by typing into each shell.
# usage: check-pages.sh
set -eu
cd "$(dirname "$0")/.."
# groff's UTF-8 device is in groff-base, on which man-db depends
sh deploy/build-tools.sh man:man-db mandoc:mandoc bash:bash zsh:zsh fish:fish script:bsdutils
name=inspur-cloud-controller-manager
page=deploy/man/$name.8 completions=$PWD/deploy/completions
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
failed=0
wrong() { echo "pages: $*" >&2; failed=1; }

# What they find they print, and some of that is not an error to them. The page is as old as the program, whose version it names.
said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 > /dev/null) || wrong 'man cannot read it'
[ -z "$said" ] || wrong "$said"
said=$(mandoc -Tlint -Wwarning "$page" | grep -v ' missing date, ') || :
[ -z "$said" ] || wrong "$said"

bash -n "$completions/$name.bash"
zsh -n "$completions/_$name"
fish --no-execute "$completions/$name.fish"

# A shell with a program of that name which shows what it was called with, in a folder where some files are.
mkdir -p "$W/here/folder"
touch "$W/here/config-file" "$W/here/other file"
cat > "$W/program" << EOF
PS1='> '
$name() { printf 'got:'; printf ' <%s>' "\$@"; echo; }
cd "$W/here"
EOF
{ cat "$W/program" && echo ". '$completions/$name.bash'"; } > "$W/bashrc"
{ cat "$W/program" && echo "fpath=('$completions' \$fpath); autoload -Uz compinit && compinit -D -u"; } > "$W/.zshrc"

# Types the lines of $W/cases before the first `|`, where ~ is the key Tab, and compares what the program got with what is behind it.
type_into() { # SHELL COMMAND
  sed "s/ *|.*//; s/~/$(printf '\t')/g; s/^/$name /" "$W/cases" > "$W/keys"
  echo exit >> "$W/keys"
  sed 's/.*| */got: /' "$W/cases" > "$W/want"
  timeout 60 script -qec "$2" /dev/null < "$W/keys" > "$W/said" || wrong "$1 does not end well"
  tr -d '\r' < "$W/said" | sed -n 's/.*\(got: <.*\)/\1/p' > "$W/got"
  diff "$W/want" "$W/got" >&2 || wrong "$1 completes something else"
}

cat > "$W/cases" << 'EOF'
che~x --kubec~x                  | <check-config> <x> <--kubeconfig=x>
--cloud-config=con~x             | <--cloud-config=config-file> <x>
--cloud-config ot~               | <--cloud-config> <other file>
--leader-elect=f~x               | <--leader-elect=false> <x>
--logg~j~x                       | <--logging-format=json> <x>
--controllers=\*,-serv~          | <--controllers=*,-service-lb-controller>
--controllers=service,cloud-node-l~ | <--controllers=service,cloud-node-lifecycle-controller>
--tls-min-version=~3             | <--tls-min-version=VersionTLS13>
--tls-cipher-suites TLS_CH~      | <--tls-cipher-suites> <TLS_CHACHA20_POLY1305_SHA256>
--cluster-name che~              | <--cluster-name> <che>
--cert-dir=fo~x --cert-dir con~x | <--cert-dir=folder/x> <--cert-dir> <conx>
--webh~                          | <--webh>
EOF
type_into bash "bash --noprofile --rcfile '$W/bashrc' -i"
ZDOTDIR=$W type_into zsh 'zsh -d -i'

# fish says itself what it would offer.
offered() { # WANTED TYPED: what is offered, one word a line, without descriptions
  got=$(cd "$W/here" && TYPED="$name $2" fish --no-config -c "source '$completions/$name.fish'; complete -C \"\$TYPED\"" | cut -f 1 | tr '\n' ' ')
  [ "${got% }" = "$1" ] || wrong "fish offers $got for '$2', not $1"
}
offered '--kubeconfig --kube-api-burst --kube-api-qps' --kube
offered 'check-config' che
offered '' 'check-config che'
offered '--cloud-config=config-file' --cloud-config=con
offered 'other file' '--cloud-config ot'
offered '--leader-elect=false --leader-elect=true' --leader-elect=
offered 'json text' '--logging-format '
offered '--controllers=*,-service-lb-controller' '--controllers=\*,-serv'
offered '--tls-min-version=VersionTLS12 --tls-min-version=VersionTLS13' --tls-min-version=
offered '--cert-dir=folder/' --cert-dir=
offered '' '--cluster-name che'
offered '' --webh

# What the guides say to do with the tarball, which has these two folders, puts each file where its shell looks; here, below $W.
for guide in docs/guides/installing.md docs/zh/guides/installing.md; do
  rm -rf "$W/root"
  grep '^install -D ' "$guide" | sed "s| /| $W/root/|" > "$W/commands"
  (cd deploy && sh -eu "$W/commands")
  for pair in "$page=usr/local/share/man/man8/$name.8" \
    "deploy/completions/$name.bash=usr/local/share/bash-completion/completions/$name" \
    "deploy/completions/_$name=usr/local/share/zsh/site-functions/_$name" \
    "deploy/completions/$name.fish=etc/fish/completions/$name.fish"; do
    cmp "${pair%%=*}" "$W/root/${pair#*=}" || wrong "$guide puts a file elsewhere"
  done
done

[ "$failed" -ne 0 ] || echo "pages: $page is clean, and bash, zsh and fish complete what it has"
exit "$failed"
