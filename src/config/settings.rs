//! Every setting by name. `docs/settings.md` is written from [`SETTINGS`]; a test fails when the
//! two differ.

pub use super::reader::{Environment, SettingsReader};

/// The app setting that takes the place of the route prefix in `host.json`, as every key of that
/// file has one.
pub const ROUTE_PREFIX: &str = "AzureFunctionsJobHost__extensions__http__routePrefix";

/// One setting as an operator reads about it.
#[derive(Debug)]
pub struct Setting {
    /// The name of the environment variable (in Azure: app setting).
    pub name: &'static str,
    /// What stands in for it; `–` where nothing does.
    pub default: &'static str,
    /// Its meaning, bounds and form.
    pub meaning: &'static str,
    /// Whether the value may also stand in the file that `<name>_FILE` names, or in Key Vault.
    pub secret: bool,
}

const fn plain(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        meaning,
        secret: false,
    }
}

const fn a_secret(name: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        default: "–",
        meaning,
        secret: true,
    }
}

/// All settings, in the order in which an operator meets them.
pub const SETTINGS: &[Setting] = &[
    plain(
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "7071",
        "Port to listen on; the Functions host sets it. 0 takes any free port and prints it.",
    ),
    plain(
        "ROOMKEY_BIND",
        "127.0.0.1",
        "IP address to listen on. The Functions host calls 127.0.0.1; a container of your own wants 0.0.0.0.",
    ),
    plain(
        "FUNCTIONS_APP_ROOT_PATH",
        "the working directory",
        "Folder of `host.json`, whose `cors` block is the list of allowed origins; the Functions host sets it.",
    ),
    plain(
        ROUTE_PREFIX,
        "`host.json`, else api",
        "The Functions host's own name for `extensions.http.routePrefix` of `host.json`. Both must be `api`, or be left out.",
    ),
    plain(
        "AZURE_FUNCTIONS_ENVIRONMENT",
        "–",
        "Set by the Functions host; `Development` under Core Tools, where only requests for names of this machine are served.",
    ),
    plain(
        "LIVEKIT_URL",
        "dev mode: ws://localhost:7880",
        "The LiveKit server as browsers reach it: `wss://…`, or `ws://…` to a loopback or private host. Elsewhere `ws://` is a loud \
         warning: the token travels in that address.",
    ),
    a_secret(
        "LIVEKIT_API_KEY",
        "The name of the LiveKit API key that signs.",
    ),
    a_secret(
        "LIVEKIT_API_SECRET",
        "Its secret, 32 bytes or more, as LiveKit shows it. Both stand in Key Vault or neither does. There they are taken over together: to \
         rotate, write a new version of both within 20 s. A half that is 20 s old is taken without the other.",
    ),
    plain(
        "KEY_VAULT_URL",
        "–",
        "The Key Vault that holds secrets: `https://my-vault.vault.azure.net`. With `LIVEKIT_URL`, and LiveKit's pair in no setting, the pair is \
         read there under the names `livekit-api-key` and `livekit-api-secret`.",
    ),
    plain(
        "ROOMKEY_SECRET_REFRESH_SECONDS",
        "600",
        "How long a value from Key Vault is trusted before it is read again, 30 to 86400 s; after this time a rotation has reached every \
         instance. A tenth more or less, so that instances do not ask in step.",
    ),
    plain(
        "AZURE_CLIENT_ID",
        "–",
        "The client id of a user-assigned identity, which is then used also where nothing else says that this is Azure (a virtual machine). \
         Absent: the app's system-assigned one; outside Azure your own sign-in (`az login`, `azd auth login`).",
    ),
    plain(
        "AZURE_OPENAI_ENDPOINT",
        "–",
        "The resource of Azure OpenAI: `https://my-resource.openai.azure.com`, with or without `/openai` or `/openai/v1`. `http://…` on a \
         loopback address only.",
    ),
    plain(
        "AZURE_OPENAI_DEPLOYMENT",
        "–",
        "The name of the deployment there, which is the model of a caller who chooses none.",
    ),
    a_secret(
        "AZURE_OPENAI_API_KEY",
        "A key of the resource. Absent: an Entra token of the managed identity takes its place, which needs the role Cognitive Services \
         OpenAI User.",
    ),
    plain(
        "AZURE_OPENAI_TRANSCRIPTION_MODEL",
        "–",
        "The deployment there that writes down what callers say.",
    ),
    plain(
        "ROOMKEY_ENTRA_SCOPE",
        "https://cognitiveservices.azure.com/.default",
        "What an Entra token for Azure OpenAI must be good for; other clouds have other scopes.",
    ),
    a_secret("OPENAI_API_KEY", "A key of a project at OpenAI."),
    plain(
        "OPENAI_BASE_URL",
        "https://api.openai.com/v1",
        "The base of OpenAI's API, or of one like it. `http://…` on a loopback address only.",
    ),
    plain(
        "ROOMKEY_OPENAI_MODEL",
        "gpt-realtime-2.1",
        "The model at OpenAI of a caller who chooses none.",
    ),
    plain(
        "ROOMKEY_DEFAULT_PROVIDER",
        "the only one configured, else livekit",
        "The provider of a request that names none: `livekit`, `azure-openai` or `openai`. It must be configured.",
    ),
    plain(
        "ROOMKEY_REALTIME_MODELS",
        "–",
        "Models and deployments that a caller may choose beside the provider's own, separated by commas.",
    ),
    plain(
        "ROOMKEY_REALTIME_VOICES",
        "alloy, ash, ballad, coral, echo, sage, shimmer, verse, marin, cedar",
        "Voices that a caller may choose, separated by commas. One that begins with `voice_` is a custom voice of OpenAI's.",
    ),
    plain(
        "ROOMKEY_REALTIME_VOICE",
        "marin",
        "The voice of a caller who chooses none.",
    ),
    plain(
        "ROOMKEY_REALTIME_INSTRUCTIONS",
        "–",
        "Text for the model, at most 8192 bytes. Whoever holds a client secret can read and replace it: put nothing confidential there.",
    ),
    plain(
        "ROOMKEY_REALTIME_SESSION",
        "–",
        "A JSON object, at most 8192 bytes, that is merged into each session: turn detection, language, tools. Not `type`, `model`, \
         `instructions` or `audio.output.voice`.",
    ),
    plain(
        "ROOMKEY_REALTIME_SECRET_SECONDS",
        "60",
        "How long a client secret is to live, 10 to 600 s. The upstream has the last word.",
    ),
    plain(
        "ROOMKEY_REALTIME_RATE_LIMIT",
        "20/15m",
        "How many client secrets one caller may ask for, in the form of `ROOMKEY_RATE_LIMIT`, which such a request must keep too; or `off`.",
    ),
    plain(
        "ROOMKEY_ROOM_PATTERN",
        "–",
        "A regular expression that the whole name of a room must match, beside our own rule.",
    ),
    plain(
        "ROOMKEY_MAX_TOKEN_SECONDS",
        "86400",
        "Longest lifetime that a caller may ask for, 60 to 86400 s; lowers the default of 3600 s too.",
    ),
    plain(
        "ROOMKEY_AGENTS",
        "–",
        "The agents that a `room_config` may dispatch, separated by commas: `name`, or `name@deployment` for one deployment of it. An entry \
         without `@` allows the default deployment.",
    ),
    plain(
        "ROOMKEY_CALLER_AUTH",
        "dev mode: anonymous",
        "Who may ask: `oidc`, whoever has an access token of your identity provider; `easy-auth`, whoever signed in through Azure's built-in \
         authentication; `anonymous`, anyone who can reach the service.",
    ),
    plain(
        "WEBSITE_AUTH_ENABLED",
        "–",
        "Set by Azure where its built-in authentication is on; `easy-auth` starts only there.",
    ),
    plain(
        "WEBSITE_AUTH_V2_CONFIG_JSON",
        "–",
        "Set by Azure: the settings of its built-in authentication. Where it is there, `easy-auth` reads whether that is on, and whether \
         Static Web Apps is in front, which hands on no claims.",
    ),
    a_secret(
        "ROOMKEY_ADMIN_KEYS",
        "Keys for the operators' routes, each of 32 visible ASCII characters or more, separated by commas. None: nobody can show one, but \
         in dev mode, where each start makes one and prints it.",
    ),
    plain(
        "ROOMKEY_RATE_LIMIT",
        "100/15m",
        "How often one caller may ask: a count, `/` and a span in `s`, `m` or `h`, at most 24 hours and 10000 a second; or `off`. The whole \
         count may come at once; then it comes back evenly, one after each span ÷ count.",
    ),
    plain(
        "ROOMKEY_TRUSTED_PROXIES",
        "–",
        "IP addresses and ranges of your own proxies, separated by commas, whose `X-Forwarded-For` says where an anonymous caller asks \
         from.",
    ),
    a_secret(
        "ROOMKEY_HASH_KEY",
        "The key under which callers are hashed in counters and logs, 32 bytes or more; the same on all instances that share a Redis, which \
         needs it. Absent: a random one at each start.",
    ),
    a_secret(
        "ROOMKEY_REDIS_URL",
        "The Redis through which instances share their limits: `rediss://:password@host:port`, or `redis://…` (unencrypted) for a network of \
         your own; no cluster; `/`, `#`, `?`, `@`, `%` in the password percent-encoded. Absent: limits are per instance.",
    ),
    plain(
        "ROOMKEY_OIDC_ISSUER",
        "–",
        "With `oidc`: the identity provider's issuer, exactly as its discovery document has it. `https://…`; `http://…` on a loopback address only.",
    ),
    plain(
        "ROOMKEY_OIDC_DISCOVERY_URL",
        "the issuer, then /.well-known/openid-configuration",
        "With `oidc`: the address of the discovery document, for providers that keep it elsewhere, such as Azure AD B2C with its policy in \
         the query (`…?p=B2C_1_signin`). `https://…`; `http://…` on a loopback address only. Its `issuer` must still be \
         `ROOMKEY_OIDC_ISSUER`.",
    ),
    plain(
        "ROOMKEY_OIDC_AUDIENCE",
        "–",
        "With `oidc`: audiences of ours, separated by commas; a token's `aud` must hold one of them.",
    ),
    plain(
        "ROOMKEY_OIDC_SCOPE",
        "–",
        "A scope (`scp`, `scope`) or role (`roles`, `ROOMKEY_ROLES_CLAIM`) that a signed-in caller must have; without it the answer is 403.",
    ),
    plain(
        "ROOMKEY_OIDC_TENANTS",
        "–",
        "With `oidc` and Entra ID: tenant ids whose tokens count, separated by commas. Needed with the issuers `…/organizations/v2.0` and `…/common/v2.0`.",
    ),
    plain(
        "ROOMKEY_IDENTITY_CLAIM",
        "sub",
        "With `oidc`: the claim whose value is the identity of a signed-in caller, where it is a name and one tenant is accepted; else the identity is `u-` and a hash of issuer and subject. Choose one that the provider gives to nobody else and that users cannot edit, such as Entra's `oid`.",
    ),
    plain(
        "ROOMKEY_ROOMS_CLAIM",
        "–",
        "The claim that lists the rooms of a signed-in caller: a list of texts or one text, each `name` or `prefix*`. Not set: any room. Set, and missing from a token: none. Whoever may enter none gets no Realtime client secret either; whoever may enter some may ask for one without naming a room.",
    ),
    plain(
        "ROOMKEY_ROLES_CLAIM",
        "–",
        "One more claim that lists roles, beside `roles`: its name, such as Auth0's `permissions` or `https://example.com/roles`, or with \
         `oidc` a dotted path, such as Keycloak's `realm_access.roles`. A list of texts or one text, which is one role.",
    ),
    plain(
        "ROOMKEY_ADMIN_ROLE",
        "Roomkey.Admin",
        "The role (`roles`, `ROOMKEY_ROLES_CLAIM`) that opens the operator routes to a signed-in caller.",
    ),
    plain(
        "ROOMKEY_LOG",
        "info",
        "The least important lines to write: `error`, `warn`, `info` or `debug`.",
    ),
    plain(
        "ROOMKEY_LOG_FORMAT",
        "json; on a terminal text",
        "`json` or `text`.",
    ),
];
