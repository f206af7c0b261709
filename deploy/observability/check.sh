#!/usr/bin/env bash
# Holds the rules and the dashboard against a real Prometheus that scrapes a demo gateway under load. Needs prometheus,
# promtool, python3 and Go.
#
#   deploy/observability/check.sh PORT   the gateway's; Prometheus takes PORT+20
set -euo pipefail
cd "$(dirname "$0")"
readonly PORT=$1 SCRAPED=$(($1 + 7)) SERVER=$(($1 + 20))
work=$(mktemp -d)
started=()
end() {
  [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$work"
}
trap end EXIT

promtool check rules alerts.yaml
promtool test rules alerts_test.yaml

go build -o "$work/guardlock" ../../cmd/guardlock
"$work/guardlock" demo --listen "127.0.0.1:$PORT" --dir "$work/demo" >"$work/demo.log" 2>&1 &
started+=($!)
for _ in $(seq 120); do
  ! grep -q 'Ctrl-C ends it' "$work/demo.log" || break
  kill -0 "${started[0]}" || { cat "$work/demo.log"; exit 1; }
  sleep 0.5
done
"$work/guardlock" status --url "http://127.0.0.1:$SCRAPED"

cat >"$work/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$PWD/alerts.yaml]
scrape_configs:
  - job_name: guardlock
    static_configs: [{targets: ["127.0.0.1:$SCRAPED"]}]
END
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$SERVER" >"$work/prometheus.log" 2>&1 &
started+=($!)

for _ in $(seq 12); do
  echo '{"sensor":"s1","value":1}' | "$work/guardlock" produce --bootstrap "127.0.0.1:$PORT" --topic sensors >/dev/null
  # This one is refused, by a module.
  echo '{"amount":900000,"currency":"EUR","country":"KP"}' | "$work/guardlock" produce --bootstrap "127.0.0.1:$PORT" --topic payments >/dev/null 2>&1 || true
  sleep 1
done

python3 - "$SERVER" dashboard.json <<'END'
import json, sys, urllib.parse, urllib.request
server, dashboard = sys.argv[1:]
quiet = ("== 1", "upstream_errors", "witness_lag", "reconcile")  # nothing of the kind happens here
asked = failed = 0
for panel in json.load(open(dashboard))["panels"]:
    for target in panel["targets"]:
        expr = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "10s")
        url = f"http://127.0.0.1:{server}/api/v1/query?query=" + urllib.parse.quote(expr)
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        asked += 1
        if not result and not any(q in expr for q in quiet):
            failed += 1
            print(f"no data: {panel['title']}: {expr}")
print(f"{asked} queries of the dashboard, {failed} without data")
sys.exit(1 if failed or asked < 15 else 0)
END
