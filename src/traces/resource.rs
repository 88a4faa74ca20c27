//! The description of this process for a collector.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::domain::settings::otlp::KeyValues;
use crate::entropy::Entropy;

/// Describes this process by the operator's attributes, the version, and a random id for this start
/// (<https://opentelemetry.io/docs/specs/semconv/resource/service/>).
#[must_use]
pub fn describe(attributes: KeyValues, entropy: &dyn Entropy) -> Resource {
    let given = attributes.into_iter();
    let own = [
        ("service.instance.id", entropy.uuid().to_string()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    // Of two with the same key the later one counts: what the operator gave.
    let attributes = own
        .into_iter()
        .map(|(key, value)| KeyValue::new(key, value))
        .chain(given.map(|(key, value)| KeyValue::new(key, value)));
    Resource::builder_empty()
        .with_attributes(attributes)
        .build()
}
