//! Scenarios in which time limits count, such as the 3 s of a mint or the 50 ms of Redis. A busy
//! machine may take longer than they allow, which says nothing about the program.

/// Attempts at a scenario.
const ATTEMPTS: usize = 8;

/// Runs a scenario until one run was not disturbed, and returns its outcome. A scenario returns
/// `None` if something took longer than a time limit allows. It starts the program itself: a
/// program that has been late once may know the reason and be in time afterwards, while a fresh
/// one that is too slow is so in each run.
pub async fn undisturbed<T>(scenario: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = scenario().await {
            return outcome;
        }
    }
    panic!("none of {ATTEMPTS} runs was undisturbed");
}
