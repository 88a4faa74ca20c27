"""Reads the blobs of a store with Microsoft's own SDK, and writes one back as it is.

stdin:  {"container": URL of the container that opens it, "touch": name of a blob}
stdout: one JSON object: for each name of a blob its "metadata" and its "text"
"""

import json
import sys

from azure.storage.blob import ContainerClient

given = json.load(sys.stdin)
container = ContainerClient.from_container_url(given["container"])
seen = {}
for blob in container.list_blobs(include=["metadata"]):
    text = container.download_blob(blob.name, encoding="utf-8").readall() if blob.size else ""
    seen[blob.name] = {"metadata": blob.metadata, "text": text}
# A write by somebody else, after which the blob has another entity tag.
container.get_blob_client(given["touch"]).set_blob_metadata(seen[given["touch"]]["metadata"])
print(json.dumps(seen))
