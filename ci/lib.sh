# Sourced by the scripts beside it. Not a program.

# The project's root, wherever the script is called from.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Says what comes next, so that a log can be read from its headings.
step() {
  printf '\n=== %s (%ss)\n' "$*" "$SECONDS"
}

fail() {
  printf 'ci: %s\n' "$*" >&2
  exit 1
}

# The first Python on the path that Segue supports; PYTHON names another.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or later found; set PYTHON"
}

# Copies the files that belong to the project, and no build product, to a new directory.
copy_sources() {
  local to="$1"
  mkdir -p "$to"
  if git -C "$ROOT" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    # Listed files that are deleted in the work tree are passed over.
    (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard |
      while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
      tar --null --files-from=- -cf -) | tar -xf - -C "$to"
  else # an unpacked sdist
    (cd "$ROOT" && tar --exclude=./build --exclude=./dist --exclude=./.venv --exclude='*.so' \
      --exclude=__pycache__ -cf - .) | tar -xf - -C "$to"
  fi
}

# Makes an empty directory that is removed when the script ends; prints nothing, sets WORK.
make_work_dir() {
  WORK="$(mktemp -d "${TMPDIR:-/tmp}/segue-ci.XXXXXX")"
  trap 'rm -rf "$WORK"' EXIT
}
