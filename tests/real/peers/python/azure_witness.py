"""Runs Microsoft's own SDKs against the fake of Azure (../js/fake_azure.mjs).

stdin:  {"identity": URL, "header": text, "vault": URL, "authority": path, "controls": URL}
stdout: one JSON object; what each call gave: a value, or the name of the exception's class with its "status"

The vault is asked as https://kv.vault.azure.net, whose name leads to the fake: the SDK compares the host of the challenge with that of
the vault, port included, and that check stays on.
"""

import json
import os
import socket
import sys
import urllib.parse
import urllib.request

from azure.core.exceptions import AzureError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

given = json.load(sys.stdin)
vault = "kv.vault.azure.net"
port = urllib.parse.urlsplit(given["vault"]).port
real_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, asked, *more, **named):
    if host == vault:
        host, asked = "127.0.0.1", port
    return real_getaddrinfo(host, asked, *more, **named)


socket.getaddrinfo = getaddrinfo
os.environ["IDENTITY_ENDPOINT"] = given["identity"]
os.environ["IDENTITY_HEADER"] = given["header"]


def control(name, /, **parameters):
    request = urllib.request.Request(f"{given['controls']}/{name}", json.dumps(parameters).encode())
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def found(call):
    """What a call gives, or how it fails."""
    try:
        return call()
    except AzureError as error:
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None)}


def token(scope, **named):
    """A new credential each time: it would remember its token."""
    issued = ManagedIdentityCredential(retry_total=0, **named).get_token(scope)
    return {"isText": isinstance(issued.token, str), "expiresOn": issued.expires_on}


def read(name, version=None, **named):
    secret = client(**named).get_secret(name, version)
    return {"name": secret.name, "value": secret.value, "version": secret.properties.version, "enabled": secret.properties.enabled}


credential = ManagedIdentityCredential()


def client(retry_total=0):
    verify = given["authority"]
    return SecretClient(f"https://{vault}", credential, connection_verify=verify, retry_total=retry_total, retry_backoff_factor=0.01)


def ordered(order, call):
    """What a call gives while the vault does as ordered."""
    control("vault", **order)
    try:
        return found(call)
    finally:
        control("vault")


answer = {"versions": [control("set", name="plain", value="first")["version"]]}
answer["first"] = found(lambda: read("plain"))
answer["afterFirst"] = control("counts")
answer["versions"].append(control("set", name="plain", value="second")["version"])
answer["rotated"] = found(lambda: read("plain"))
answer["old"] = found(lambda: read("plain", answer["versions"][0]))
answer["written"] = found(lambda: client().set_secret("written", "by the SDK").value)
answer["readBack"] = found(lambda: read("written"))
answer["missing"] = found(lambda: read("missing"))
control("set", name="off", value="x", enabled=False)
answer["disabled"] = found(lambda: read("off"))
for status in (403, 500, 503):
    answer[str(status)] = ordered({"status": status}, lambda: read("plain"))
answer["429"] = ordered({"status": 429, "headers": {"retry-after": "1"}}, lambda: read("plain"))
answer["429ThenRetried"] = ordered({"status": 429, "headers": {"retry-after": "0"}, "times": 1}, lambda: read("plain", retry_total=1))
answer["reset"] = ordered({"how": "reset"}, lambda: read("plain"))
answer["cut"] = ordered({"how": "cut"}, lambda: read("plain"))
control("stop")
answer["stopped"] = found(lambda: read("plain"))
control("start")
answer["startedAgain"] = found(lambda: read("plain"))

scope = "https://cognitiveservices.azure.com/.default"
answer["text"] = found(lambda: token(scope))
control("tokens", expiresOn="number", seconds=3600)
answer["number"] = found(lambda: token(scope))
answer["userAssigned"] = found(lambda: token(scope, client_id="11111111-1111-4111-8111-111111111111"))
answer["identityRequest"] = control("last")["identity"]
answer["vaultRequest"] = control("last")["vault"]
for status in (400, 500):
    control("identity", status=status)
    answer[f"identity{status}"] = found(lambda: token(scope))
control("identity")
os.environ["IDENTITY_HEADER"] = "another"
answer["wrongHeader"] = found(lambda: token(scope))
json.dump(answer, sys.stdout)
