//! The documents agree with the code. `UPDATE_DOCS=1 cargo test --test api documents` writes the
//! generated ones.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use roomkey::app::{UNPROVEN_PRINCIPAL, WRONG_ADMIN_KEY};
use roomkey::config::settings;
use roomkey::domain::callers::bearer::TokenRejection;
use roomkey::domain::livekit::connection_request::ConnectionRequest;
use roomkey::domain::livekit::token_request::TokenRequest;
use roomkey::domain::realtime::mint::MintError;
use roomkey::domain::realtime::request::RealtimeRequest;
use roomkey::domain::realtime::session_request::{EndSessionRequest, OpenSessionRequest};
use roomkey::domain::vault::key_request::{DeleteKeyRequest, RotateKeyRequest, SaveKeyRequest};
use roomkey::http::error::{ApiError, ERROR_KINDS};
use roomkey::http::routes::{ROUTES, allow};
use roomkey::metrics::catalogue;
use serde_json::{Value, json};

use crate::harness::{document, is_valid};

fn assert_generated(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/{name} is not what the code says; run `make docs` and commit the result"
    );
}

#[test]
fn documents_settings_match_the_code() {
    let mut text = "# Settings\n\n\
        Environment variables, in Azure app settings. This page is generated from `src/config/settings.rs`; `make docs` writes it.\n\n\
        | setting | default | meaning |\n|---|---|---|\n"
        .to_owned();
    for setting in settings::all() {
        let star = if setting.is_secret { " \\*" } else { "" };
        writeln!(
            text,
            "| `{}`{star} | {} | {} |",
            setting.name,
            setting.default,
            // It would end the cell, in code too.
            setting.meaning.replace('|', "\\|")
        )
        .unwrap();
    }
    text.push_str(
        "\n\\* A secret: its value is in the setting itself, in the regular file of at most 64 KiB that `<NAME>_FILE` names (one line break \
         at its end is dropped; a link to such a file is accepted, a pipe or device is not), or in Key Vault under the name in \
         `<NAME>_SECRET_NAME`, never in two of them. A placeholder (any spelling of `changeme`, `replace…`, `your-…`, `example…`, `password`, \
         `<…>`, `${…}`, a masked copy, or a short text repeated) and an unresolved `@Microsoft.KeyVault(…)` are faults; in Key Vault such \
         a value counts as absent, and roomkey keeps asking.\n\n\
         Every fault stops the start: one line each on stderr, setting names and no values, exit code 1. An empty value, a value in quotes \
         and an unknown `ROOMKEY_*` name are faults too. `roomkey --check` reads the settings and says what would be served.\n\n\
         **Dev mode** is for a machine on which nothing of a deployment is set. It needs all of: no setting of a provider or of TURN \
         servers, or nothing but LiveKit's own `devkey` and `secret`, with a loopback `LIVEKIT_URL` if any; none of `KEY_VAULT_URL`, `ROOMKEY_REDIS_URL`, \
         `ROOMKEY_HASH_KEY`, `ROOMKEY_ADMIN_KEYS`, `ROOMKEY_STORE`, `ROOMKEY_KEK_…` and `ROOMKEY_OIDC_…`; no `ROOMKEY_CALLER_AUTH` but `anonymous`; a loopback address; not in \
         Azure, not in Kubernetes (`KUBERNETES_SERVICE_HOST`), not in Container Apps (`CONTAINER_APP_NAME`).\n\n\
         **In Azure** means: `WEBSITE_INSTANCE_ID`, or `LEGION_SERVICE_HOST`, or `CONTAINER_NAME` together with `WEBSITE_SITE_NAME` or \
         `FUNCTIONS_EXTENSION_VERSION`, or `CONTAINER_APP_NAME` together with `FUNCTIONS_EXTENSION_VERSION`. `CONTAINER_NAME` alone, which dev \
         containers have, means nothing, and neither does the `WEBSITE_HOSTNAME=localhost:7071` of Core Tools.\n\n\
         **`host.json`** is read as the Functions host reads it: comments and trailing commas are fine, names match in any case. \
         `cors.allowedOrigins` lists `*` or origins as browsers send them, those of apps included (`capacitor://localhost`).\n",
    );
    assert_generated("settings.md", &text);
}

#[test]
fn documents_operations_list_the_metrics_of_the_code() {
    const BEGIN: &str = "<!-- the metrics, from src/metrics/catalogue.rs -->\n";
    const END: &str = "<!-- end of the metrics -->";
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md"))
            .unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    assert_generated(
        "operations.md",
        &format!("{before}{BEGIN}{}{END}{after}", catalogue::table()),
    );
}

