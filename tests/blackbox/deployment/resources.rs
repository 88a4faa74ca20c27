//! What every resource of a deployment must and must not be.

use std::collections::BTreeSet;

use regex::Regex;
use roomkey::config::settings;
use serde_json::{Value, json};

use super::snapshots::Snapshot;
use super::{each_text, json, text};

/// Settings that are not roomkey's but the platform's, each with the page that describes it.
const PLATFORM_SETTINGS: &[(&str, &str)] = &[
    (
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        "https://learn.microsoft.com/azure/azure-functions/functions-app-settings",
    ),
    (
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "https://learn.microsoft.com/azure/azure-functions/functions-app-settings",
    ),
    (
        "AzureFunctionsJobHost__logging__applicationInsights__samplingSettings__excludedTypes",
        "https://learn.microsoft.com/azure/azure-functions/functions-host-json#override-hostjson-values",
    ),
    (
        "AzureWebJobsDisableHomepage",
        "https://learn.microsoft.com/azure/azure-functions/functions-app-settings",
    ),
    (
        "AzureWebJobsStorage__accountName",
        "https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity",
    ),
    (
        "AzureWebJobsStorage__clientId",
        "https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity",
    ),
    (
        "AzureWebJobsStorage__credential",
        "https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity",
    ),
];

/// The setting with which the Functions host exports telemetry by itself, and in another form. It is
/// deployed only where a parameter asks for it.
/// Source: <https://learn.microsoft.com/azure/azure-functions/opentelemetry-howto>
pub const TELEMETRY_MODE: &str = "AzureFunctionsJobHost__telemetryMode";

/// Who gets which role on what. Source of the ids:
/// <https://learn.microsoft.com/azure/role-based-access-control/built-in-roles>, each by the page
/// of its category.
const ROLES: &[(&str, &str, &str, Grantee)] = &[
    (
        "Monitoring Metrics Publisher",
        "3913510d-42f4-4e42-8a64-420c390055eb",
        "Microsoft.Insights/components",
        Grantee::App,
    ),
    (
        "Key Vault Secrets User",
        "4633458b-17de-408a-b874-0445c86b69e6",
        "Microsoft.KeyVault/vaults",
        Grantee::App,
    ),
    (
        "Key Vault Secrets Officer",
        "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
        "Microsoft.KeyVault/vaults",
        Grantee::Deployer,
    ),
    (
        "Cognitive Services OpenAI User",
        "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd",
        "Microsoft.CognitiveServices/accounts",
        Grantee::App,
    ),
    (
        "Storage Blob Data Owner",
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "Microsoft.Storage/storageAccounts",
        Grantee::App,
    ),
    (
        "Storage Blob Data Contributor",
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        Grantee::App,
    ),
];

#[derive(Debug, PartialEq, Eq)]
enum Grantee {
    App,
    Deployer,
}

/// The API version of each type of resource: the newest, or one that Azure Verified Modules use.
/// Source: the folders of <https://github.com/Azure/bicep-types-az/tree/main/generated>
const API_VERSIONS: &[(&str, &str)] = &[
    ("Microsoft.Authorization/roleAssignments", "2022-04-01"),
    ("Microsoft.Cache/redisEnterprise", "2025-07-01"),
    ("Microsoft.Cache/redisEnterprise/databases", "2025-07-01"),
    ("Microsoft.CognitiveServices/accounts", "2025-06-01"),
    (
        "Microsoft.CognitiveServices/accounts/deployments",
        "2025-06-01",
    ),
    ("Microsoft.Insights/actionGroups", "2023-01-01"),
    ("Microsoft.Insights/components", "2020-02-02"),
    ("Microsoft.Insights/scheduledQueryRules", "2026-03-01"),
    ("Microsoft.Insights/workbooks", "2023-06-01"),
    ("Microsoft.KeyVault/vaults", "2024-11-01"),
    ("Microsoft.KeyVault/vaults/secrets", "2024-11-01"),
    (
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "2024-11-30",
    ),
    ("Microsoft.OperationalInsights/workspaces", "2025-07-01"),
    ("Microsoft.Resources/resourceGroups", "2025-04-01"),
    ("Microsoft.Storage/storageAccounts", "2025-06-01"),
    (
        "Microsoft.Storage/storageAccounts/blobServices",
        "2025-06-01",
    ),
    (
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "2025-06-01",
    ),
    (
        "Microsoft.Storage/storageAccounts/managementPolicies",
        "2025-06-01",
    ),
    ("Microsoft.Web/serverfarms", "2025-03-01"),
    ("Microsoft.Web/sites", "2025-03-01"),
    (
        "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
        "2025-03-01",
    ),
    ("Microsoft.Web/sites/config", "2025-03-01"),
];

