#!/usr/bin/env bash
# The story of two orders: one is completed, one cannot be shipped and is undone.
# It happens in a folder of its own, which is removed at the end.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$root/.venv/bin:$PATH"
flowctl=${FLOWCTL:-flowctl}
case $flowctl in /*) ;; */*) flowctl=$PWD/$flowctl ;; esac
order=examples/order/order.yaml
books="select sku as 'what', on_shelf as 'is there' from stock union all
       select email, printf('%.2f', balance / 100.0) from accounts where email like 'ada%'"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
ln -s "$root/examples" examples
unset FLOWCTL_DB FLOWCTL_LEDGER SHOP_DB
export FLOWCTL_PLUGINS_DIR=examples/order FLOWCTL_SECRET_MAIL_TOKEN=demo

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi

tell() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

quoted() {
  if [[ $1 =~ ^[A-Za-z0-9_./=@:-]+$ ]]; then printf ' %s' "$1"; else printf " '%s'" "$1"; fi
}

# expect CODE ARGUMENT...: show a flowctl command, run it, and insist on how it exits.
expect() {
  local wanted=$1 code=0 argument
  shift
  printf '\n%s$ flowctl' "$bold"
  for argument; do quoted "$argument"; done
  printf '%s\n' "$plain"
  "$flowctl" "$@" || code=$?
  if ((code != wanted)); then
    echo "demo: that exited with $code, and should have with $wanted" >&2
    exit 1
  fi
}

tell "1. Ada orders a lamp and a kettle. Above 1000 a manager has to agree, so the run waits: on disk, not in memory."
expect 3 run "$order" -i order_id=0012 -i amount=1500 -i 'items=["lamp","kettle"]' -i email=ada@example.com -i express=true

tell "The manager agrees, and the run goes on where it was."
expect 0 signal @last approve --payload '{"by":"Grace"}'
expect 0 resume @last
before=$(sqlite-utils shop.db "$books" --table)
tell "The shop's books now:"
echo "$before"

tell "2. Ada orders a piano. It is reserved and charged, and then no carrier takes it."
expect 1 run "$order" -i order_id=0013 -i amount=900 -i 'items=["piano"]' -i email=ada@example.com -i express=true

tell "What was done has been undone, the last thing first: the charge is refunded, the piano is on its shelf."
expect 0 status @last
after=$(sqlite-utils shop.db "$books" --table)
tell "The shop's books are what they were before:"
echo "$after"
[[ $before == "$after" ]] || { echo "demo: the second order has left something behind" >&2; exit 1; }
