//! Settings of LiveKit and of the Key Vault that holds secrets.

use super::setting::{Setting, optional, secret, with_default};

pub(super) const LIVEKIT: &[Setting] = &[
    with_default(
        "LIVEKIT_URL",
        "dev mode: ws://localhost:7880",
        "The LiveKit server as browsers reach it: `wss://…`, or `ws://…` for a loopback or private \
         host. `ws://` to a public host starts with a warning: the token is part of that address.",
    ),
    secret(
        "LIVEKIT_API_KEY",
        "The LiveKit API key. It is the issuer (`iss`) of every token.",
    ),
    secret(
        "LIVEKIT_API_SECRET",
        "The secret of that key, 32 bytes or more, as LiveKit shows it. Keep both in Key Vault or \
         neither. In Key Vault they are replaced together: to rotate, write a new version of both \
         within 20 s. A new version without its counterpart is used after 20 s.",
    ),
];

pub(super) const KEY_VAULT: &[Setting] = &[
    optional(
        "KEY_VAULT_URL",
        "The Key Vault that holds secrets: `https://my-vault.vault.azure.net`. Where `LIVEKIT_URL` \
         is set and no setting names LiveKit's key and secret, both are read from this vault under \
         the names `livekit-api-key` and `livekit-api-secret`.",
    ),
    with_default(
        "ROOMKEY_SECRET_REFRESH_SECONDS",
        "600",
        "The time after which a value from Key Vault is read again, 30 to 86400 s. After this time \
         a rotated secret has reached every instance. Each instance shortens it by up to a fifth, so \
         that they do not all read at once.",
    ),
    optional(
        "AZURE_CLIENT_ID",
        "The client id of a user-assigned identity. It is also used where roomkey does not \
         recognize Azure, such as on a virtual machine. Absent: the app's system-assigned \
         identity; outside Azure your own sign-in (`az login`, `azd auth login`).",
    ),
];
