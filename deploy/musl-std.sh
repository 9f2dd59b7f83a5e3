#!/bin/sh
# Builds Rust's std for two musl targets out of the distribution's packages, for the rustc on PATH.
# usage: musl-std.sh DIR     DIR becomes a sysroot for `--sysroot`; nothing is installed on the system
# variables: SUITE and LLVM, of which Debian and which of its unwinders; CLANG
# A folder that is finished for this compiler and this script is left as it is.
set -eu
DIR=$1 SUITE=${SUITE:-trixie} CLANG=${CLANG:-clang} LLVM=${LLVM:-19}
VERSION=$(rustc --version | cut -d' ' -f2)
STAMP=$(rustc -vV | cat - "$0" | sha256sum | cut -c1-16)
[ "$(cat "$DIR/stamp" 2>/dev/null)" != "$STAMP" ] || exit 0
say() { echo "musl-std: $*; or let rustup bring std: rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl" >&2; exit 3; }
for tool in apt-get dpkg-deb "$CLANG" ar; do command -v "$tool" > /dev/null || say "$tool is needed"; done

mkdir -p "$DIR.work"
W=$(mktemp -d "$(cd "$DIR.work" && pwd)/XXXXXX")
trap 'rm -rf "$W"; rmdir "$DIR.work" 2>/dev/null || :' EXIT
trap 'exit 1' HUP INT TERM
OUT=$W/out
mkdir -p "$W/etc/apt.conf.d" "$W/etc/preferences.d" "$W/state/lists/partial" "$W/cache/archives/partial" "$W/debs" "$W/x"

# 1. Packages, through a private apt root: own lists, own (empty) status, and a dpkg that cannot run.
# shellcheck disable=SC2016 # the format is apt's
MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
[ -n "$MIRROR" ] || say "apt knows no mirror of Debian"
for s in "$SUITE" "$SUITE-backports"; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR $s main"
done > "$W/etc/sources.list"
: > "$W/status"
cat > "$W/apt.conf" <<C
APT::Architecture "amd64"; APT::Architectures { "amd64"; "arm64"; };
Dir "$W"; Dir::Etc "etc"; Dir::State "state"; Dir::State::status "$W/status"; Dir::Cache "cache";
Dir::Bin::dpkg "/bin/false"; Acquire::Languages "none"; APT::Sandbox::User "root";
C
export APT_CONFIG="$W/apt.conf"
apt-get -qq update
SRC=$(apt-cache madison rust-src | awk -v v="$VERSION" 'index($3, v "+") == 1 || index($3, v "-") == 1 { print $3; exit }')
if [ -z "$SRC" ]; then
  say "no rust-src $VERSION in $SUITE or $SUITE-backports, but $(apt-cache madison rust-src | awk '{ print $3 }' | sort -u | paste -sd ' ')"
fi
(cd "$W/debs" && apt-get -qq download "rust-src=$SRC" musl-dev:amd64 musl-dev:arm64 \
  "libunwind-$LLVM-dev:amd64" "libunwind-$LLVM-dev:arm64")
unset APT_CONFIG
dpkg-deb --fsys-tarfile "$W"/debs/rust-src_*.deb | tar -x -C "$W/x" --wildcards '*/library'
mv "$W"/x/usr/src/rustc-*/library "$W/library"
for a in amd64 arm64; do
  mkdir "$W/x/$a"
  for d in "$W"/debs/*_"$a".deb; do dpkg-deb -x "$d" "$W/x/$a"; done
done

# 2. What rustc expects in self-contained/: musl's start files and libc, ends for .eh_frame, an unwinder.
cat > "$W/shim.c" <<'C'
#include <stdarg.h>
#include <stddef.h>
struct f;
int vfprintf(struct f *, const char *, va_list);
int vsnprintf(char *, size_t, const char *, va_list);
#define H __attribute__((visibility("hidden")))
H int __vfprintf_chk(struct f *s, int l, const char *m, va_list a) { (void)l; return vfprintf(s, m, a); }
H int __vsnprintf_chk(char *b, size_t n, int l, size_t z, const char *m, va_list a) { (void)l; (void)z; return vsnprintf(b, n, m, a); }
H int __fprintf_chk(struct f *s, int l, const char *m, ...) { va_list a; int r; (void)l; va_start(a, m); r = vfprintf(s, m, a); va_end(a); return r; }
C
: > "$W/begin.s"
printf '.section .eh_frame,"a"\n.p2align 3\n.long 0\n' > "$W/end.s"
for A in x86_64 aarch64; do
  case $A in x86_64) D=amd64 ;; aarch64) D=arm64 ;; esac
  T=$A-unknown-linux-musl S=$OUT/lib/rustlib/$T/lib/self-contained
  mkdir -p "$S" "$OUT/include"
  for f in crt1.o rcrt1.o Scrt1.o crti.o crtn.o libc.a libdl.a libpthread.a libm.a librt.a; do
    cp "$W/x/$D/usr/lib/$A-linux-musl/$f" "$S/"
  done
  for o in crtbegin crtbeginS; do "$CLANG" --target="$T" -c "$W/begin.s" -o "$S/$o.o"; done
  for o in crtend crtendS; do "$CLANG" --target="$T" -c "$W/end.s" -o "$S/$o.o"; done
  "$CLANG" --target="$T" -O2 -fPIC -ffreestanding -c "$W/shim.c" -o "$W/shim-$A.o"
  cp "$W/x/$D/usr/lib/llvm-$LLVM/lib/libunwind.a" "$S/"
  ar rcD "$S/libunwind.a" "$W/shim-$A.o"
  cp -a "$W/x/$D/usr/include/$A-linux-musl" "$OUT/include/$A"
done

# 3. std, the way upstream's bootstrap builds it. Unstable switches live and die in this one call.
: > "$W/cargo.toml"; OFFLINE=
if [ -d "$W/library/vendor" ]; then   # older packages lack the vendored crates: then the registry, at the locked versions
  OFFLINE=--offline
  printf '[source.crates-io]\nreplace-with = "v"\n[source.v]\ndirectory = "%s"\n' "$W/library/vendor" > "$W/cargo.toml"
fi
printf '[profile.release]\ncodegen-units = 1\ndebug = 0\n' >> "$W/cargo.toml"
printf '#!/bin/sh\ncase " $* " in *" --crate-name panic_abort "*) exec "$@" -Cpanic=abort ;; esac\nexec "$@"\n' > "$W/wrap"
chmod +x "$W/wrap"
env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER="$W/wrap" CARGO_HOME="$W/home" CARGO_TARGET_DIR="$W/target" \
  RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes --remap-path-prefix=$W=/rustc" \
  cargo --config "$W/cargo.toml" build -q $OFFLINE -Zavoid-dev-deps --release --manifest-path "$W/library/sysroot/Cargo.toml" \
  --features panic-unwind,backtrace --target x86_64-unknown-linux-musl --target aarch64-unknown-linux-musl
for T in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do cp "$W/target/$T/release/deps/"*.rlib "$OUT/lib/rustlib/$T/lib/"; done
echo "$STAMP" > "$OUT/stamp"
rm -rf "$DIR"; mv "$OUT" "$DIR"
