# Shared by the scripts beside it; not run by itself.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
  if [[ -t 2 ]]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi
}
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Prints the comment that opens the calling script.
print_help() { sed -n '2,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//;p}' "$0"; }

# A command whose output is only worth reading when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  [[ $status == 0 ]] || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

# configure PRESET [CMAKE_ARGUMENT...]
configure() {
  local preset=$1
  shift
  say "Configuring build/$preset"
  # Presets are looked up in the current folder.
  (cd "$root" && quietly cmake --preset "$preset" "$@")
}

# build PRESET [TARGET...]: everything when no target is named.
build() {
  local preset=$1
  shift
  say "Building build/$preset"
  local targets=()
  [[ $# == 0 ]] || targets=(--target "$@")
  cmake --build "$root/build/$preset" --parallel "$(nproc)" "${targets[@]}"
}

# The project's own C++ files, one a line; `git ls-files` leaves out what is built or ignored.
source_files() {
  git -c safe.directory='*' -C "$root" ls-files --cached --others --exclude-standard -- "$@" |
    while IFS= read -r file; do
      [[ ! -f $root/$file ]] || printf '%s\n' "$file"
    done
}
