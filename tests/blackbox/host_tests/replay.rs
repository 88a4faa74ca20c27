//! Every exchange that was recorded at a real host, sent through the simulator: what arrives at the
//! handler and at the client must be what was recorded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::handler::{Handler, Reaction, Seen, host};
use super::message::{Client, Message, recorded};
use crate::attack::report;
use crate::host::journal::DEADLINE;
use crate::host::timing::Timing;
use crate::host::{Host, Mode};

/// Exchanges that are not replayed, by mode and name, each with the reason.
const SKIPPED: [(Mode, &str, &str); 0] = [];

/// The tries of proxying come without their pauses.
const TIMING: Timing = Timing {
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    continue_wait: Duration::from_millis(10),
    ..Timing::MEASURED
};

/// An exchange in one of the modes.
pub struct Exchange {
    pub name: String,
    pub request: Vec<u8>,
    reply: Vec<u8>,
    /// What arrives at the handler; of several that are alike only one is recorded.
    pub reaches: Vec<Message>,
    times: usize,
    pub answers: Vec<Message>,
}

impl Exchange {
    /// Whether what reaches the handler can be answered by it: a body that breaks off cannot.
    pub fn is_answered_by_the_handler(&self) -> bool {
        !self.reaches.is_empty() && self.name != "chunked, broken"
    }
}

pub fn exchanges(mode: Mode) -> Vec<Exchange> {
    let file: Value = serde_json::from_str(include_str!("../host/exchanges.json")).unwrap();
    // Each character is one byte.
    let bytes = |text: &Value| {
        text.as_str()
            .unwrap()
            .chars()
            .map(|character| u8::try_from(character).unwrap())
            .collect::<Vec<u8>>()
    };
    let read = |case: &Value| {
        let request = bytes(&case["request"]);
        let method = String::from_utf8_lossy(&request)
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        let outcome = &case[if mode == Mode::Forwarding {
            "forwarding"
        } else {
            "proxying"
        }];
        let reply = match case.get("reply") {
            None => bytes(&file["default_reply"]),
            // The one whose answer breaks off was not recorded; its client's answer shows it.
            Some(Value::Null) => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec(),
            Some(reply) => bytes(reply),
        };
        let reaches = outcome["reaches"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|text| recorded(&bytes(text), &method))
            .collect();
        Exchange {
            name: case["name"].as_str().unwrap().to_owned(),
            reply,
            reaches,
            times: usize::try_from(outcome["times"].as_u64().unwrap()).unwrap(),
            answers: recorded(&bytes(&outcome["answer"]), &method),
            request,
        }
    };
    file["cases"].as_array().unwrap().iter().map(read).collect()
}

/// Sends one request through the host, and says where the outcome differs.
async fn difference(host: &Host, handler: &Handler, exchange: &Exchange) -> Option<String> {
    handler.seen.send_modify(|seen| *seen = Seen::default());
    let mut client = Client::send(host.address, &exchange.request).await;
    let mut answers = Vec::new();
    while answers.len() < exchange.answers.len()
        && let Some(answer) = client.answer().await
    {
        answers.push(answer.named(&format!("Date: {}", Host::DATE), "Date: {now}"));
    }
    if answers.last().is_some_and(|answer| {
        answer
            .headers
            .iter()
            .any(|header| header == "Connection: close")
    }) {
        client.closed().await;
    }
    let (arrivals, handler_address) = (
        handler.seen.borrow().arrivals.clone(),
        host.handler().to_string(),
    );
    let invocations = host.journal.read(|entries| entries.invocations.clone());
    let named = |message: Message| {
        let message = message.named(&format!("Host: {handler_address}"), "Host: {handler}");
        invocations.iter().fold(message, |message, (id, _)| {
            message.named(&id.to_string(), "{invocation}")
        })
    };
    let reached: Vec<_> = arrivals
        .iter()
        .map(|arrival| named(Message::new(&arrival.head, arrival.body.clone())))
        .collect();
    let first: Vec<_> = reached
        .iter()
        .take(exchange.reaches.len())
        .cloned()
        .collect();
    let expected = (exchange.times, &exchange.reaches, &exchange.answers);
    let found = (reached.len(), &first, &answers);
    (found != expected).then(|| {
        format!(
            "{}:\n  recorded {expected:?}\n  found    {found:?}",
            exchange.name
        )
    })
}

async fn replay(mode: Mode) {
    let reply = Arc::new(Mutex::new(Vec::new()));
    let current = Arc::clone(&reply);
    let handler = Handler::new(move |_| Reaction::Bytes(current.lock().unwrap().clone()));
    let host = host(mode, &handler, TIMING, &[]).await;
    let (exchanges, mut equal, mut differences) = (exchanges(mode), 0, Vec::new());
    for exchange in &exchanges {
        if let Some((.., reason)) = SKIPPED
            .iter()
            .find(|(skipped, name, _)| *skipped == mode && *name == exchange.name)
        {
            report(&format!("{mode:?}: {} is skipped: {reason}", exchange.name));
            continue;
        }
        reply.lock().unwrap().clone_from(&exchange.reply);
        match timeout(DEADLINE, difference(&host, &handler, exchange))
            .await
            .unwrap_or_else(|_| panic!("{} hangs", exchange.name))
        {
            None => equal += 1,
            Some(difference) => differences.push(difference),
        }
    }
    let skipped = exchanges.len() - equal - differences.len();
    report(&format!(
        "{mode:?}: {equal} of {} recorded exchanges are equal, {skipped} skipped",
        exchanges.len()
    ));
    assert!(
        differences.is_empty(),
        "{} exchanges differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(exchanges.len() == 189 && skipped <= 30);
}

#[tokio::test]
async fn what_was_recorded_of_forwarding_is_what_the_simulator_does() {
    replay(Mode::Forwarding).await;
}

#[tokio::test]
async fn what_was_recorded_of_proxying_is_what_the_simulator_does() {
    replay(Mode::Proxying).await;
}