#[test]
fn documents_operations_explain_every_reason_for_rejected_credentials() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md"))
            .unwrap();
    let words = TokenRejection::ALL
        .map(TokenRejection::as_str)
        .into_iter()
        .chain([WRONG_ADMIN_KEY, UNPROVEN_PRINCIPAL]);
    for word in words {
        let is_explained = |line: &str| {
            line.split('|')
                .nth(1)
                .is_some_and(|cell| cell.contains(&format!("`{word}`")))
        };
        assert!(page.lines().any(is_explained), "{word} is not explained");
    }
}

#[test]
fn documents_errors_match_the_code() {
    let mut text = "# Errors\n\n\
        Every error is a problem document (RFC 9457, `application/problem+json`) with `type`, `title`, `status`, `detail`, `code`, `requestId` \
        and `retryable`; `invalid_request` adds `errors`, a list of `field` and `message`, and where an operator can act there is \
        `remediation`. No text repeats a value that the client sent. \
        What is not HTTP at all is refused earlier, with an empty body: 400, 414 or 431. \
        This page is generated from `src/http/error/`; `make docs` writes it.\n\n\
        In the order of refusal:\n\n| code | status | meaning | what to do |\n|---|---|---|---|\n"
        .to_owned();
    for kind in ERROR_KINDS {
        writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            kind.code,
            kind.status.as_u16(),
            kind.title,
            kind.remedy
        )
        .unwrap();
    }
    assert_generated("errors.md", &text);
}

#[test]
fn documents_openapi_has_every_route_and_no_other() {
    let document = document();
    let mut documented: Vec<String> = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods = operations
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters");
        documented.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let mut served: Vec<String> = ROUTES
        .iter()
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    documented.sort();
    served.sort();
    assert_eq!(documented, served);
    assert!(
        ROUTES
            .iter()
            .all(|route| allow(route.path).contains(route.method.as_str()))
    );
}

#[test]
fn documents_openapi_names_every_error_code_and_every_field() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let codes: Vec<_> = ERROR_KINDS.iter().map(|kind| kind.code).collect();
    let mut documented: Vec<_> = schemas["Problem"]["properties"]["code"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    documented.sort_unstable();
    let mut sorted = codes.clone();
    sorted.sort_unstable();
    assert_eq!(documented, sorted);
    for (schema, fields) in [
        ("TokenRequest", &TokenRequest::FIELDS[..]),
        ("ConnectionRequest", &ConnectionRequest::FIELDS),
        ("PlainTokenRequest", &RealtimeRequest::PLAIN_FIELDS),
        ("SaveKeyRequest", &SaveKeyRequest::FIELDS),
        ("DeleteKeyRequest", &DeleteKeyRequest::FIELDS),
        ("RotateKeyRequest", &RotateKeyRequest::FIELDS),
        ("OpenSessionRequest", &OpenSessionRequest::FIELDS),
        ("EndSessionRequest", &EndSessionRequest::FIELDS),
    ] {
        let mut documented: Vec<_> = schemas[schema]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut fields = fields.to_vec();
        documented.sort_unstable();
        fields.sort_unstable();
        assert_eq!(documented, fields, "{schema}");
    }
}

#[test]
fn documents_openapi_rejects_the_same_values_as_the_code() {
    let refused = |schema: &str, body: Value| {
        assert!(
            !is_valid(
                &json!({ "$ref": format!("#/components/schemas/{schema}") }),
                &body
            ),
            "{schema}: {body}"
        );
    };
    for body in [
        json!({ "provider": "livekit" }),
        json!({ "provider": "livekit", "roomName": "r", "voice": "marin" }),
        json!({ "provider": "openai", "role": "speaker" }),
        json!({ "provider": "openai", "voice": "a b" }),
        json!({ "roomName": "a b" }),
        json!({ "roomName": "" }),
        json!({ "roomName": "r", "role": "x" }),
        json!({ "roomName": "r", "x": 1 }),
        json!({ "roomName": "r", "expirationSeconds": 59 }),
        json!({ "roomName": "r", "expirationSeconds": 86_401 }),
        json!({ "roomName": null }),
        json!({ "roomName": "r".repeat(129) }),
        json!({ "roomName": "r", "provider": "x" }),
        json!({ "roomName": "r", "participantName": "" }),
    ] {
        refused("TokenRequest", body);
    }
    let agent = |member: &str, value: Value| {
        json!({
            "room_config": { "agents": [{ "agent_name": "a", member: value }] },
        })
    };
    for body in [
        json!({ "room_name": "a b" }),
        json!({ "room_config": { "egress": {} } }),
        json!({ "participant_attributes": { "lk.x": "y" } }),
        json!({ "participant_attributes": { "x": "\u{1b}" } }),
        json!({ "participant_attributes": { "\u{1b}": "x" } }),
        json!({ "participant_metadata": "\u{85}" }),
        agent("metadata", json!("\u{1b}")),
        agent("attributes", json!({ "x": "\u{7f}" })),
    ] {
        refused("ConnectionRequest", body);
    }
    for body in [
        json!({ "participant_metadata": "a\tb\r\nc" }),
        agent("metadata", json!("a\tb\r\nc")),
    ] {
        assert!(
            is_valid(
                &json!({ "$ref": "#/components/schemas/ConnectionRequest" }),
                &body
            ),
            "{body}"
        );
    }
}

