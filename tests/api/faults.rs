//! Tests of hostile bodies, one for each kind.

use http::StatusCode;

use crate::attack::Attack;
use crate::harness::claims;

const JSON: (&str, &[u8]) = ("content-type", b"application/json");
const ROUTES: [&str; 2] = ["/api/token", "/api/connection-details"];

#[tokio::test]
async fn fault_01_an_empty_body_where_a_field_is_required() {
    let mut attack = Attack::new("fault 01, empty bodies");
    for headers in [&[][..], &[JSON]] {
        for body in [&b""[..], b"{}"] {
            let headers = if body.is_empty() { headers } else { &[JSON] };
            assert_eq!(
                attack
                    .refused("/api/token", headers, body, "invalid_request")
                    .await
                    .fields(),
                ["roomName"]
            );
        }
    }
    let dropped = b"POST /api/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let (status, answer) = attack.raw(dropped).await;
    assert!(
        status == 400 && answer.contains(r#""field":"roomName""#),
        "{answer}"
    );
}

#[tokio::test]
async fn fault_02_truncated_json_trailing_bytes_nan_comments_and_a_bom() {
    let mut attack = Attack::new("fault 02, not JSON");
    for path in ROUTES {
        for body in [
            "{",
            "}",
            "[]",
            "null",
            "true",
            "0",
            "\"x\"",
            "{\"roomName\":\"r\"",
            "{\"roomName\":\"r\"}x",
            "{\"roomName\":\"r\"}{}",
            "{\"roomName\":NaN}",
            "{\"roomName\":Infinity}",
            "/**/{}",
            "{}//",
            "\u{feff}{\"roomName\":\"r\"}",
            "{'roomName':'r'}",
            "{roomName:\"r\"}",
            "{\"roomName\":\"r\",}",
            "{\"roomName\":\"a\",\"roomName\":\"b\"}",
            "{\"room\\u004eame\":\"a\",\"roomName\":\"b\"}",
            "{\"x\":{\"a\":1,\"a\":2},\"roomName\":\"r\"}",
            "{\"roomName\":\"a\nb\"}",
            "roomName=r",
            "<xml/>",
            " ",
        ] {
            attack
                .refused(path, &[JSON], body.as_bytes(), "malformed_json")
                .await;
        }
        let utf_16: Vec<u8> = "{\"roomName\":\"r\"}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        attack
            .refused(path, &[JSON], &utf_16, "malformed_json")
            .await;
    }
}

#[tokio::test]
async fn fault_03_an_unknown_field_such_as_expiration_minutes_or_room_admin() {
    let mut attack = Attack::new("fault 03, unknown fields");
    for field in [
        "expirationMinutes",
        "roomAdmin",
        "roomname",
        "ROOMNAME",
        "__proto__",
        "voice",
    ] {
        let body = format!(r#"{{"roomName":"r","{field}":5}}"#);
        assert_eq!(
            attack
                .refused("/api/token", &[JSON], body.as_bytes(), "invalid_request")
                .await
                .fields(),
            [field]
        );
        assert_eq!(
            attack
                .app
                .post("/api/connection-details", &body)
                .await
                .status,
            StatusCode::CREATED
        );
    }
    let typos: serde_json::Map<_, _> = (0..1_500).map(|n| (format!("t{n}"), 1.into())).collect();
    let answer = attack
        .refused(
            "/api/token",
            &[JSON],
            serde_json::Value::from(typos).to_string().as_bytes(),
            "invalid_request",
        )
        .await;
    assert!(
        answer.fields().len() == 20 && answer.text.len() < 4_096,
        "the answer to a small body stays small"
    );
}

#[tokio::test]
async fn fault_04_json_of_depth_10_000_and_an_array_of_a_million() {
    let mut attack = Attack::new("fault 04, deep and long JSON");
    for path in ROUTES {
        for open in ["[", "{\"a\":"] {
            let deep = format!("{{\"roomName\":{}", open.repeat(16_000 / open.len()));
            attack
                .refused(path, &[JSON], deep.as_bytes(), "malformed_json")
                .await;
        }
        attack
            .refused(
                path,
                &[JSON],
                format!("[{}1]", "1,".repeat(8_000)).as_bytes(),
                "malformed_json",
            )
            .await;
        attack
            .refused(
                path,
                &[JSON],
                format!("[{}1]", "1,".repeat(400_000)).as_bytes(),
                "payload_too_large",
            )
            .await;
    }
}

#[tokio::test]
async fn fault_05_a_body_of_16_kib_and_one_byte_plain_and_chunked() {
    let mut attack = Attack::new("fault 05, large bodies");
    let body = vec![b' '; 16 * 1024 + 1];
    for path in ROUTES {
        let answer = attack
            .refused(path, &[JSON], &body, "payload_too_large")
            .await;
        assert_eq!(answer.header("connection"), "close");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n"
        );
        let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
        let (status, answer) = attack.raw(&[head.as_bytes(), &chunk].concat()).await;
        assert!(
            status == 413 && answer.contains("connection: close"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn fault_06_a_gzip_or_brotli_body_is_never_inflated() {
    let mut attack = Attack::new("fault 06, compressed bodies");
    for path in ROUTES {
        for encoding in [&b"gzip"[..], b"br", b"deflate", b"zstd", b"identity", b""] {
            attack
                .refused(
                    path,
                    &[JSON, ("content-encoding", encoding)],
                    b"\x1f\x8b\x08\x00",
                    "unsupported_media_type",
                )
                .await;
        }
        // The Functions host drops the header in one of its modes.
        attack
            .refused(path, &[JSON], b"\x1f\x8b\x08\x00\x00\x00", "malformed_json")
            .await;
    }
}

#[tokio::test]
async fn fault_07_text_plain_form_multipart_and_charset_utf_16() {
    let mut attack = Attack::new("fault 07, other media types");
    for path in ROUTES {
        for media_type in [
            &b"text/plain"[..],
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=x",
            b"application/json; charset=utf-16",
            b"*/*",
            b"",
            b"\xff",
        ] {
            attack
                .refused(
                    path,
                    &[("content-type", media_type)],
                    br#"{"roomName":"r"}"#,
                    "unsupported_media_type",
                )
                .await;
        }
        attack
            .refused(path, &[], br#"{"roomName":"r"}"#, "unsupported_media_type")
            .await;
    }
}

#[tokio::test]
async fn fault_08_invalid_utf_8_a_lone_surrogate_and_nul_in_any_string() {
    let mut attack = Attack::new("fault 08, broken text");
    for path in ROUTES {
        for body in [
            &b"{\"roomName\":\"\xff\"}"[..],
            b"{\"x\":\"\xc0\x80\"}",
            b"{\"\xed\xa0\x80\":1}",
            br#"{"roomName":"\ud800"}"#,
            br#"{"x":"\ud83d","roomName":"r"}"#,
            br#"{"\udc00":1}"#,
            b"{\"roomName\":\"a\0b\"}",
            &[0; 64],
        ] {
            attack.refused(path, &[JSON], body, "malformed_json").await;
        }
    }
    for field in [
        "provider",
        "roomName",
        "participantIdentity",
        "participantName",
        "role",
    ] {
        let body = format!(r#"{{"roomName":"r","{field}":"a\u0000b"}}"#)
            .replace(r#""roomName":"r","roomName""#, r#""roomName""#);
        assert_eq!(
            attack
                .refused("/api/token", &[JSON], body.as_bytes(), "invalid_request")
                .await
                .fields(),
            [field]
        );
    }
    for (field, value) in [
        ("room_name", r#""a\u0000b""#),
        ("participant_identity", r#""a\u0000b""#),
        ("participant_name", r#""a\u0000b""#),
        ("participant_metadata", r#""a\u0000b""#),
        ("participant_attributes", r#"{"a":"\u0000"}"#),
        ("participant_attributes", r#"{"\u0000":"a"}"#),
        ("room_config", r#"{"agents":[{"agent_name":"\u0000"}]}"#),
    ] {
        let body = format!(r#"{{"{field}":{value}}}"#);
        assert_eq!(
            attack
                .refused(
                    "/api/connection-details",
                    &[JSON],
                    body.as_bytes(),
                    "invalid_request"
                )
                .await
                .fields(),
            [field]
        );
    }
}

#[tokio::test]
async fn fault_09_room_names_too_long_empty_with_spaces_dots_or_a_newline_at_the_end() {
    let mut attack = Attack::new("fault 09, room names");
    let long = "a".repeat(129);
    for name in [
        long.as_str(),
        "",
        " ",
        "a b",
        "../",
        "%2e%2e",
        "a\\n",
        "a\\r\\n",
        "a\\u0085",
        "ä",
        "a\\u200b",
        "１",
    ] {
        let body = format!(r#"{{"roomName":"{name}"}}"#);
        assert_eq!(
            attack
                .refused("/api/token", &[JSON], body.as_bytes(), "invalid_request")
                .await
                .fields(),
            ["roomName"]
        );
    }
    assert_eq!(
        attack
            .app
            .post(
                "/api/token",
                &format!(r#"{{"roomName":"{}"}}"#, "a".repeat(128))
            )
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn fault_10_participant_names_with_cr_lf_ansi_escapes_bidi_overrides_or_too_long() {
    let mut attack = Attack::new("fault 10, participant names");
    let (characters, emoji) = ("x".repeat(129), "😀".repeat(65));
    for name in [
        "a\\rb",
        "a\\nb",
        "\\u001b[31m",
        "\\u202e",
        "\\u2066",
        "\\u0000",
        "\\u007f",
        "\\u009b",
        "",
        characters.as_str(),
        emoji.as_str(),
    ] {
        let body = format!(r#"{{"roomName":"r","participantName":"{name}"}}"#);
        assert_eq!(
            attack
                .refused("/api/token", &[JSON], body.as_bytes(), "invalid_request")
                .await
                .fields(),
            ["participantName"]
        );
    }
    for (sent, kept) in [("e\u{301}", "é"), ("😀", "😀"), ("Åsa Öst", "Åsa Öst")] {
        let answer = attack
            .app
            .post(
                "/api/token",
                &format!(r#"{{"roomName":"r","participantName":"{sent}"}}"#),
            )
            .await;
        assert_eq!(
            claims(answer.json()["token"].as_str().unwrap()).1["name"],
            kept
        );
    }
    assert!(
        attack
            .app
            .log()
            .lines()
            .all(|line| line.starts_with('{') && line.ends_with('}') && !line.contains('\u{1b}'))
    );
}

#[tokio::test]
async fn fault_11_expiration_seconds_at_and_past_their_bounds() {
    let mut attack = Attack::new("fault 11, lifetimes");
    for seconds in [
        "0",
        "59",
        "86401",
        "-60",
        "-0",
        "60.0",
        "6e1",
        "\"60\"",
        "true",
        "[60]",
        "1e400",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        let body = format!(r#"{{"roomName":"r","expirationSeconds":{seconds}}}"#);
        let code = if seconds == "1e400" {
            "malformed_json"
        } else {
            "invalid_request"
        };
        attack
            .refused("/api/token", &[JSON], body.as_bytes(), code)
            .await;
    }
    for seconds in [60, 86_400] {
        let json = attack
            .app
            .post(
                "/api/token",
                &format!(r#"{{"roomName":"r","expirationSeconds":{seconds}}}"#),
            )
            .await
            .json();
        let (_, claims) = claims(json["token"].as_str().unwrap());
        let (issued_at, expires_at) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        assert_eq!(expires_at - issued_at, seconds);
        assert_eq!(
            json["expiresAt"],
            roomkey::domain::livekit::lifetime::Rfc3339::of(
                roomkey::domain::livekit::lifetime::instant(expires_at)
            )
            .to_string()
        );
    }
}
