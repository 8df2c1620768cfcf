"""Creates endpoints of one name, without containers, by the calls of an engine: announce.py SOCKET POOL NETWORK NAME COUNT

An endpoint is announced at CreateEndpoint, which carries the driver-opt `name`."""

import http.client
import json
import socket
import sys

path, pool, network, name, count = sys.argv[1:5] + [int(sys.argv[5])]
connection = http.client.HTTPConnection("plugin")
connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.sock.connect(path)


def call(method, body):
    connection.request("POST", f"/{method}", json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    if answer.get("Err") or answer.get("Error"):
        sys.exit(f"{method}: {answer}")
    return answer


for number in range(count):
    mac = f"02:55:{len(name):02x}:{ord(name[0]):02x}:{number >> 8:02x}:{number & 255:02x}"
    options = {"com.docker.network.endpoint.macaddress": mac}
    address = call("IpamDriver.RequestAddress", {"PoolID": pool, "Address": "", "Options": options})["Address"]
    call("NetworkDriver.CreateEndpoint", {
        "NetworkID": network, "EndpointID": f"{name}{number:050d}",
        "Interface": {"Address": address, "AddressIPv6": "", "MacAddress": mac}, "Options": {"name": name}})
    print(address.split("/")[0])
