//! Settings of authentication, operators and rate limits.

use super::setting::{Setting, optional, secret, with_default};

pub(super) const CALLERS: &[Setting] = &[
    with_default(
        "ROOMKEY_CALLER_AUTH",
        "dev mode: anonymous",
        "The authentication of callers: `oidc`, an access token of your identity provider; \
         `easy-auth`, Azure's built-in authentication; `anonymous`, none: anyone who can reach the \
         service is served.",
    ),
    optional(
        "WEBSITE_AUTH_ENABLED",
        "Set by Azure where its built-in authentication is on. `easy-auth` requires it.",
    ),
    optional(
        "WEBSITE_AUTH_V2_CONFIG_JSON",
        "Set by Azure: the configuration of its built-in authentication. With `easy-auth`, roomkey \
         reads from it whether that authentication is on, and whether callers sign in through \
         Static Web Apps, which forwards no claims.",
    ),
    secret(
        "ROOMKEY_ADMIN_KEYS",
        "The keys for operator routes, separated by commas, each 32 or more visible ASCII \
         characters. Absent: no key is accepted; in dev mode each start creates one and prints it.",
    ),
    with_default(
        "ROOMKEY_RATE_LIMIT",
        "100/15m",
        "The number of requests each caller may send: a count, `/` and a time in `s`, `m` or `h`, \
         at most 24 hours and 10000 requests per second; or `off`. The whole count may be used at \
         once; afterwards one request becomes available every time ÷ count. Requests to end \
         sessions are counted apart from the others.",
    ),
    optional(
        "ROOMKEY_TRUSTED_PROXIES",
        "The IP addresses and ranges of your own proxies, separated by commas. Their \
         `X-Forwarded-For` header determines the address of an anonymous caller.",
    ),
    secret(
        "ROOMKEY_HASH_KEY",
        "The key that hashes callers in counters and logs, 32 bytes or more. Instances that share \
         a Redis need the same key. Absent: a random key at each start, in dev mode the one in \
         `.roomkey/store.keys`.",
    ),
    secret(
        "ROOMKEY_REDIS_URL",
        "The Redis server through which instances share their limits: \
         `rediss://:password@host:port`, or `redis://…` (unencrypted) on a private network. \
         Clusters are not supported. Percent-encode `/`, `#`, `?`, `@` and `%` in the password. \
         Absent: limits are per instance.",
    ),
    optional(
        "ROOMKEY_OIDC_ISSUER",
        "With `oidc`: the issuer, exactly as in the identity provider's discovery document. \
         `https://…`; `http://…` for a loopback address only.",
    ),
    with_default(
        "ROOMKEY_OIDC_DISCOVERY_URL",
        "the issuer, then /.well-known/openid-configuration",
        "With `oidc`: the URL of the discovery document, for providers that publish it elsewhere, \
         such as Azure AD B2C with its policy in the query (`…?p=B2C_1_signin`). `https://…`; \
         `http://…` for a loopback address only. The document's `issuer` must still equal \
         `ROOMKEY_OIDC_ISSUER`.",
    ),
    optional(
        "ROOMKEY_OIDC_AUDIENCE",
        "With `oidc`: the accepted audiences, separated by commas. The `aud` claim of a token must \
         contain one of them.",
    ),
    optional(
        "ROOMKEY_OIDC_SCOPE",
        "A scope (`scp`, `scope`) or role (`roles`, `ROOMKEY_ROLES_CLAIM`) that a signed-in caller \
         must have. Others get 403.",
    ),
    optional(
        "ROOMKEY_OIDC_TENANTS",
        "With `oidc` and Entra ID: the accepted tenant ids, separated by commas. Required for the \
         issuers `…/organizations/v2.0` and `…/common/v2.0`.",
    ),
    with_default(
        "ROOMKEY_IDENTITY_CLAIM",
        "sub",
        "With `oidc`: the claim that contains the identity of a signed-in caller. It is used where \
         its value is a valid name and only one tenant is accepted; otherwise the identity is `u-` \
         and a hash of issuer and subject. Choose a claim that is unique and that users cannot \
         edit, such as Entra's `oid`.",
    ),
    optional(
        "ROOMKEY_ROOMS_CLAIM",
        "The claim that lists the rooms of a signed-in caller: one string or a list of strings, \
         each `name` or `prefix*`. Absent: every room is allowed. Set, but missing from a token: \
         no room is allowed, and no Realtime client secret either. A caller with at least one room \
         may request a client secret without naming a room.",
    ),
    optional(
        "ROOMKEY_ROLES_CLAIM",
        "One more claim that lists roles, in addition to `roles`: its name, such as Auth0's \
         `permissions` or `https://example.com/roles`, or with `oidc` a dotted path, such as \
         Keycloak's `realm_access.roles`. Its value is a list of strings, or one string, which is \
         one role.",
    ),
    with_default(
        "ROOMKEY_ADMIN_ROLE",
        "Roomkey.Admin",
        "The role (`roles`, `ROOMKEY_ROLES_CLAIM`) that gives a signed-in caller access to the \
         operator routes.",
    ),
];
