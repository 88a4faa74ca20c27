//! Redis servers that fail some commands only: one in a cluster, and one without memory. Each is
//! reported as lost once, not once a second.

use std::time::Duration;

use roomkey::clock::Stopwatch;

use crate::redis::{TEN, admitted, back, budget, caller, capture_log, counters};
use crate::redis_server::RedisServer;

/// Returns the number of connections that the server has accepted, read over a lasting one.
fn connections(server: &mut redis::Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query(server).unwrap();
    info.lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn real_redis_cluster_is_lost_once_and_found_when_the_failed_key_works() {
    let ((one, _its_bus), (other, bus)) = (
        RedisServer::start_in_cluster(),
        RedisServer::start_in_cluster(),
    );
    one.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    other.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
    one.ask::<()>(&[
        "CLUSTER",
        "MEET",
        "127.0.0.1",
        &other.port().to_string(),
        &bus.address.port().to_string(),
    ]);
    let began = Stopwatch::start();
    while [&one, &other].iter().any(|server| {
        !server
            .ask::<String>(&["CLUSTER", "INFO"])
            .contains("cluster_state:ok")
    }) {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "the two do not meet"
        );
    }
    let slot = |key: &str| one.ask::<u32>(&["CLUSTER", "KEYSLOT", key]);
    let (server, elsewhere): (_, fn(u32) -> bool) = if slot("roomkey:probe") < 8192 {
        (&one, |slot| slot >= 8192)
    } else {
        (&other, |slot| slot < 8192)
    };
    let name = (0..1_000)
        .map(|number| number.to_string())
        .find(|name| elsewhere(slot(&format!("roomkey:token:{}", caller(name)))))
        .unwrap();

    let (log, _logging) = capture_log();
    let (counters, budget, mut operator) =
        (counters(&server.url()), budget(TEN), server.connection());
    assert_eq!(admitted(&counters, &budget, &name, 20).await, 10);
    assert!(counters.is_degraded());
    let before = connections(&mut operator);
    // Each attempt to reconnect is a connection.
    while connections(&mut operator) < before + 2 {
        assert!(
            counters.is_degraded(),
            "it would be lost again with the next request"
        );
        tokio::task::yield_now().await;
    }
    let said = log.text();
    assert_eq!(
        (
            said.lines().count(),
            said.matches("it is a cluster").count()
        ),
        (1, 1),
        "{said}"
    );

    let id: String = server.ask(&["CLUSTER", "MYID"]);
    let slot = slot(&format!("roomkey:token:{}", caller(&name))).to_string();
    for each in [&one, &other] {
        each.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
    }
    back(&counters).await;
    assert_eq!(
        admitted(&counters, &budget, &name, 20).await,
        10,
        "now it counts for all, and nothing was taken by the attempts"
    );
}

#[tokio::test]
async fn real_redis_that_is_lost_repeatedly_is_retried_less_often() {
    let (log, _logging) = capture_log();
    let server = RedisServer::start();
    let (counters, budget) = (counters(&server.url()), budget("1000000/24h"));
    assert_eq!(admitted(&counters, &budget, "alice", 1).await, 1);
    for least in [1, 2] {
        server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        let began = Stopwatch::start();
        assert_eq!(admitted(&counters, &budget, "alice", 1).await, 1);
        assert!(counters.is_degraded());
        server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
        back(&counters).await;
        assert!(
            began.elapsed() >= Duration::from_secs(least),
            "{least}: {:?}",
            began.elapsed()
        );
    }
    let said = log.text();
    assert_eq!(
        (
            said.lines().count(),
            said.matches("its memory is full").count()
        ),
        (4, 2),
        "{said}"
    );
}
