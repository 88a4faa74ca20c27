//! The sampler: which requests are traced.
//!
//! # Source
//! OpenTelemetry, `OTEL_TRACES_SAMPLER` (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::fmt;

use crate::domain::requests::fields::Requirement;
use crate::domain::trace_context::TraceParent;

/// The share of requests that are traced, out of 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio(u64);

impl SampleRatio {
    /// No request.
    pub const NONE: Self = Self(0);
    /// Every request.
    pub const ALL: Self = Self(1 << 63);

    /// Reads a number from 0 to 1.
    ///
    /// # Errors
    /// The requirement, for any other text.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.parse::<f64>() {
            Ok(ratio) if is_number && (0.0..=1.0).contains(&ratio) => Ok(Self::of(ratio)),
            _ => Err("must be a number from 0 to 1, such as 0.01".into()),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the ratio is from 0 to 1, and 2^63 fits"
    )]
    fn of(ratio: f64) -> Self {
        const SCALE: f64 = 9_223_372_036_854_775_808.0; // 2^63
        Self((ratio * SCALE) as u64)
    }

    fn includes(self, random: u64) -> bool {
        random >> 1 < self.0
    }
}

/// Decides which requests are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceSampler {
    /// The flag of a sender's `traceparent` decides where there is one. Anyone can send one.
    follows_parent: bool,
    ratio: SampleRatio,
}

impl TraceSampler {
    /// Every request is traced, whatever its sender says.
    pub const ALWAYS: Self = Self {
        follows_parent: false,
        ratio: SampleRatio::ALL,
    };

    /// Creates a sampler by the name that OpenTelemetry gives it. `ratio` is for the names that
    /// need one.
    ///
    /// # Errors
    /// The requirement, for an unknown name.
    pub fn new(name: &str, ratio: SampleRatio) -> Result<Self, Requirement> {
        let (follows_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let ratio = match root {
            "always_on" => SampleRatio::ALL,
            "always_off" => SampleRatio::NONE,
            "traceidratio" => ratio,
            _ => {
                return Err(
                    "must be always_on, always_off or traceidratio, or one of them after \
                            parentbased_"
                        .into(),
                );
            }
        };
        Ok(Self {
            follows_parent,
            ratio,
        })
    }

    /// Returns whether a request is traced. The random number decides and not the trace id, which a
    /// sender can choose.
    #[must_use]
    pub fn samples(self, parent: Option<&TraceParent>, random: u64) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.is_sampled,
            _ => self.ratio.includes(random),
        }
    }
}

impl fmt::Display for TraceSampler {
    /// Describes it for `--check`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ratio {
            SampleRatio::ALL => formatter.write_str("every request")?,
            SampleRatio::NONE => formatter.write_str("no request")?,
            SampleRatio(_) => formatter.write_str("a share of the requests")?,
        }
        if self.follows_parent {
            formatter.write_str(", or as a traceparent says")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parent(flags: &str) -> TraceParent {
        let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        TraceParent::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn a_ratio_that_is_no_number_from_0_to_1_is_rejected() {
        for text in [
            "", "x", "-0.1", "1.1", "2", "NaN", "inf", "1e-2", "+0.5", "0,5", "50%", ".", " 1",
        ] {
            assert!(SampleRatio::parse(text).is_err(), "{text:?}");
        }
        for (text, ratio) in [
            ("0", SampleRatio::NONE),
            ("0.0", SampleRatio::NONE),
            ("1", SampleRatio::ALL),
            ("1.0", SampleRatio::ALL),
            (".5", SampleRatio(1 << 62)),
        ] {
            assert_eq!(SampleRatio::parse(text), Ok(ratio), "{text}");
        }
    }

    #[test]
    fn an_unknown_sampler_is_rejected() {
        for name in [
            "",
            "always",
            "ALWAYS_ON",
            "parentbased_",
            "parentbased_jaeger_remote",
            "xray",
            "parentbased_parentbased_always_on",
        ] {
            assert!(TraceSampler::new(name, SampleRatio::ALL).is_err(), "{name}");
        }
    }

    #[test]
    fn a_senders_flag_counts_only_for_the_samplers_that_follow_it() {
        let half = SampleRatio::parse("0.5").unwrap();
        let (low, high) = (0, u64::MAX);
        let samples = |name: &str, parent: Option<&TraceParent>, random| {
            let sampler = TraceSampler::new(name, half).unwrap();
            sampler.samples(parent, random)
        };
        let (yes, no) = (parent("01"), parent("00"));
        for (name, without_parent) in [
            ("always_on", [true, true]),
            ("always_off", [false, false]),
            ("traceidratio", [true, false]),
        ] {
            let based = format!("parentbased_{name}");
            for (random, expected) in [low, high].into_iter().zip(without_parent) {
                assert_eq!(samples(name, None, random), expected, "{name}");
                assert_eq!(samples(&based, None, random), expected, "{based}");
                for parent in [&yes, &no] {
                    assert_eq!(samples(name, Some(parent), random), expected, "{name}");
                }
                assert!(samples(&based, Some(&yes), random), "{based}");
                assert!(!samples(&based, Some(&no), random), "{based}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_bounds_of_a_ratio_hold_for_every_random_number(random in any::<u64>()) {
            prop_assert!(SampleRatio::ALL.includes(random));
            prop_assert!(!SampleRatio::NONE.includes(random));
        }
    }
}
