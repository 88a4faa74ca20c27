//! Microsoft's own SDKs use the fake of Azure, which shows that the fake behaves like Azure.

use roomkey::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::fake_azure::{FakeAzure, IDENTITY_HEADER};
use crate::peers::{script, tool};

#[test]
fn microsofts_sdks_work_with_the_fake_azure() {
    let fake = FakeAzure::start();
    let python = tool("target/tools/venv/bin/python");
    let given = json!({
        "identity": fake.identity, "header": IDENTITY_HEADER, "vault": fake.vault,
        "authority": fake.authority, "controls": fake.controls(),
    });
    let seen = script(
        python.to_str().unwrap(),
        &["tests/real/peers/python/azure_witness.py"],
        &given.to_string(),
    );

    values_and_versions_are_read_and_written(&seen);
    failures_are_those_that_the_sdk_knows(&seen);
    tokens_are_issued_with_either_form_of_expiry(&seen);
}

fn values_and_versions_are_read_and_written(seen: &Value) {
    let secret = |value: &str, version: &Value| {
        json!({
            "name": "plain", "value": value, "version": version, "enabled": true,
        })
    };
    let versions = &seen["versions"];
    assert_eq!(seen["first"], secret("first", &versions[0]));
    // One challenge, one token, one read with it: the SDK's check of the challenge accepted the
    // vault's name.
    let counts = &seen["afterFirst"];
    assert_eq!(
        (
            &counts["challenges"],
            &counts["identity"],
            &counts["secrets"]
        ),
        (&json!(1), &json!(1), &json!({ "plain": 1 }))
    );
    assert_eq!(seen["rotated"], secret("second", &versions[1]));
    assert_eq!(seen["old"], secret("first", &versions[0]));
    assert_eq!(
        (&seen["written"], &seen["readBack"]["value"]),
        (&json!("by the SDK"), &json!("by the SDK"))
    );
    assert_eq!(seen["startedAgain"], secret("second", &versions[1]));
    assert!(
        seen["vaultRequest"]["url"]
            .as_str()
            .unwrap()
            .starts_with("/secrets/plain/?api-version="),
        "{}",
        seen["vaultRequest"]
    );
}

fn failures_are_those_that_the_sdk_knows(seen: &Value) {
    for (case, error, status) in [
        ("missing", "ResourceNotFoundError", Some(404)),
        ("disabled", "HttpResponseError", Some(403)),
        ("403", "HttpResponseError", Some(403)),
        ("429", "HttpResponseError", Some(429)),
        ("500", "HttpResponseError", Some(500)),
        ("503", "HttpResponseError", Some(503)),
        ("reset", "ServiceResponseError", None),
        ("cut", "IncompleteReadError", None),
        ("identity400", "CredentialUnavailableError", None),
        ("identity500", "CredentialUnavailableError", None),
        ("wrongHeader", "CredentialUnavailableError", None),
    ] {
        assert_eq!(
            seen[case],
            json!({ "error": error, "status": status }),
            "{case}"
        );
    }
    // A reset is one of two errors, depending on whether the client had sent something.
    assert!(
        ["ServiceRequestError", "ServiceResponseError"]
            .map(Value::from)
            .contains(&seen["stopped"]["error"]),
        "{}",
        seen["stopped"]
    );
    assert_eq!(seen["429ThenRetried"]["value"], "second");
}

fn tokens_are_issued_with_either_form_of_expiry(seen: &Value) {
    let now = SystemClock
        .now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (case, seconds) in [("text", 86_400), ("number", 3_600), ("userAssigned", 3_600)] {
        let expires_on = seen[case]["expiresOn"]
            .as_u64()
            .unwrap_or_else(|| panic!("{case}: {}", seen[case]));
        assert!(
            (now + seconds - 60..=now + seconds).contains(&expires_on),
            "{case}: {expires_on} at {now}"
        );
        assert_eq!(seen[case]["isText"], true, "{case}");
    }
    let request = &seen["identityRequest"];
    let url = "/msi/token?api-version=2019-08-01&resource=https://cognitiveservices.azure.com\
               &client_id=11111111-1111-4111-8111-111111111111";
    assert_eq!(
        (&request["method"], &request["url"]),
        (&json!("GET"), &json!(url))
    );
    assert_eq!(
        (
            &request["headers"]["metadata"],
            &request["headers"]["x-identity-header"]
        ),
        (&json!("true"), &json!(IDENTITY_HEADER))
    );
}