/// What keeps keys, plain text and strangers out.
fn safe_properties() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "Microsoft.CognitiveServices/accounts",
            "/properties/disableLocalAuth",
            json!(true),
        ),
        (
            "Microsoft.Insights/components",
            "/properties/DisableLocalAuth",
            json!(true),
        ),
        (
            "Microsoft.OperationalInsights/workspaces",
            "/properties/features/disableLocalAuth",
            json!(true),
        ),
        (
            "Microsoft.KeyVault/vaults",
            "/properties/enablePurgeProtection",
            json!(true),
        ),
        (
            "Microsoft.KeyVault/vaults",
            "/properties/enableRbacAuthorization",
            json!(true),
        ),
        (
            "Microsoft.KeyVault/vaults",
            "/properties/enableSoftDelete",
            json!(true),
        ),
        (
            "Microsoft.Storage/storageAccounts",
            "/properties/allowBlobPublicAccess",
            json!(false),
        ),
        (
            "Microsoft.Storage/storageAccounts",
            "/properties/allowSharedKeyAccess",
            json!(false),
        ),
        (
            "Microsoft.Storage/storageAccounts",
            "/properties/minimumTlsVersion",
            json!("TLS1_2"),
        ),
        (
            "Microsoft.Storage/storageAccounts",
            "/properties/supportsHttpsTrafficOnly",
            json!(true),
        ),
        ("Microsoft.Web/sites", "/properties/httpsOnly", json!(true)),
        (
            "Microsoft.Web/sites",
            "/properties/siteConfig/minTlsVersion",
            json!("1.2"),
        ),
        (
            "Microsoft.Web/sites",
            "/identity/type",
            json!("UserAssigned"),
        ),
        (
            "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
            "/properties/allow",
            json!(false),
        ),
        (
            "Microsoft.Cache/redisEnterprise/databases",
            "/properties/clientProtocol",
            json!("Encrypted"),
        ),
        (
            "Microsoft.Cache/redisEnterprise/databases",
            "/properties/clusteringPolicy",
            json!("EnterpriseCluster"),
        ),
    ]
}

#[test]
fn deployment_every_app_setting_is_one_of_the_program_or_of_the_platform() {
    for snapshot in Snapshot::all() {
        let app_settings = snapshot.app_settings();
        for name in app_settings.keys() {
            let ours = settings::all().any(|setting| match name.strip_prefix(setting.name) {
                // A secret's own value has no place in a setting.
                Some("") => !setting.is_secret,
                Some(suffix) => setting.is_secret && suffix == "_SECRET_NAME",
                None => false,
            });
            let platforms = PLATFORM_SETTINGS.iter().any(|(known, _)| known == name);
            assert!(
                ours || platforms || name == TELEMETRY_MODE,
                "{}: {name}",
                snapshot.case
            );
        }
        for (name, _) in PLATFORM_SETTINGS {
            assert!(
                app_settings.contains_key(*name),
                "{}: {name} is missing",
                snapshot.case
            );
        }
    }
}

#[test]
fn deployment_host_exports_to_a_collector_only_where_it_needs_no_headers() {
    let collectors: Vec<_> = Snapshot::all()
        .map(|snapshot| {
            let settings = snapshot.app_settings();
            let has = |name: &str| settings.contains_key(name);
            let (endpoint, headers, host) = (
                has("OTEL_EXPORTER_OTLP_ENDPOINT"),
                has("OTEL_EXPORTER_OTLP_HEADERS_SECRET_NAME"),
                has(TELEMETRY_MODE),
            );
            assert!(!(host && headers), "{}", snapshot.case);
            // The host's own default is a protocol that roomkey refuses.
            let protocol = settings.get("OTEL_EXPORTER_OTLP_PROTOCOL");
            let expected = endpoint.then(|| "http/protobuf".to_owned());
            assert_eq!(protocol, expected.as_ref(), "{}", snapshot.case);
            (snapshot.case, endpoint, headers, host)
        })
        .collect();
    let expected = [
        ("livekit", false, false, false),
        ("azure-openai", true, false, true),
        ("everything", true, true, false),
    ];
    assert_eq!(collectors, expected);
}

