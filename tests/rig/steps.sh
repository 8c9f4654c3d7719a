# Steps of a long run, side by side. Each has a log, which is shown whole when it is over.
#
#     step NAME COMMAND...    starts one beside those that run, once fewer than $beside_most do
#     joined                  waits for all; the run ends here where one has failed
#
# However the run ends, its last lines are a table of what each step took, what was skipped and why, and what failed.

beside_most=6
declare -A step_of=()
step_names=() step_began=() step_failed=()
step_logs=$(mktemp -d)
trap step_end EXIT

# say WORDS: the head of a section, with the seconds since the start.
say() { printf '\n== %d s: %s\n' "$SECONDS" "$*"; }

step() {
  local name=$1 number=${#step_names[@]}
  shift
  while [ "${#step_of[@]}" -ge "$beside_most" ]; do step_over; done
  step_names+=("$name") step_began+=("$SECONDS")
  printf '== %d s: begins: %s\n' "$SECONDS" "$name"
  # A group of processes of its own, so that all of it can be ended.
  set -m
  step_timed "$number" "$@" >"$step_logs/$number.log" 2>&1 </dev/null &
  set +m
  step_of[$!]=$number
}

step_timed() {
  local times="$step_logs/$1.times" from=$EPOCHREALTIME code
  shift
  # `set -e` counts within, where nothing asks how it ended; here, a failure would keep the times from being written.
  set +e
  (set -e; "$@")
  code=$?
  # (In this very shell: those of its children are in the last line.)
  { printf '%s %s\n' "$from" "$EPOCHREALTIME"; times; } >"$times"
  return "$code"
}

# Waits for one of those that run, and shows it.
step_over() {
  local pid code=0 number name
  while :; do
    for pid in "${!step_of[@]}"; do kill -0 "$pid" 2>/dev/null || break 2; done
    sleep 0.2
  done
  wait "$pid" || code=$?
  number=${step_of[$pid]} name=${step_names[number]}
  unset "step_of[$pid]"
  if [ "$code" -eq 0 ]; then say "passed: $name"; else say "FAILED with $code: $name"; fi
  cat "$step_logs/$number.log"
  [ "$code" -eq 0 ] || step_failed+=("$name")
}

joined() {
  while [ "${#step_of[@]}" -gt 0 ]; do step_over; done
  [ "${#step_failed[@]}" -eq 0 ] || exit 1
}

step_end() {
  local code=$? pid number
  for pid in "${!step_of[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  printf '\nseconds  of CPU  from  step (%d s in all)\n' "$SECONDS"
  for number in "${!step_names[@]}"; do
    # (None, where it was not over.)
    awk -v began="${step_began[number]}" -v name="${step_names[number]}" '
      function seconds(time) { split(time, parts, /[ms]/); return 60 * parts[1] + parts[2] }
      NR == 1 { wall = $2 - $1 }
      END { if (NR) printf "%7.1f %7.1f %5d  %s\n", wall, seconds($1) + seconds($2), began, name }' "$step_logs/$number.times" 2>/dev/null || true
  done | sort -rn
  for number in "${!step_names[@]}"; do
    { grep -sE '(^|: |\.\.\. )skipped[: ]| # SKIP|\.\.\. ignored' "$step_logs/$number.log" || true; } |
      { grep -Ev '(^|# )skipped [0-9]+$' || true; } | sort -u | sed "s|^ *|skipped in ${step_names[number]//|/}: |"
  done
  [ "${#step_failed[@]}" -eq 0 ] || printf 'FAILED: %s\n' "${step_failed[@]}"
  rm -rf "$step_logs"
  exit "$code"
}
