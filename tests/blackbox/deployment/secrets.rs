//! `infra/set-secrets`, which writes secrets into a new vault, against an `az` of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::path;

/// Keeps each secret as a file, and what it was asked as a line in `asked`. It fails as often as
/// `refusals` says.
const AZ: &str = r#"#!/bin/sh
echo "$*" >>"$VAULT/asked"
left=$(cat "$VAULT/refusals" 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then
  echo $((left - 1)) >"$VAULT/refusals"
  echo "(Forbidden) Caller is not authorized to perform action on resource." >&2
  exit 1
fi
operation=$3
while [ $# -gt 0 ]; do
  case $1 in
    --name) name=$2 ;;
    --file) file=$2 ;;
    --query) name=${2#*"'"} && name=${name%%"'"*} ;;
  esac
  shift
done
case $operation in
  list) [ ! -e "$VAULT/secret-$name" ] || echo "$name" ;;
  set) cp "$file" "$VAULT/secret-$name" && stat -c %a "$file" >"$VAULT/mode" ;;
esac
"#;

struct Vault(tempfile::TempDir);

impl Vault {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let az = folder.path().join("az");
        std::fs::write(&az, AZ).unwrap();
        std::fs::set_permissions(az, PermissionsExt::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn run(&self, settings: &[(&str, &str)]) -> Output {
        let tools = format!("{}:/usr/bin:/bin", self.0.path().display());
        let mut command = Command::new(path("infra/set-secrets"));
        command
            .env_clear()
            .env("PATH", tools)
            .env("VAULT", self.0.path())
            .env("TMPDIR", self.0.path());
        command
            .env("ROOMKEY_PAUSE_SECONDS", "0")
            .envs(settings.iter().copied())
            .stdin(std::process::Stdio::null());
        command.output().unwrap()
    }
}

fn leftovers(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .starts_with("tmp.")
        })
        .count()
}

const OUTPUTS: &[(&str, &str)] = &[
    ("ROOMKEY_KEY_VAULT", "kv-test"),
    (
        "ROOMKEY_GENERATED_SECRETS",
        "roomkey-admin-keys roomkey-hash-key",
    ),
    ("ROOMKEY_OWN_SECRETS", "livekit-api-key livekit-api-secret"),
];

#[test]
fn set_secrets_makes_up_what_it_can_keeps_what_is_there_and_names_what_is_missing() {
    let vault = Vault::new();
    std::fs::write(vault.file("secret-livekit-api-key"), "APIkept").unwrap();
    let first = vault.run(OUTPUTS);
    let said = String::from_utf8(first.stdout).unwrap();
    assert!(first.status.success(), "{said}");
    let (admin, hash) = (
        vault.read("secret-roomkey-admin-keys"),
        vault.read("secret-roomkey-hash-key"),
    );
    for made in [&admin, &hash] {
        // 32 bytes in base64url, which a key-encryption key must be.
        let decoded = data_encoding::BASE64URL_NOPAD.decode(made.as_bytes());
        assert_eq!(decoded.map(|bytes| bytes.len()), Ok(32), "{made:?}");
    }
    assert_ne!(admin, hash);
    assert_eq!(vault.read("secret-livekit-api-key"), "APIkept");
    assert!(!vault.file("secret-livekit-api-secret").exists());
    assert!(
        said.contains("livekit-api-key: there already\n")
            && said.contains("livekit-api-secret: MISSING. Write it with: az keyvault"),
        "{said}"
    );

    // No value is an argument or a word of the output; the file that held it was private and is
    // gone.
    let asked = vault.read("asked");
    for made in [&admin, &hash] {
        assert!(!said.contains(made.as_str()) && !asked.contains(made.as_str()));
    }
    assert_eq!(
        (vault.read("mode").trim(), leftovers(vault.0.path())),
        ("600", 0)
    );

    // Again: nothing is written over.
    assert!(vault.run(OUTPUTS).status.success());
    assert_eq!(vault.read("secret-roomkey-admin-keys"), admin);
    assert_eq!(vault.read("asked").matches(" set ").count(), 2);
}

#[test]
fn set_secrets_waits_for_a_role_that_is_young_and_gives_up_on_one_that_never_comes() {
    let vault = Vault::new();
    std::fs::write(vault.file("refusals"), "3").unwrap();
    assert!(vault.run(OUTPUTS).status.success());
    assert_eq!(vault.read("secret-roomkey-hash-key").len(), 43);

    let vault = Vault::new();
    std::fs::write(vault.file("refusals"), "1000").unwrap();
    let refused = vault.run(&[OUTPUTS, &[("ROOMKEY_TRIES", "4")]].concat());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success()
            && said.contains("Key Vault Secrets Officer")
            && said.contains("(Forbidden)"),
        "{said}"
    );
    assert!(!vault.file("secret-roomkey-hash-key").exists());
}

#[test]
fn set_secrets_says_what_it_needs() {
    let vault = Vault::new();
    let said = String::from_utf8(vault.run(&[]).stderr).unwrap();
    assert!(said.contains("ROOMKEY_KEY_VAULT is not set"), "{said}");
    std::fs::remove_file(vault.file("az")).unwrap();
    let without = vault.run(OUTPUTS);
    let said = String::from_utf8(without.stderr).unwrap();
    // A machine that has a real az would ask it for a vault that does not exist.
    assert!(
        !without.status.success()
            && (said.contains("az is missing") || Path::new("/usr/bin/az").exists()),
        "{said}"
    );
}