#[test]
fn deployment_roles_are_the_least_and_reach_no_further_than_one_resource() {
    let role =
        Regex::new(r"/providers/Microsoft.Authorization/roleDefinitions/([0-9a-f-]{36})$").unwrap();
    let scope =
        Regex::new(r"/resourceGroups/[^/]+/providers/([^/]+)((?:/[^/]+/[^/]+)+)/providers/Microsoft.Authorization/roleAssignments/").unwrap();
    let mut used = BTreeSet::new();
    for snapshot in Snapshot::all() {
        for assignment in snapshot.of_type("Microsoft.Authorization/roleAssignments") {
            let (id, properties) = (
                assignment["id"].as_str().unwrap(),
                &assignment["properties"],
            );
            let (Some(role), Some(scope)) = (
                role.captures(properties["roleDefinitionId"].as_str().unwrap()),
                scope.captures(id),
            ) else {
                panic!("{}: {assignment}", snapshot.case);
            };
            // Types and names alternate; the type of a resource is all of its types.
            let types = scope[2].split('/').skip(1).step_by(2);
            let scope: String = types.fold(scope[1].to_owned(), |all, kind| all + "/" + kind);
            let known = ROLES.iter().find(|(_, id, ..)| *id == &role[1]);
            let Some((name, _, on, to)) = known else {
                panic!("{}: the role {} is in no table", snapshot.case, &role[1])
            };
            let principal = properties["principalId"].as_str().unwrap();
            let is_app = principal
                .contains("Microsoft.ManagedIdentity/userAssignedIdentities/id-roomkey-")
                && principal.ends_with(".principalId]");
            let grantee = if is_app {
                Grantee::App
            } else {
                Grantee::Deployer
            };
            assert_eq!((*on, to), (&*scope, &grantee), "{}: {name}", snapshot.case);
            // Without it, Azure refuses an identity that is younger than its directory's
            // replication.
            assert!(
                !is_app || properties["principalType"] == "ServicePrincipal",
                "{}: {name}",
                snapshot.case
            );
            used.insert(*name);
        }
    }
    assert_eq!(
        used.len(),
        ROLES.len(),
        "a role of the table is granted nowhere"
    );
}

#[test]
fn deployment_api_versions_are_those_of_the_table() {
    let mut seen = BTreeSet::new();
    for snapshot in Snapshot::all() {
        for resource in &snapshot.resources {
            let (kind, version) = (
                resource["type"].as_str().unwrap(),
                resource["apiVersion"].as_str().unwrap(),
            );
            let expected = API_VERSIONS
                .iter()
                .find(|(known, _)| *known == kind)
                .unwrap_or_else(|| panic!("{kind} is in no table"));
            assert_eq!(version, expected.1, "{}: {kind}", snapshot.case);
            seen.insert(kind.to_owned());
        }
    }
    assert_eq!(
        seen.len(),
        API_VERSIONS.len(),
        "a type of the table is deployed nowhere"
    );
}

#[test]
fn deployment_resources_take_no_keys_no_plain_text_and_no_public_access() {
    for (kind, pointer, expected) in safe_properties() {
        let mut found = 0;
        for snapshot in Snapshot::all() {
            for resource in snapshot.of_type(kind) {
                assert_eq!(
                    resource.pointer(pointer),
                    Some(&expected),
                    "{}: {kind} {pointer}",
                    snapshot.case
                );
                found += 1;
            }
        }
        assert_ne!(found, 0, "{kind} is deployed nowhere");
    }
}

#[test]
fn deployment_holds_no_text_that_looks_like_a_secret() {
    let run = Regex::new("[A-Za-z0-9+/_=-]{24,}").unwrap();
    let guid = Regex::new("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$").unwrap();
    let looks_random = |text: &str| {
        let has = |kind: fn(&u8) -> bool| text.bytes().any(|byte| kind(&byte));
        has(u8::is_ascii_digit)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_uppercase)
            && !guid.is_match(text)
    };
    assert!(
        looks_random("c2VjcmV0LWtleS1vZi1hLXByb2plY3Q5")
            && !looks_random("22222222-2222-4222-8222-222222222222")
    );
    for snapshot in Snapshot::all() {
        for resource in &snapshot.resources {
            each_text(resource, "", &mut |at, text| {
                // A path of Azure's, and an expression, which Azure evaluates.
                if text.starts_with("/subscriptions/") || text.starts_with('[') {
                    return;
                }
                for found in run.find_iter(text).map(|found| found.as_str()) {
                    assert!(
                        !looks_random(found),
                        "{}: {}{at}",
                        snapshot.case,
                        resource["type"]
                    );
                }
                assert!(
                    !text.starts_with("@Microsoft.KeyVault("),
                    "{}: {at}: roomkey reads the vault itself",
                    snapshot.case
                );
            });
        }
        // The only secret that the template itself writes comes from an expression.
        for secret in snapshot.of_type("Microsoft.KeyVault/vaults/secrets") {
            assert!(
                secret["properties"]["value"]
                    .as_str()
                    .unwrap()
                    .starts_with("[format('rediss://:{0}@{1}:{2}', uriComponent(listKeys(")
            );
        }
    }
}

