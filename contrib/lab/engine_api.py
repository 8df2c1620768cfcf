"""A Docker Engine's API over its unix socket, with the standard library only."""

import http.client
import json
import socket


class EngineError(Exception):
    pass


class Engine:
    """Client with one open connection, not for use by several threads at once."""

    def __init__(self, path):
        self.path = path
        self.connection = None

    def _connect(self):
        connection = http.client.HTTPConnection("engine", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(60)
        connection.sock.connect(self.path)
        return connection

    def call(self, method, path, body=None):
        if self.connection is None:
            self.connection = self._connect()
        payload = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if payload else {}
        self.connection.request(method, path, payload, headers)
        response = self.connection.getresponse()
        data = response.read()
        if response.will_close:
            self.connection.close()
            self.connection = None
        if response.status >= 400:
            try:
                message = json.loads(data)["message"]
            except (ValueError, KeyError):
                message = data.decode(errors="replace")
            raise EngineError(f"{method} {path}: {response.status} {message}")
        if response.headers.get_content_type() == "application/json" and data:
            return json.loads(data)
        return None

    def connect(self, network, container, address=None):
        body = {"Container": container}
        if address:
            body["EndpointConfig"] = {"IPAMConfig": {"IPv4Address": address}}
        self.call("POST", f"/networks/{network}/connect", body)

    def disconnect(self, network, container):
        self.call("POST", f"/networks/{network}/disconnect", {"Container": container, "Force": False})

    def address(self, network, container):
        return self.call("GET", f"/containers/{container}/json")["NetworkSettings"]["Networks"][network]["IPAddress"]

    def create_network(self, name, driver, ipam="default", ipam_options=None, **more):
        body = {"Name": name, "Driver": driver, "CheckDuplicate": True, "IPAM": {"Driver": ipam}}
        if ipam_options:
            body["IPAM"]["Options"] = ipam_options
        body.update(more)
        return self.call("POST", "/networks/create", body)["Id"]

    def remove_network(self, name):
        self.call("DELETE", f"/networks/{name}")

    def run(self, name, image, command, network="none"):
        body = {"Image": image, "Cmd": command, "HostConfig": {"NetworkMode": network}}
        self.call("POST", f"/containers/create?name={name}", body)
        self.call("POST", f"/containers/{name}/start")
        return self.call("GET", f"/containers/{name}/json")

    def remove(self, name):
        self.call("DELETE", f"/containers/{name}?force=1&v=1")
