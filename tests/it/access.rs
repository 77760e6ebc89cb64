//! What is refused before it is served: told in the caller's dialect, with an id, and recorded where it was a
//! request.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::{Gateway, read};

const CONFIG: &str = "model_list:\n  - {model_name: g, litellm_params: {model: simulated/m, simulated: {ttft_ms: 0, output_tokens: 3}}}\n";

/// Sends a request with just these header lines beside those of its body; no client library would.
async fn send(gateway: &Gateway, line: &str, headers: &[&str]) -> (u16, Value) {
    let body = json!({"model": "g", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    let headers = headers.join("\r\n");
    let request = format!(
        "{line} HTTP/1.1\r\n{headers}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let address = gateway.url.strip_prefix("http://").expect("an address");
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn who_says_twice_where_it_goes_or_comes_from_is_refused() {
    let gateway = Gateway::start(CONFIG).await;
    let address = gateway.url.strip_prefix("http://").expect("an address").to_owned();
    let (local, origin) = (format!("Host: {address}"), format!("Origin: {}", gateway.url));
    let chat = "POST /v1/chat/completions";
    let cases: [(&[&str], u16); 6] = [
        (&[&local], 200),
        (&[&local, &origin], 200),
        (&[&local, "Host: evil.example"], 400),
        (&["Host: evil.example", &local], 400),
        (&[&local, &origin, "Origin: https://evil.example"], 400),
        (&[&local, "Origin: https://evil.example"], 403),
    ];
    for (headers, expected) in cases {
        let (status, body) = send(&gateway, chat, headers).await;
        assert_eq!(status, expected, "{headers:?}: {body}");
    }
    let evil = "POST http://evil.example/v1/chat/completions";
    assert_eq!(send(&gateway, evil, &[&local]).await.0, 400, "its address is another than its host");
    let twice =
        gateway.metric("witgate_requests_total{group=\"\",api=\"openai\",ending=\"invalid-request\",status=\"400\"}");
    assert_eq!(twice, Some(4.0), "each is recorded");
}

#[tokio::test]
async fn what_the_guard_refuses_has_an_id_and_on_a_chat_surface_a_record() {
    let gateway = Gateway::start(CONFIG).await;
    let foreign = ["Host: evil.example"];
    let mut ids = std::collections::BTreeSet::new();
    for line in ["POST /v1/messages", "GET /v1/messages", "GET /v1/messages/batches"] {
        let (status, body) = send(&gateway, line, &foreign).await;
        assert_eq!((status, &body["type"]), (403, &json!("error")), "{line}: {body}");
        let id = body["request_id"].as_str().unwrap_or_default();
        assert!(id.len() > 8, "{line}: {body}");
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 3, "each its own: {ids:?}");
    let (status, _) = send(&gateway, "POST /v1/chat/completions", &foreign).await;
    assert_eq!(status, 403);
    for api in ["anthropic", "openai"] {
        let line = format!("witgate_requests_total{{group=\"\",api=\"{api}\",ending=\"forbidden\",status=\"403\"}}");
        assert_eq!(gateway.metric(&line), Some(1.0), "{api}: one record for the one request");
    }
    assert_eq!(gateway.metric("witgate_under_way"), Some(0.0));
    let unknown = gateway.get("/v1/messages/nothing").await;
    assert!(unknown.json()["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{}", unknown.text);
}

/// A client that writes before it reads, as most do, has to get its whole body away to learn that nobody wants it.
#[tokio::test]
async fn who_is_refused_can_finish_writing_and_reads_why() {
    let limit = "general_settings: {master_key: sk-master, max_request_size_mb: 1}\n";
    let gateway = Gateway::start(&format!("{CONFIG}{limit}")).await;
    let address = gateway.url.strip_prefix("http://").expect("an address");
    let body = vec![b' '; 8 << 20];
    for (key, status) in [("sk-master", "413"), ("sk-wrong", "401")] {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        );
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        // Its length is not told, so that it is not known to be too large before it is.
        socket.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.expect("sent");
        for piece in body.chunks(64 << 10) {
            socket.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.expect("sent");
            socket.write_all(piece).await.expect("sent");
            socket.write_all(b"\r\n").await.expect("sent");
        }
        socket.write_all(b"0\r\n\r\n").await.expect("sent");
        assert!(reply(&mut socket).await.starts_with(&format!("HTTP/1.1 {status} ")));
        // The connection is as good as before.
        let again = format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write_all(again.as_bytes()).await.expect("sent");
        let told = reply(&mut socket).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "not asked to send it first: {told}");
    }
}

/// One refusal, to the end of its body.
async fn reply(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with("}}") {
        let mut piece = [0; 4096];
        let length = socket.read(&mut piece).await.expect("readable");
        assert!(length > 0, "it ended after {text:?}");
        text.push_str(std::str::from_utf8(&piece[..length]).expect("text"));
    }
    text
}

#[tokio::test]
async fn every_path_asks_for_the_key_of_what_it_is() {
    let keys = "general_settings: {master_key: sk-master}\nwitgate: {admin_key: sk-admin}\n";
    let gateway = Gateway::start(&format!("{CONFIG}{keys}")).await;
    let address = gateway.url.strip_prefix("http://").expect("an address").to_owned();
    let host = format!("Host: {address}");
    let cases = [
        ("GET /v1/models", "", 401),
        ("GET /v1/models", "sk-admin", 401),
        ("GET /v1/models", "sk-master", 200),
        ("POST /v1/messages", "", 401),
        ("POST /v1/messages", "sk-admin", 401),
        ("POST /v1/messages", "sk-master", 200),
        ("GET /admin/policies", "", 401),
        ("GET /admin/policies", "sk-master", 401),
        ("GET /admin/policies", "sk-admin", 200),
        ("GET /v1/nothing", "", 401),
        ("GET /v1/nothing", "sk-master", 404),
        ("GET /admin/nothing", "sk-master", 401),
        ("GET /admin/nothing", "sk-admin", 404),
        ("DELETE /v1/models", "", 401),
        ("DELETE /v1/models", "sk-master", 405),
        ("GET /health/readiness", "", 200),
        ("GET /metrics", "", 200),
    ];
    for (line, key, expected) in cases {
        let key = format!("Authorization: Bearer {key}");
        assert_eq!(send(&gateway, line, &[&host, &key]).await.0, expected, "{line} with {key}");
    }
}

#[tokio::test]
async fn a_request_is_explained_and_not_served() {
    let config = "model_list:
  - {model_name: g, litellm_params: {model: simulated/a, tpm: 80}, model_info: {id: a}}
  - {model_name: g, litellm_params: {model: simulated/b, tpm: 1000}, model_info: {id: b}}
router_settings: {routing_strategy: least-busy}
general_settings: {master_key: sk-m}
";
    let gateway = Gateway::start(config).await;
    let ask = async |text: &str, key: &str| {
        let body = json!({"model": "g", "max_tokens": 30, "messages": [{"role": "user", "content": text}]});
        let request = gateway.client.post(format!("{}/route/explain", gateway.url));
        let request = request.header("content-type", "application/json").bearer_auth(key).body(body.to_string());
        read(request.send().await.expect("an answer")).await
    };
    assert_eq!(ask("Hi", "sk-x").await.status, 401);
    let plan = ask("Hi", "sk-m").await;
    assert_eq!(plan.status, 200, "{}", plan.text);
    let plan = plan.json();
    assert!(plan["policy"].as_str().is_some_and(|policy| policy.starts_with("least-busy@")), "{plan}");
    assert_eq!((&plan["next"], &plan["deployments"][0]["deployment"]), (&json!("call a"), &json!("a")), "{plan}");
    // What it asks for, and nothing else is reckoned.
    assert_eq!(plan["deployments"][0]["signals"], json!({"in-flight": 0.0}), "{plan}");
    assert_eq!(plan["deployments"][0]["would_reserve"]["output_tokens"], json!(30));
    let long = ask(&"word ".repeat(40), "sk-m").await.json();
    assert_eq!(long["next"], json!("call b"), "{long}");
    assert_eq!(long["deployments"][0]["removed"], json!("the request is larger than one of its limits"), "{long}");
    assert_eq!(gateway.metric("witgate_under_way"), Some(0.0));
    assert_eq!(gateway.metric("witgate_attempts_total"), None, "nobody was called");
}

/// Pictures and documents by address are the provider's to fetch: else anybody who may chat could have the gateway ask its own
/// network.
#[tokio::test]
async fn no_address_that_a_client_gives_is_asked() {
    let bait = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    bait.set_nonblocking(true).expect("set");
    let url = format!("http://{}/picture.png", bait.local_addr().expect("an address"));
    // Nobody answers there: what matters is what is done before.
    let entry = |provider: &str| {
        format!(
            "  - {{model_name: {provider}, litellm_params: {{model: {provider}/m, api_base: \"http://127.0.0.1:1\", api_key: k}}}}\n"
        )
    };
    let providers = ["openai", "anthropic", "mistral", "gemini"];
    let config = format!("model_list:\n{}router_settings: {{num_retries: 0}}\n", providers.map(entry).concat());
    let gateway = Gateway::start(&config).await;
    for model in providers {
        let openai = json!([{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url}}]);
        let source = json!({"type": "url", "url": url});
        let anthropic = json!([{"type": "image", "source": source}, {"type": "document", "source": source}]);
        let said = |content: &Value| json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": content}]});
        let gemini = json!({"contents": [{"parts": [{"fileData": {"fileUri": url, "mimeType": "image/png"}}]}]});
        let responses = json!({"model": model, "input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]});
        for (path, body) in [
            ("/v1/chat/completions".to_owned(), said(&openai)),
            ("/v1/messages".to_owned(), said(&anthropic)),
            ("/v1/responses".to_owned(), responses),
            (format!("/v1beta/models/{model}:generateContent"), gemini),
        ] {
            let answer = gateway.post(&path, &body).await;
            assert!(answer.status >= 400, "{model} {path}: nobody can have answered");
        }
    }
    let asked = bait.accept();
    assert!(asked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "somebody came");
}
