//! A secret that a handler prints is nowhere on the platform.

use stint_tests::place::{files_with, until};
use stint_tests::processes::{ADMIN_KEY, Stage, Tenant};

/// Has characters that every encoding writes differently.
const SECRET: &str = r#"canary+bird/"sings\loud%in=the mine"#;

/// What is no secret and must be found, so that the search itself is known to work.
const MARKER: &str = "a-line-that-is-no-secret";

#[tokio::test]
async fn a_secret_that_a_handler_prints_is_nowhere_on_the_platform() {
    let stage = Stage::new();
    let mut platform = stage.platform().await;
    let tenant = Tenant::first_of(&platform);
    let script = format!(
        r#"
        echo "{MARKER}"
        echo "raw $BIRD"
        echo "raw on stderr $BIRD" >&2
        printf %s "$BIRD" | base64 -w 0; echo
        printf 'Basic %s\n' "$(printf 'user:%s' "$BIRD" | base64 -w 0)"
        printf '%s\n' "$PERCENT"
        printf '{{"token": %s}}\n' "$ESCAPED"
        exit 1
        "#
    );
    let percent = "canary%2Bbird%2F%22sings%5Cloud%25in%3Dthe%20mine";
    let escaped = serde_json::to_string(SECRET).expect("text");
    // The encoded forms reach the handler through its environment, which nobody logs.
    let lines = format!(
        "[handler.env]\nGATE = {:?}\nPERCENT = '{percent}'\nESCAPED = '''{escaped}'''\n\
         [handler.secrets]\nBIRD = '''{SECRET}'''\n",
        stage.path()
    );
    let worker = stage
        .worker("worker", &tenant.url, &tenant.key)
        .bare_handler("sing", &script, &lines)
        .start();
    let id = tenant.create("sing").await;
    until("the attempt has failed", async || {
        tenant.task(id).await.error.is_some()
    })
    .await;

    // The middle of a base64 text does not depend on what stands before, but for its alignment.
    let mut hidden = vec![
        SECRET.to_owned(),
        percent.to_owned(),
        escaped.trim_matches('"').to_owned(),
        ADMIN_KEY.to_owned(),
    ];
    for before in ["", "user:"] {
        let whole = base64_of(&format!("{before}{SECRET}"));
        hidden.push(whole[12..40].to_owned());
    }
    let answers = [
        json_text(&tenant.task(id).await),
        json_text(&tenant.client.list_events(&[]).await.expect("events").data),
        json_text(&tenant.client.list_logs(&[]).await.expect("logs").data),
    ];
    assert!(answers[2].contains(MARKER));
    for answer in &answers {
        // As it stands in an answer, which escapes it once more.
        let seen = hidden.iter().find(|text| {
            let quoted = json_text(text);
            answer.contains(text.as_str()) || answer.contains(quoted.trim_matches('"'))
        });
        assert_eq!(seen, None, "{answer}");
    }
    drop(worker);
    platform.terminate().await;
    let data = stage.file("platform");
    assert!(
        !files_with(&data, &[MARKER.to_owned()]).is_empty(),
        "the search finds what is there"
    );
    assert_eq!(files_with(&data, &hidden), Vec::<String>::new());
    assert!(hidden.iter().all(|text| !platform.log().contains(text)));
}

fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it can be written as JSON")
}

/// Base64 as RFC 4648 has it.
fn base64_of(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bytes = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = bytes[0] << 16 | bytes[1] << 8 | bytes[2];
        for place in 0..=chunk.len() {
            let index = usize::try_from(bits >> (18 - 6 * place) & 63).expect("below 64");
            encoded.push(char::from(ALPHABET[index]));
        }
    }
    encoded
}
