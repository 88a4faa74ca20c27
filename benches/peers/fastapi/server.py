"""The same endpoint on FastAPI and LiveKit's Python server SDK, served by one uvicorn worker on uvloop and httptools.

Access lines are off. Pydantic reads the body and writes the answer.
"""

import os
from datetime import UTC, datetime, timedelta

import uvicorn
from fastapi import FastAPI
from livekit.api import AccessToken, VideoGrants
from pydantic import BaseModel

SERVER_URL = os.environ["LIVEKIT_URL"]
API_KEY = os.environ["LIVEKIT_API_KEY"]
API_SECRET = os.environ["LIVEKIT_API_SECRET"]


class TokenRequest(BaseModel):
    roomName: str
    participantIdentity: str
    participantName: str = ""
    role: str = "speaker"
    expirationSeconds: int = 3600


class TokenAnswer(BaseModel):
    provider: str
    token: str
    expiresAt: str
    refreshAt: str
    roomName: str
    participantIdentity: str
    serverUrl: str


app = FastAPI(openapi_url=None)


@app.post("/api/token")
async def issue(wanted: TokenRequest) -> TokenAnswer:
    speaks = wanted.role == "speaker"
    lifetime = timedelta(seconds=wanted.expirationSeconds)
    grants = VideoGrants(
        room_join=True,
        room=wanted.roomName,
        can_publish=speaks,
        can_subscribe=True,
        can_publish_data=False,
        can_publish_sources=["microphone"] if speaks else [],
    )
    token = (
        AccessToken(API_KEY, API_SECRET)
        .with_identity(wanted.participantIdentity)
        .with_name(wanted.participantName)
        .with_ttl(lifetime)
        .with_grants(grants)
        .to_jwt()
    )
    expires_at = datetime.now(UTC).replace(microsecond=0) + lifetime
    return TokenAnswer(
        provider="livekit",
        token=token,
        expiresAt=rfc3339(expires_at),
        refreshAt=rfc3339(expires_at - timedelta(seconds=10)),
        roomName=wanted.roomName,
        participantIdentity=wanted.participantIdentity,
        serverUrl=SERVER_URL,
    )


def rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
