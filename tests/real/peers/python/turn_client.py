"""Sends a message through a TURN server on this machine to a peer that returns it.

stdin:  {"port", "username", "credential"}
stdout: {"relayed": true}; {"relayed": false, "error"} with the STUN error code of the server's refusal, 401 for a
        credential that it does not accept; or {"relayed": null} if the server does not answer. Any other failure ends
        with a traceback: it says nothing about the credential.
"""

import asyncio
import json
import sys

from aioice import stun, turn

HOST = "127.0.0.1"
MESSAGE = b"a message"


class Peer(asyncio.DatagramProtocol):
    """Returns every datagram to its sender."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class Client(asyncio.DatagramProtocol):
    """Keeps what comes back through the server."""

    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, address):
        self.received.put_nowait(data)

    def error_received(self, error):
        raise error


async def relay(port, username, credential):
    loop = asyncio.get_running_loop()
    peer, _ = await loop.create_datagram_endpoint(Peer, local_addr=(HOST, 0))
    transport, client = await turn.create_turn_endpoint(Client, (HOST, port), username, credential)
    returned = None
    while returned is None:
        # A datagram may be lost, and then another one is sent. The requests to the server repeat themselves.
        transport.sendto(MESSAGE, peer.get_extra_info("sockname"))
        try:
            returned = await asyncio.wait_for(client.received.get(), 1)
        except asyncio.TimeoutError:
            pass
    assert returned == MESSAGE, returned


case = json.load(sys.stdin)
try:
    asyncio.run(asyncio.wait_for(relay(case["port"], case["username"], case["credential"]), 10))
    json.dump({"relayed": True}, sys.stdout)
except asyncio.TimeoutError:
    json.dump({"relayed": None}, sys.stdout)
except stun.TransactionFailed as refusal:
    code, _ = refusal.response.attributes["ERROR-CODE"]
    # A nonce that has become stale (438) is no refusal of the credential.
    json.dump({"relayed": None} if code == 438 else {"relayed": False, "error": code}, sys.stdout)
