//! Scenarios in which the program's own time limits count, such as the 3 s of a mint or the 50 ms
//! of Redis. A busy machine may take longer than they allow, which says nothing about the program.

use std::time::Duration;

use roomkey::clock::Stopwatch;

/// Attempts at a scenario.
const ATTEMPTS: usize = 8;

/// Runs a scenario until one run was not disturbed, and returns its outcome. A scenario returns
/// `None` if something took longer than a time limit that it is not about; what is wrong with the
/// program itself is wrong in each run.
pub async fn undisturbed<T>(scenario: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = scenario().await {
            return outcome;
        }
    }
    panic!("each of {ATTEMPTS} runs took longer than a time limit");
}

/// Repeats a call until one took less than a time limit, and returns its outcome.
pub async fn within<T>(limit: Duration, call: impl AsyncFn() -> T) -> T {
    undisturbed(async || {
        let began = Stopwatch::start();
        let outcome = call().await;
        (began.elapsed() < limit).then_some(outcome)
    })
    .await
}