#[test]
fn deployment_origins_of_the_platform_are_those_of_host_json() {
    let expected = &json("host.json")["cors"];
    assert!(expected["allowedOrigins"].is_array());
    for snapshot in Snapshot::all() {
        assert_eq!(
            &snapshot.only("Microsoft.Web/sites")["properties"]["siteConfig"]["cors"],
            expected,
            "{}",
            snapshot.case
        );
    }
}

#[test]
fn deployment_app_is_a_custom_handler_on_flex_consumption_that_azd_finds() {
    let azure = text("azure.yaml");
    for line in [
        "  roomkey:",
        "    project: .",
        "    host: function",
        "    language: custom",
        "    dist: dist/roomkey.zip",
    ] {
        assert!(
            azure.lines().any(|known| known == line),
            "azure.yaml has no line {line:?}"
        );
    }
    for snapshot in Snapshot::all() {
        let site = snapshot.only("Microsoft.Web/sites");
        let config = &site["properties"]["functionAppConfig"];
        assert_eq!(
            (&site["kind"], &site["tags"]["azd-service-name"]),
            (&json!("functionapp,linux"), &json!("roomkey"))
        );
        assert_eq!(
            config["runtime"],
            json!({ "name": "custom", "version": "1.0" })
        );
        assert_eq!(
            config["deployment"]["storage"]["authentication"]["type"],
            "UserAssignedIdentity"
        );
        let scale = &config["scaleAndConcurrency"];
        assert_eq!(
            (
                &scale["instanceMemoryMB"],
                &scale["triggers"]["http"]["perInstanceConcurrency"]
            ),
            (&json!(512), &json!(1000))
        );
        assert_eq!(
            snapshot.only("Microsoft.Web/serverfarms")["sku"],
            json!({ "name": "FC1", "tier": "FlexConsumption" })
        );
        let group = snapshot.only("Microsoft.Resources/resourceGroups");
        assert!(group["tags"]["azd-env-name"].is_string(), "{group}");
        // Flex Consumption refuses these as settings.
        for refused in [
            "FUNCTIONS_WORKER_RUNTIME",
            "FUNCTIONS_EXTENSION_VERSION",
            "WEBSITE_RUN_FROM_PACKAGE",
        ] {
            assert!(
                !snapshot.app_settings().contains_key(refused),
                "{}: {refused}",
                snapshot.case
            );
        }
    }
}

#[test]
fn deployment_names_keep_the_lengths_and_characters_that_azure_allows() {
    // Source:
    // https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
    let rules = [
        (
            "Microsoft.KeyVault/vaults",
            "^[a-zA-Z](-?[a-zA-Z0-9]){2,23}$",
        ),
        ("Microsoft.Storage/storageAccounts", "^[a-z0-9]{3,24}$"),
        (
            "Microsoft.Web/sites",
            "^[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]$",
        ),
        (
            "Microsoft.CognitiveServices/accounts",
            "^[a-zA-Z0-9][a-zA-Z0-9-]{0,62}[a-zA-Z0-9]$",
        ),
        (
            "Microsoft.Cache/redisEnterprise",
            "^[a-zA-Z0-9](-?[a-zA-Z0-9]){0,62}$",
        ),
    ];
    for (kind, rule) in rules {
        let rule = Regex::new(rule).unwrap();
        for snapshot in Snapshot::all() {
            for resource in snapshot.of_type(kind) {
                let name = resource["name"].as_str().unwrap();
                assert!(
                    rule.is_match(name) && name.len() <= 63,
                    "{}: {kind} {name}",
                    snapshot.case
                );
            }
        }
    }
}

#[test]
fn deployment_parameters_are_explained_and_those_of_azd_exist() {
    let (main, guide) = (text("infra/main.bicep"), text("docs/deploy.md"));
    let parameter = Regex::new(r"(?m)^@description\('.+'\)\n(?:@.+\n)*param (\w+) ").unwrap();
    let described: BTreeSet<_> = parameter
        .captures_iter(&main)
        .map(|found| found[1].to_owned())
        .collect();
    let all: BTreeSet<_> = Regex::new(r"(?m)^param (\w+) ")
        .unwrap()
        .captures_iter(&main)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(all, described, "a parameter has no description");
    for name in &all {
        assert!(
            guide.contains(&format!("`{name}`")),
            "docs/deploy.md says nothing of {name}"
        );
    }
    let parameters = json("infra/main.parameters.json");
    for (name, value) in parameters["parameters"].as_object().unwrap() {
        assert!(all.contains(name), "{name} is no parameter of main.bicep");
        let value = value["value"].as_str().unwrap();
        let variable = value
            .trim_start_matches("${")
            .split(['=', '}'])
            .next()
            .unwrap();
        assert!(
            guide.contains(variable),
            "docs/deploy.md says nothing of {variable}"
        );
    }
}
