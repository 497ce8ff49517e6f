//! What the file may say.

use super::*;

fn judge(authority: &Authority, text: &str) -> (Option<i32>, String) {
    check(&authority.write("web.yml", text))
}

#[test]
fn every_documented_field_is_understood() {
    let authority = authority();
    let hash = bcrypt::hash("password", COST).unwrap();
    let all = format!(
        "tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example, 192.0.2.1, \"spiffe://example/prometheus\"]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519, CurveP256, CurveP384]
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: \"default-src 'self'\"
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1
    Strict-Transport-Security: max-age=31536000; includeSubDomains
basic_auth_users:
  alice: {hash}
  Bob.B: \"{hash}\"
rate_limit:
  interval: 1s
  burst: 20
"
    );
    assert_eq!(judge(&authority, &all), (Some(0), String::new()));
    let read = |name: &str| {
        let text = std::fs::read_to_string(authority.file(name)).unwrap();
        text.trim_end().replace('\n', "\n    ")
    };
    let inline = format!(
        "tls_server_config:\n  client_auth_type: VerifyClientCertIfGiven\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n",
        read("server.pem"),
        read("server.key"),
        read("ca.pem")
    );
    assert_eq!(judge(&authority, &inline), (Some(0), String::new()));
    for nothing in ["", "# nothing\n", "rate_limit: {interval: 0}\n", "tls_server_config: {}\n"] {
        assert_eq!(judge(&authority, nothing), (Some(0), String::new()), "{nothing:?}");
    }
}

#[test]
fn what_is_wrong_is_refused_and_named() {
    let authority = authority();
    authority.write("text.pem", "no certificate\n");
    let (_, other_key) = authority.sign("other", "127.0.0.1");
    std::fs::rename(other_key, authority.file("other.key")).unwrap();
    let tls = |more: &str| format!("{TLS}  {more}\n");
    let secret = "$2b$10$nohash";
    let of_cost = |cost: &str| {
        let hash = bcrypt::hash("password", COST).unwrap().replace("$04$", cost);
        format!("basic_auth_users: {{alice: \"{hash}\"}}")
    };
    let cases = [
        ("tls_server: {}".to_owned(), "tls_server: unknown key"),
        (
            "tls_server_config: {cert_filse: a}".to_owned(),
            "cert_filse: unknown key; did you mean cert_file?",
        ),
        ("tls_server_config: {min_version: TLS12}".to_owned(), "write cert_file or cert"),
        ("tls_server_config: {cert_file: server.pem}".to_owned(), "write key_file or key"),
        ("tls_server_config: {cert_file: no.pem, key_file: server.key}".to_owned(), "no.pem"),
        (
            "tls_server_config: {cert_file: text.pem, key_file: server.key}".to_owned(),
            "text.pem holds no certificate",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: text.pem}".to_owned(),
            "text.pem holds no private key",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: other.key}".to_owned(),
            "the certificate and the key cannot be used",
        ),
        (tls("cert: x"), "cert_file and cert exclude each other"),
        (tls("min_version: TLS10"), "TLS12"),
        (tls("min_version: TLS13\n  max_version: TLS12"), "min_version: this is newer"),
        (
            tls("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"),
            "cipher_suites[0]: \"TLS_RSA_WITH_AES_128_CBC_SHA\" is weak",
        ),
        (tls("cipher_suites: [TLS_MADE_UP]"), "is not a cipher suite"),
        (tls("curve_preferences: [CurveP521]"), "write X25519, CurveP256 or CurveP384"),
        (tls("client_auth_type: Always"), "RequireAndVerifyClientCert"),
        (tls("client_auth_type: RequireAndVerifyClientCert"), "write client_ca_file or client_ca"),
        (tls("client_ca_file: ca.pem"), "of use only where certificates of clients are verified"),
        (
            tls("client_auth_type: RequireAnyClientCert\n  client_ca_file: ca.pem"),
            "of use only where",
        ),
        (
            tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: text.pem"),
            "text.pem holds no certificate",
        ),
        (
            tls(
                "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]",
            ),
            "client_allowed_sans: a client without a certificate",
        ),
        (
            tls("client_auth_type: RequireAnyClientCert\n  client_allowed_sans: []"),
            "nobody is in this list",
        ),
        ("http_server_config: {http3: true}".to_owned(), "did you mean http2?"),
        ("http_server_config: {headers: {Server: none}}".to_owned(), "Server: unknown key"),
        (
            "http_server_config: {headers: {X-Frame-Options: never}}".to_owned(),
            "write deny or sameorigin",
        ),
        ("basic_auth_users: [alice]".to_owned(), "is not a section"),
        (format!("basic_auth_users: {{alice: \"{secret}\"}}"), "alice: this is not a bcrypt hash"),
        (of_cost("$25$"), "a cost of 25"),
        (of_cost("$03$"), "bcrypt has no cost of 3"),
        ("rate_limit: {interval: 1s}".to_owned(), "rate_limit.burst: no request would ever"),
        ("rate_limit: {interval: soon, burst: 1}".to_owned(), "is not a duration"),
        ("tls_server_config: [".to_owned(), "not valid YAML"),
    ];
    for (text, expected) in cases {
        let (code, said) = judge(&authority, &text);
        assert_eq!(code, Some(2), "{text}\n{said}");
        assert!(said.contains(expected) && said.contains("web.yml"), "{text}\n{said}");
        assert!(!said.contains(secret), "{said}");
    }
    let (code, said) = check(&authority.file("nowhere.yml"));
    assert_eq!(code, Some(2));
    assert!(said.contains("nowhere.yml") && said.contains("web.config_file"), "{said}");
    // It does not start either.
    let file = authority.write("web.yml", "tls_server: {}\n");
    let (code, said) =
        run(&["--web.listen-address=127.0.0.1:0", "--web.config.file", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn the_documented_example_is_right() {
    let document = std::fs::read_to_string("docs/web.md").unwrap();
    let (_, rest) = document.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let authority = authority();
    std::fs::create_dir(authority.file("tls")).unwrap();
    for (from, to) in
        [("server.pem", "server.pem"), ("server.key", "server.key"), ("ca.pem", "clients-ca.pem")]
    {
        std::fs::copy(authority.file(from), authority.file("tls").join(to)).unwrap();
    }
    assert_eq!(judge(&authority, example), (Some(0), String::new()));
    let (_, hash) = example.split_once("prometheus: ").unwrap();
    assert!(bcrypt::verify("change me", hash.lines().next().unwrap()).unwrap());
}
