#!/usr/bin/env bash
# Leftovers of engines and daemons that died go by themselves, everything that lives stays, and a container that was started while the
# daemon was not there is named.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
create_network 1 net --subnet 10.77.0.0/24
gets 2 net
start 1 stays --network net
start 2 late --network net --restart always
clean=$(footprint 1)
start 1 web --network net --ip 10.77.0.10

count_is() { # count_is I ENDPOINTS LEASES
    local counts
    counts=$(overlay "$1" status --format json | jq -r '"\(.endpoints) \(.leases)"')
    echo "endpoints and leases: $counts"
    [[ $counts == "$2 $3" ]]
}
# Addresses of host 1's endpoints, as host 2 knows them.
known() { overlay 2 network inspect net | jq -r '.endpoints[] | select(.node == "host1") | .addresses[]' | sort | paste -sd ' '; }
known_are() { [[ $(known) == "$*" ]]; }
pool=$(overlay 1 network inspect net | jq -r '.subnets[0].pool')
engine_id=$(overlay 1 network inspect net | jq -r '.engineID')
# plugin METHOD BODY: calls the plugin on host 1 as an engine does.
plugin() {
    must in_host 1 curl -s --max-time 20 --unix-socket /run/docker/plugins/swift-overlay.sock -d "$2" "http://plugin/$1"
    [[ $OUT != *'"Err":"'?* ]] || fail "$1 was refused"
}
# lease MAC: asks for an address, which is in ADDRESS then.
lease() {
    plugin IpamDriver.RequestAddress \
        "{\"PoolID\":\"$pool\",\"Address\":\"\",\"Options\":{\"com.docker.network.endpoint.macaddress\":\"02:00:00:00:00:$1\"}}"
    ADDRESS=$(jq -r .Address <<<"$OUT")
    ADDRESS=${ADDRESS%/*}
}
endpoint() { printf "%064d" "$1"; }
make_endpoint() {
    lease "$1"
    plugin NetworkDriver.CreateEndpoint "{\"NetworkID\":\"$engine_id\",\"EndpointID\":\"$(endpoint "$1")\",\"Interface\":
        {\"Address\":\"$ADDRESS/24\",\"AddressIPv6\":\"\",\"MacAddress\":\"02:00:00:00:00:$1\"},\"Options\":{}}"
}
join() {
    plugin NetworkDriver.Join "{\"NetworkID\":\"$engine_id\",\"EndpointID\":\"$(endpoint "$1")\",\"SandboxKey\":\"/run/none\",\"Options\":{}}"
}

echo "# on host 2 the engine starts its containers while the daemon is not there, longer than the engine has patience"
must daemon_stop 2 KILL
must engine_stop 2 KILL
(LAB_TIMEOUT=180 engine_start 2) >"$(state_dir)/late.log" 2>&1 &
late=$!

echo "# a container ends, and its engine's calls are not answered"
stays=$(address_of 1 stays net)
must daemon_stop 1 KILL
# Each call fails at once here, and not after 15 s as where nobody listens.
cat >"$(host_data 1)/refuser.py" <<'END'
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def address_string(self): return "engine"
if os.path.exists(sys.argv[1]): os.unlink(sys.argv[1])
socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
END
spawn 1 refuser python3 "$(host_data 1)/refuser.py" /run/docker/plugins/swift-overlay.sock
wait_for 1 refuser "the refuser" listens "$(host_dir 1)/run/docker/plugins/swift-overlay.sock"
must docker 1 stop web
must stop_spawned 1 refuser KILL
must daemon_start 1
eventually 30 count_is 1 1 1
eventually 5 footprint_is 1 "$clean"
# Host 2's daemon is away still, so that only this host is asked.
must docker 1 start web
same "address" 10.77.0.10 "$(address_of 1 web net)"
reaches 1 web "$stays"

echo "# calls that were cut off: a request for an address, an endpoint, a joined endpoint, and a pool"
must docker 1 rm -f web
eventually 5 count_is 1 1 1
lease 21
make_endpoint 22
make_endpoint 23
join 23
plugin IpamDriver.RequestPool '{"AddressSpace":"swift-overlay","Pool":"10.78.0.0/24","SubPool":"","Options":{},"V6":false}'
count_is 1 3 4 || fail "the calls made nothing"

echo "# what is there can be freed by hand, and what lives cannot"
make_endpoint 24
refused overlay 1 network disconnect net stays
prints "docker network disconnect"
refused overlay 1 network disconnect --force net stays
prints "is that of container stays"
must overlay 1 network disconnect --force net "$ADDRESS"
prints "$ADDRESS is free"
make_endpoint 25
must overlay 1 network disconnect --force net "$(endpoint 25)"
lease 26
must overlay 1 network disconnect --force net "$ADDRESS"
count_is 1 3 4 || fail "by hand, other things went"

wait "$late" || { cat "$(state_dir)/late.log"; fail "the engine of host 2 did not start"; }
echo "# the daemon comes too late for a container of host 2"
must docker 2 inspect -f '{{.State.Status}}: {{.State.Error}}' late
prints "exited: "
must daemon_start 2
# shellcheck disable=SC2016 # no command
eventually 20 problem 2 '`docker start late`'
must daemon_stop 2
LAB_DAEMON_ARGS=--start-missed must daemon_start 2
running() { [[ $(docker 2 inspect -f '{{.State.Running}}' late) == true ]]; }
eventually 30 running
reaches 2 late "$stays"
eventually 70 no_problems 2

echo "# nothing is left"
subnets() { overlay 1 network ls --format json | jq -r '.[].subnets[].subnet' | paste -sd ' '; }
subnets_are() { [[ $(subnets) == "$*" ]]; }
eventually 60 count_is 1 1 1
eventually 60 subnets_are 10.77.0.0/24
eventually 5 footprint_is 1 "$clean"
eventually 5 known_are "$stays"
must no_problems 1
reaches 1 stays "$(address_of 2 late net)"
