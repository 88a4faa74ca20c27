//! Settings of TURN servers: Cloudflare's, or the operator's own.

use super::setting::{Setting, optional, secret, with_default};

pub(super) const TURN: &[Setting] = &[
    optional(
        "CLOUDFLARE_TURN_KEY_ID",
        "The id of a Cloudflare TURN key, for `GET /api/turn-credentials`. It excludes \
         `ROOMKEY_TURN_URLS`.",
    ),
    secret(
        "CLOUDFLARE_TURN_API_TOKEN",
        "The API token of that TURN key, which Cloudflare shows once, with the key. Do not use a \
         token or key of the account.",
    ),
    with_default(
        "CLOUDFLARE_TURN_BASE_URL",
        "https://rtc.live.cloudflare.com/v1",
        "The base URL of Cloudflare's API or of a compatible one. `http://…` is accepted for a \
         loopback address only.",
    ),
    optional(
        "ROOMKEY_TURN_URLS",
        "The URLs of your own TURN servers, such as coturn, separated by commas: \
         `turn:turn.example.com:3478?transport=udp`, `turns:turn.example.com:443`. `stun:…` may be \
         added. At most 8; from 5 on, browsers take longer to connect. URLs with port 53, which \
         browsers block, are ignored.",
    ),
    secret(
        "ROOMKEY_TURN_SECRET",
        "The secret shared with these servers (coturn: `static-auth-secret`), 32 bytes or more.",
    ),
    with_default(
        "ROOMKEY_TURN_SECONDS",
        "3600",
        "The lifetime of TURN credentials, 60 to 172800 s. Cloudflare ends a relayed call with its \
         credentials, so choose more than a call lasts.",
    ),
];