#[test]
fn documents_openapi_examples_follow_their_schemas() {
    let document = document();
    let mut checked = 0;
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            for content in [operation.pointer("/requestBody/content/application~1json")]
                .into_iter()
                .flatten()
            {
                let examples = content["examples"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(_, example)| &example["value"]);
                for example in examples.chain(content.get("example")) {
                    assert!(is_valid(&content["schema"], example), "{example}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 0, "no example was found");
}

/// Lists every error. The compiler requires a line here for each new one.
fn is_listed(error: &ApiError) -> bool {
    match error {
        ApiError::MalformedJson
        | ApiError::InvalidRequest(_)
        | ApiError::MissingCredentials
        | ApiError::Unauthenticated(_)
        | ApiError::InsufficientScope
        | ApiError::IdentityMismatch
        | ApiError::RoomForbidden
        | ApiError::OriginForbidden
        | ApiError::RateLimited
        | ApiError::ConcurrencyLimited
        | ApiError::AuthUnavailable
        | ApiError::SecretUnavailable
        | ApiError::Misdirected
        | ApiError::NotFound
        | ApiError::MethodNotAllowed(_)
        | ApiError::PayloadTooLarge
        | ApiError::UnsupportedMediaType
        | ApiError::RequestTimeout
        | ApiError::Overloaded
        | ApiError::Upstream(_)
        | ApiError::Turn(_)
        | ApiError::ProviderFailing
        | ApiError::Project(_)
        | ApiError::Internal(_) => ERROR_KINDS
            .iter()
            .any(|kind| kind.code == error.kind().code),
    }
}

#[test]
fn documents_errors_list_every_error_of_the_code() {
    for error in [
        ApiError::MalformedJson,
        ApiError::InvalidRequest(Vec::new()),
        ApiError::MissingCredentials,
        ApiError::Unauthenticated(""),
        ApiError::InsufficientScope,
        ApiError::IdentityMismatch,
        ApiError::RoomForbidden,
        ApiError::OriginForbidden,
        ApiError::RateLimited,
        ApiError::AuthUnavailable,
        ApiError::SecretUnavailable,
        ApiError::Misdirected,
        ApiError::NotFound,
        ApiError::MethodNotAllowed(String::new()),
        ApiError::PayloadTooLarge,
        ApiError::UnsupportedMediaType,
        ApiError::RequestTimeout,
        ApiError::Overloaded,
        ApiError::Upstream(MintError::NoCredential),
        ApiError::Upstream(MintError::Full),
        ApiError::Upstream(MintError::Paused(Duration::ZERO)),
        ApiError::Upstream(MintError::Network),
        ApiError::Upstream(MintError::Timeout),
        ApiError::Upstream(MintError::CredentialsRejected),
        ApiError::Upstream(MintError::Misconfigured),
        ApiError::Upstream(MintError::RateLimited(Duration::ZERO)),
        ApiError::Upstream(MintError::Rejected),
        ApiError::Upstream(MintError::Failed("")),
        ApiError::Turn(MintError::NoCredential),
        ApiError::Turn(MintError::CredentialsRejected),
        ApiError::Turn(MintError::Misconfigured),
        ApiError::Turn(MintError::Failed("")),
        ApiError::Internal(""),
    ] {
        assert!(is_listed(&error), "{error:?}");
        let is_operators = matches!(
            error,
            ApiError::Misdirected
                | ApiError::OriginForbidden
                | ApiError::SecretUnavailable
                | ApiError::Upstream(_)
                | ApiError::Turn(_)
        );
        assert_eq!(error.remediation().is_some(), is_operators, "{error:?}");
    }
    let codes: std::collections::BTreeSet<_> = ERROR_KINDS.iter().map(|kind| kind.code).collect();
    assert_eq!(codes.len(), ERROR_KINDS.len());
}

#[test]
fn documents_openapi_has_the_version_of_the_package() {
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}
