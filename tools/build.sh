#!/usr/bin/env bash
# go build that shows how far it is: a cold build takes minutes, and silence looks like a hang.
#
#   tools/build.sh program OUT PACKAGE [flag…]   builds one program into OUT
#   tools/build.sh tests PACKAGES [flag…]        compiles what the tests of PACKAGES (one word list) stand on, with -race
#
# Counts go to standard error: one line on a terminal, a line every ten seconds elsewhere.
set -euo pipefail

kind=$1 name=$2
shift 2
what=$(basename "$name")
stale='{{if and .Stale (ne .Name "main") (not .ForTest)}}{{.ImportPath}}{{end}}'
case $kind in
program)
  package=$1
  shift
  build=(go build "$@" -v -o "$name" "$package")
  list=(go list "$@" -deps -f "$stale" "$package")
  ;;
tests)
  what='what the tests need'
  # shellcheck disable=SC2206 # PACKAGES is a list of words
  packages=($name)
  list=(go list "$@" -race -test -deps -f "$stale" "${packages[@]}")
  build=(go build "$@" -v -race)
  ;;
*)
  echo "build.sh: unknown kind $kind" >&2
  exit 2
  ;;
esac

next=5 # seconds before the first line off a terminal: a warm build says nothing
show() {
  if [ -t 2 ]; then
    printf '\r\033[K%s, %d s' "$1" "$SECONDS" >&2
  elif [ "$SECONDS" -ge "$next" ]; then
    printf '%s, %d s\n' "$1" "$SECONDS" >&2
    next=$((SECONDS + 10))
  fi
}
wipe() { if [ -t 2 ]; then printf '\r\033[K' >&2; fi; }

log=$(mktemp)
todo=$(mktemp)
trap 'rm -f "$log" "$todo"' EXIT

# The list loads the packages, which downloads modules on a fresh machine.
downloads() {
  local n=0 line
  while IFS= read -r line; do
    case $line in
    'go: downloading '*) n=$((n + 1)) && show "$what: downloading module $n" ;;
    *) printf '%s\n' "$line" >>"$log" ;;
    esac
  done
}
if ! "${list[@]}" 2>&1 >"$todo" | downloads; then
  wipe
  cat "$log" >&2
  exit 1
fi
total=$(wc -l <"$todo" | tr -d ' ')

compiled() {
  local n=0 line
  while IFS= read -r line; do
    case $line in
    '#'* | *' '* | *':'*) printf '%s\n' "$line" >>"$log" ;; # a compiler's message
    *) n=$((n + 1)) && show "$what: compiling, $n of $total packages" ;;
    esac
    if [ "$n" -ge "$total" ] && [ "$kind" = program ]; then show "$what: linking"; fi
  done
}
if [ "$kind" = tests ]; then
  [ "$total" -gt 0 ] || exit 0
  while IFS= read -r package; do build+=("$package"); done <"$todo"
fi
if ! "${build[@]}" 2>&1 | compiled; then
  wipe
  cat "$log" >&2
  exit 1
fi
wipe
if [ "$SECONDS" -ge 5 ]; then printf '%s: ready after %d s\n' "$what" "$SECONDS" >&2; fi
